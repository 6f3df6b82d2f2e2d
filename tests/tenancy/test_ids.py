from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.ids import new_invocation_id, new_job_id, parse_invocation_id, parse_job_id

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 bounds are naive


def number_of(record_id: str) -> int:
    number = 0
    for digit in record_id.partition("_")[2]:
        number = number * 32 + CROCKFORD.index(digit)
    return number


@given(TIMES)
def test_a_record_id_tells_its_millisecond_and_80_more_bits(now: datetime) -> None:
    number = number_of(parse_invocation_id(new_invocation_id(now)))
    assert number >> 80 == int(now.timestamp() * 1000)
    assert number.bit_length() <= 128


@given(TIMES, st.integers(1, 10**6))
def test_record_ids_sort_by_the_time_they_were_made(now: datetime, later_ms: int) -> None:
    assert parse_job_id(new_job_id(now)) < new_job_id(now + timedelta(milliseconds=later_ms))


@pytest.mark.parametrize("bit", range(80))
def test_every_random_bit_is_used(bit: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert {number_of(new_job_id(now)) >> bit & 1 for _ in range(64)} == {0, 1}
