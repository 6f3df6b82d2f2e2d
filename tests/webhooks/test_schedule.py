"""When a delivery is tried again, and when its endpoint is given up."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.schedule import (
    ATTEMPTS,
    DISABLE_AFTER,
    PAUSES_S,
    THROTTLED_PAUSE_S,
    is_given_up,
    next_pause_s,
    parse_retry_after,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RNG = random.SystemRandom()
TRIES = st.integers(1, ATTEMPTS - 1)


def test_ten_attempts_are_made_within_three_days_and_four_hours() -> None:
    assert PAUSES_S == (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
    assert timedelta(seconds=sum(PAUSES_S)) == timedelta(hours=75, minutes=35, seconds=5)


@given(TRIES)
def test_a_pause_is_the_schedules_give_or_take_a_fifth(tries: int) -> None:
    pause_s = next_pause_s(tries, RNG)
    assert pause_s is not None
    assert 0.8 * PAUSES_S[tries] <= pause_s <= 1.2 * PAUSES_S[tries]


def test_pauses_are_spread() -> None:
    assert len({next_pause_s(3, RNG) for _ in range(50)}) > 40


@pytest.mark.parametrize("tries", [ATTEMPTS, ATTEMPTS + 1])
def test_after_the_tenth_attempt_none_is_left(tries: int) -> None:
    assert next_pause_s(tries, RNG, throttled=True, retry_after_s=5) is None


@given(TRIES, st.floats(0, 1e12) | st.none())
def test_an_overloaded_receiver_is_left_alone_for_a_minute_at_least(tries: int, retry_after_s: float | None) -> None:
    pause_s = next_pause_s(tries, RNG, throttled=True, retry_after_s=retry_after_s)
    assert pause_s is not None
    assert pause_s >= THROTTLED_PAUSE_S


@given(TRIES, st.floats(0, 1e12))
def test_a_receiver_cannot_shorten_a_pause_nor_stretch_it_beyond_twice(tries: int, retry_after_s: float) -> None:
    pause_s = next_pause_s(tries, RNG, retry_after_s=retry_after_s)
    assert pause_s is not None
    assert 0.8 * PAUSES_S[tries] <= pause_s <= max(2 * 1.2 * PAUSES_S[tries], THROTTLED_PAUSE_S)


def test_within_its_bounds_retry_after_is_honoured_exactly() -> None:
    assert next_pause_s(1, RNG, retry_after_s=42) == 42
    assert next_pause_s(2, RNG, retry_after_s=450) == 450


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("999999999", 999_999_999),
        ("9" * 400, 1e9),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120),
        ("Sun, 01 Mar 2026 13:02:00 +0100", 120),
        ("Sun, 01 Mar 2026 12:02:00 -0000", 120),
        ("Sun, 01 Mar 2020 12:00:00 GMT", 0),
    ],
)
def test_both_forms_of_retry_after_are_read(text: str, seconds: float) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "-5",
        "1.5",
        "soon",
        "٣",
        "NaN",
        "inf",
        "1e9",
        "Sun, 99 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 99999999999999999999 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 +999999999999999999999",
        "\x00",
    ],
)
def test_what_is_no_retry_after_says_nothing(text: str | None) -> None:
    assert parse_retry_after(text, NOW) is None


@given(st.text(max_size=200))
def test_no_retry_after_breaks_its_reader(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("since", "given_up"),
    [
        (None, False),
        (NOW, False),
        (NOW - DISABLE_AFTER + timedelta(seconds=1), False),
        (NOW - DISABLE_AFTER, True),
        (NOW - timedelta(days=50), True),
    ],
)
def test_an_endpoint_is_given_up_after_five_days_of_failure(since: datetime | None, *, given_up: bool) -> None:
    assert is_given_up(since, NOW) is given_up
    assert timedelta(days=5) == DISABLE_AFTER
