"""The event stream a tenant reads: framing, heartbeat, exactly one terminal event.

Every event carries an `id` counting from 1 without a gap. A chunk's data is the agent's own JSON, byte for byte.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import hdrs, web

from tenancy.clock import Clock

RETRY_MS = 2000
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


def frame(event_id: int, event: bytes, data: bytes) -> bytes:
    """Return one event; data with line breaks becomes several `data:` lines (WHATWG HTML, 9.2.6)."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event_id, event, data)


class EventStream:
    """Writes one invocation's events; a write waits while the reader is slow."""

    def __init__(self, response: web.StreamResponse, clock: Clock, protocol: web.RequestHandler | None = None) -> None:
        self._response = response
        self._clock = clock
        self._protocol = protocol
        # Where chunks of the transfer coding may be written without asking the response to.
        self._wire: asyncio.Transport | None = None
        self._last_id = 0
        self._last_write = clock.monotonic()

    @property
    def last_id(self) -> int:
        """The id of the last event written."""
        return self._last_id

    async def started(self, details: dict[str, str]) -> None:
        """Write the first event, with the time a client should wait before it reconnects."""
        await self._write(b"retry: %d\n" % RETRY_MS + self._next(b"invocation.started", orjson.dumps(details)))
        # The head is out by now, and nothing else is ever held back. A response that keeps what is written sees it all.
        plain = type(self._response) is web.StreamResponse
        if plain and self._protocol is not None and self._response.headers.get(hdrs.TRANSFER_ENCODING) == "chunked":
            self._wire = self._protocol.transport

    def chunk_now(self, data: bytes) -> bool:
        """Pass one of the agent's events on at once; False where that is for `chunk` to do: the reader is slow or gone.

        It spares an event the way through two coroutines, which takes longer than the event itself.
        """
        wire, protocol = self._wire, self._protocol
        if wire is None or protocol is None or protocol.writing_paused or wire.is_closing():
            return False
        framed = self._next(b"agent.chunk", data)
        self._last_write = self._clock.monotonic()
        wire.write(b"%x\r\n%b\r\n" % (len(framed), framed))
        return True

    async def chunk(self, *data: bytes) -> None:
        """Pass the agent's events on; those that came together are written together."""
        if data:
            await self._write(b"".join([self._next(b"agent.chunk", each) for each in data]))

    async def passed(self, frames: bytes) -> None:
        """Write events that have their frames already, numbers of their own included."""
        await self._write(frames)

    async def ended(self, event: str, details: dict[str, str]) -> None:
        """Write the terminal event."""
        await self._write(self._next(event.encode(), orjson.dumps(details)))

    def _next(self, event: bytes, data: bytes) -> bytes:
        self._last_id += 1
        return frame(self._last_id, event, data)

    async def _write(self, data: bytes) -> None:
        self._last_write = self._clock.monotonic()
        await self._response.write(data)

    @asynccontextmanager
    async def heartbeat(self, interval_s: float) -> AsyncIterator[None]:
        """Write a comment whenever the stream was silent for `interval_s`, until the block ends."""
        beating = asyncio.create_task(self._beat(interval_s))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, interval_s: float) -> None:
        while True:
            silent_s = self._clock.monotonic() - self._last_write
            if silent_s >= interval_s:
                await self._write(b": keep-alive\n\n")
                silent_s = 0.0
            await self._clock.sleep(interval_s - silent_s)
