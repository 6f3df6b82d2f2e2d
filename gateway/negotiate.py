"""How a caller says which mode it wants, by HTTP's own means: `Prefer`, then `Accept`.

`respond-async` wins. Otherwise `text/event-stream` against JSON by q-value, where a tie streams; a wildcard or no
header at all is JSON.
"""

from collections.abc import Iterable
from functools import lru_cache

from gateway.errors import NotAcceptableError
from tenancy.data_models import Mode

# How closely a media range names the type; the closest one's q-value counts (RFC 9110, 12.5.1).
_JSON = {"application/json": 3, "application/*": 2, "*/*": 1}
_EVENTS = {"text/event-stream": 3, "text/*": 2}


def mode_of(accept: Iterable[str], prefer: Iterable[str], declared: frozenset[Mode]) -> Mode:
    """Choose the mode from all `Accept` and `Prefer` header values; raises NotAcceptableError."""
    mode = Mode.ASYNC if prefers(prefer, "respond-async") else _accepted(tuple(accept))
    if mode is None or mode not in declared:
        raise NotAcceptableError(declared)
    return mode


def prefers(prefer: Iterable[str], token: str) -> bool:
    """Tell whether a `Prefer` header (RFC 7240) carries this preference."""
    preferences = (part.partition(";")[0].partition("=")[0] for value in prefer for part in value.split(","))
    return any(preference.strip().lower() == token for preference in preferences)


@lru_cache(maxsize=256)  # callers say the same all day
def _accepted(accept: tuple[str, ...]) -> Mode | None:
    ranges = [part for value in accept for part in value.split(",") if part.strip()]
    if not ranges:
        return Mode.SYNC
    weighed = [_weigh(part) for part in ranges]
    json_q, events_q = _quality(weighed, _JSON), _quality(weighed, _EVENTS)
    if events_q > 0 and events_q >= json_q:
        return Mode.STREAM
    return Mode.SYNC if json_q > 0 else None


def _weigh(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in media_range.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            quality = _quality_value(value.strip())
    return name.lower(), quality


def _quality_value(text: str) -> float:
    # Anything that is no qvalue counts as "not acceptable" rather than as an error: Accept is advice.
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or len(text) > len("0.000"):
        return 0.0
    return min(float(text), 1.0)


def _quality(weighed: list[tuple[str, float]], closeness: dict[str, int]) -> float:
    matches = [(closeness[name], quality) for name, quality in weighed if name in closeness]
    return max(matches, default=(0, 0.0))[1]
