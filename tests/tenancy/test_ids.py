from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import InvalidIdError
from tenancy.ids import (
    delivery_id_of,
    event_id_of,
    new_event_id,
    new_invocation_id,
    new_job_id,
    new_webhook_id,
    parse_delivery_id,
    parse_event_id,
    parse_invocation_id,
    parse_job_id,
    parse_webhook_id,
)

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


def test_a_jobs_end_has_one_event() -> None:
    job_id = new_job_id(datetime(2026, 1, 1, tzinfo=UTC))
    assert parse_event_id(event_id_of(job_id)) == "evt_" + job_id[4:]


@given(TIMES, st.integers(1, 10**6))
def test_an_event_has_one_delivery_per_endpoint_sorted_by_the_events_time(now: datetime, later_ms: int) -> None:
    later = now + timedelta(milliseconds=later_ms)
    first, second = new_webhook_id(now), new_webhook_id(later)
    event, other = new_event_id(now), new_event_id(now)
    deliveries = {delivery_id_of(one, to, now) for one in (event, other) for to in (first, second)}
    assert len(deliveries) == 4
    assert parse_delivery_id(delivery_id_of(event, first, now)) in deliveries
    assert max(deliveries) < delivery_id_of(new_event_id(now), first, later)


@pytest.mark.parametrize(
    "text", ["", "wh_", "job_01jd3k5m7p9q1r3s5t7v9w1x3y", "wh_01jd3k5m7p9q1r3s5t7v9w1x3l", "wh_x#y"]
)
def test_what_is_no_webhook_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdError):
        parse_webhook_id(text)
