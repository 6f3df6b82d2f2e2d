"""What a handler returns as JSON, one way for all three modes: a job's result is what a sync answer would be.

Unlike the SDK, which falls back to a string, a value that is not JSON (NaN too) is an error: a caller never has
to guess whether an answer is the agent's or its `repr`.
"""

import dataclasses
import json
from typing import Any

from lockgate_kit.turn import Turn

JSON = "application/json"


def to_json(value: object) -> str:
    """Return `value` as JSON; pydantic models and dataclasses become objects. Raises TypeError or ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def to_event(value: object) -> bytes:
    """Return `value` as one server-sent event."""
    return f"data: {to_json(value)}\n\n".encode()


def answer_type(turn: Turn) -> str:
    """Return the content type of a turn's answer, which tells the platform what was used."""
    used = turn.used if turn.ref is not None else None
    return JSON if used is None else f"{JSON}; lockgate-usage={used.input_tokens}-{used.output_tokens}"


def usage_comment(input_tokens: int, output_tokens: int) -> bytes:
    """Return the comment by which a stream says what was used so far; readers of events pass over it."""
    return f": lockgate-usage {input_tokens}-{output_tokens}\n".encode()


def error_event(error: BaseException) -> bytes:
    """Return the event that ends a stream whose handler raised, in the SDK's own shape."""
    return to_event(
        {
            "error": str(error),
            "error_type": type(error).__name__,
            "message": "An error occurred during streaming",
        }
    )


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever json can go on with
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"an answer must be JSON, not {type(value).__name__}")
