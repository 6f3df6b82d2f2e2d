"""HTTP to a tool: one POST to the very address an operator registered, and as much of the answer as is passed on.

A redirect is not followed, whatever it points at: where a tool is, its operator says and not the tool. Cookies are
neither kept nor sent, and nothing of the environment (proxies, netrc) takes part.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from gateway.tools.errors import ToolAnswerTooLargeError, ToolBrokenError, ToolUnreachableError

_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that has begun; its body counts against a limit."""

    status: int
    media_type: str
    headers: Mapping[str, str]
    _content: aiohttp.StreamReader
    _limit_bytes: int

    @property
    def ok(self) -> bool:
        """Whether the status tells of success."""
        return self.status in _SUCCESS

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises ToolAnswerTooLargeError."""
        size = 0
        async for part in self._content.iter_any():
            size += len(part)
            if size > self._limit_bytes:
                raise ToolAnswerTooLargeError
            yield part

    async def read(self) -> bytes:
        """Return the whole body; raises ToolAnswerTooLargeError."""
        return b"".join([part async for part in self.parts()])


@asynccontextmanager
async def post(
    http: aiohttp.ClientSession, url: URL | str, body: bytes, headers: Mapping[str, str], *, limit_bytes: int
) -> AsyncIterator[Reply]:
    """Send a body and yield the answer; raises ToolUnreachableError, ToolBrokenError for a redirect."""
    try:
        async with http.post(
            url, data=body, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            if answer.status in {301, 302, 303, 307, 308}:
                raise ToolBrokenError("a redirect")
            yield Reply(answer.status, answer.content_type, answer.headers, answer.content, limit_bytes)
    except (aiohttp.ClientError, OSError) as error:
        raise ToolUnreachableError from error
