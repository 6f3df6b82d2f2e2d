"""What Lockgate says to an agent besides the input: headers that only the platform can set.

AgentCore hands on allow-listed headers alone, and Lockgate sets these itself: a tenant's payload is never read for
control. An `attach` has no tenant's payload: it is Lockgate's own word, `{"after": <event>}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from starlette.exceptions import HTTPException

PREFIX = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Lockgate-"
ACTION_HEADER = PREFIX + "Action"
REF_HEADER = PREFIX + "Ref"
TOKEN_HEADER = PREFIX + "Token"


class Action(StrEnum):
    """What is asked about the unit of work that the ref names."""

    START = "start"
    STATUS = "status"
    STOP = "stop"
    ATTACH = "attach"


@dataclass(frozen=True)
class Wanted:
    """One request, read: a control action, or a turn (`action` is None)."""

    action: Action | None
    ref: str | None
    takes_stream: bool
    takes_anything: bool
    token: str | None = None


def read(headers: Mapping[str, str]) -> Wanted:
    """Read case-insensitive headers; raises HTTPException 400 for an unknown action or an action without a ref."""
    name = headers.get(ACTION_HEADER)
    ref = headers.get(REF_HEADER) or None
    accepted = {part.split(";", 1)[0].strip().lower() for part in headers.get("Accept", "*/*").split(",")}
    action = None if name is None else _action(name)
    if action is not None and ref is None:
        raise HTTPException(400, f"{REF_HEADER} is missing")
    return Wanted(
        action,
        ref,
        takes_stream="text/event-stream" in accepted,
        takes_anything="*/*" in accepted,
        token=headers.get(TOKEN_HEADER),
    )


def _action(name: str) -> Action:
    try:
        return Action(name)
    except ValueError:
        raise HTTPException(400, f"{ACTION_HEADER} is not one of {', '.join(Action)}") from None


def position_of(payload: object) -> int:
    """Return the event that an attach goes on after; raises HTTPException 400."""
    after = payload.get("after") if isinstance(payload, dict) else None
    if not isinstance(after, int) or isinstance(after, bool) or after < 0:
        raise HTTPException(400, 'an attach says {"after": <the number of the last event read>}')
    return after
