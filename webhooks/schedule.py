"""When a delivery is tried again and when its endpoint is given up, pure.

Ten attempts over three days; a receiver may ask for more time within bounds, never for less than the schedule's.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final

# Before each attempt; the last one is made 75 h 35 min after the first.
PAUSES_S: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
ATTEMPTS: Final = len(PAUSES_S)
JITTER: Final = 0.2
# A receiver that says it is overloaded is left alone for this long at least.
THROTTLED_PAUSE_S: Final = 60
DISABLE_AFTER: Final = timedelta(days=5)
GONE: Final = 410
THROTTLED: Final = frozenset({429, 502, 504})
# Longer texts are no number of seconds that anybody means.
_DIGITS: Final = 9


def next_pause_s(
    tries: int, rng: Random, *, throttled: bool = False, retry_after_s: float | None = None
) -> float | None:
    """Return the seconds to wait after `tries` failed attempts; None where no attempt is left.

    A `Retry-After` is honoured between the schedule's own pause and twice that, or a minute if that is longer.
    """
    if tries >= ATTEMPTS:
        return None
    pause_s = PAUSES_S[tries] * rng.uniform(1 - JITTER, 1 + JITTER)
    if throttled:
        pause_s = max(pause_s, THROTTLED_PAUSE_S)
    if retry_after_s is not None:
        pause_s = min(max(pause_s, retry_after_s), max(2 * pause_s, THROTTLED_PAUSE_S))
    return pause_s


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` of either form as seconds from now; None where it says nothing, 0 where it has passed."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_DIGITS]) if len(text) <= _DIGITS else float("1" + "0" * _DIGITS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def is_given_up(failing_since_at: datetime | None, now: datetime) -> bool:
    """Tell whether an endpoint has failed for so long, without one success, that it is disabled."""
    return failing_since_at is not None and now - failing_since_at >= DISABLE_AFTER
