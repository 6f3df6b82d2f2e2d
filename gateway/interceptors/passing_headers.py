"""Which headers of a caller's request go on to an agent: an allow-list, so that no secret has to be recognised.

The request path hands an agent no header of the caller's at all but the trace context, which it checks and writes
itself. This list is for a place where headers are handed on unless something takes them away.
"""

from collections.abc import Mapping
from typing import Final

from agents.inband import ALLOWED_HEADERS

PASSING: Final = frozenset(
    {
        "accept",
        "content-type",
        "traceparent",
        "tracestate",
        "mcp-protocol-version",
        "mcp-session-id",
        "x-amzn-bedrock-agentcore-runtime-session-id",
    }
)
# Lockgate alone writes these; a caller's would be a forgery.
_OURS: Final = frozenset(name.lower() for name in ALLOWED_HEADERS)


def passing(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may go on, named as they came."""
    return {name: value for name, value in headers.items() if name.lower() in PASSING - _OURS}
