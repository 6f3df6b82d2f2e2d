"""W3C trace context: taken from the caller where valid, begun here where not, handed on with a span of our own."""

import re
import secrets
from typing import Final

from agents.invocation import TraceHeaders

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_TRACESTATE: Final = re.compile(r"[\x20-\x7e]{1,512}")


def continued(traceparent: str | None, tracestate: str | None) -> TraceHeaders:
    """Return the trace context of this hop: the caller's trace with a new span, or a new, sampled trace."""
    span = secrets.token_hex(8)
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or not int(match[1], 16) or not int(match[2], 16):
        return TraceHeaders(f"00-{secrets.token_hex(16)}-{span}-01")
    state = tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else None
    return TraceHeaders(f"00-{match[1]}-{span}-{match[3]}", state, match[2])
