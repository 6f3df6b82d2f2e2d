"""Tools that are plain HTTP: the arguments are POSTed as JSON, the answer's body is the result.

A body that is JSON is also given as a value of its own. What the tool says of the arguments being wrong (4xx) is
for the model to read; what it says of itself being broken (5xx) is not.
"""

from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson

from gateway.tools import fetch
from gateway.tools.calls import ToolCall, ToolResult
from gateway.tools.errors import ToolBrokenError
from gateway.tools.messages import Json

_TEXT: Final = ("text/", "application/json")
_FAULTS: Final = 500


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """Calls HTTP tools."""

    http: aiohttp.ClientSession

    async def __call__(self, call: ToolCall) -> ToolResult:
        """POST the arguments; raises ToolFaultError."""
        body = orjson.dumps(call.arguments)
        headers = call.headers() | {"Accept": "application/json, text/plain;q=0.9"}
        limit_bytes = call.tool.answer_limit_bytes
        async with fetch.post(self.http, call.tool.target, body, headers, limit_bytes=limit_bytes) as reply:
            if reply.status >= _FAULTS:
                raise ToolBrokenError(f"status {reply.status}")
            if not reply.media_type.startswith(_TEXT):
                raise ToolBrokenError("neither text nor JSON")
            return result_of(await reply.read(), is_error=not reply.ok)


def result_of(body: bytes, *, is_error: bool = False) -> ToolResult:
    """Return what a body tells; raises ToolBrokenError where it is no text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ToolBrokenError("no UTF-8") from None
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    return ToolResult.text(text, structured=value if isinstance(value, dict) else None, is_error=is_error)
