"""The event stream a tenant reads: framing, heartbeat, exactly one terminal event.

Every event carries an `id` counting from 1 without a gap. A chunk's data is the agent's own JSON, byte for byte.
What is written is logged, event by event, before it is written; a stream whose reader may leave goes on in its log.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol

import orjson
from aiohttp import hdrs, web

from tenancy.clock import Clock

RETRY_MS = 2000
# Goes before the first event of a connection.
RETRY = b"retry: %d\n" % RETRY_MS
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


class Log(Protocol):
    """What is sent, kept."""

    def append(self, framed: bytes) -> None:
        """Keep the next event; it takes no time to speak of."""
        ...

    async def room(self) -> None:
        """Wait until more may be kept: for who has no reader to wait for."""
        ...


class EventStream:
    """Writes one invocation's events; a write waits while the reader is slow.

    Without a response nobody reads it. Where the reader may leave (`detached`) its leaving is no error: what follows is
    logged alone. Else a write raises ConnectionResetError.
    """

    def __init__(
        self,
        response: web.StreamResponse | None,
        clock: Clock,
        protocol: web.RequestHandler | None = None,
        *,
        log: Log | None = None,
        last_id: int = 0,
        detached: bool = False,
    ) -> None:
        self._response = response
        self._clock = clock
        self._protocol = protocol
        self._log = log
        self._detached = detached
        # Where chunks of the transfer coding may be written without asking the response to.
        self._wire: asyncio.Transport | None = None
        self._last_id = last_id
        self._over = False
        self._last_write = clock.monotonic()

    @property
    def last_id(self) -> int:
        """The id of the last event written."""
        return self._last_id

    @property
    def begun(self) -> bool:
        """Whether its first event is written."""
        return self._last_id > 0

    @property
    def over(self) -> bool:
        """Whether its terminal event is written."""
        return self._over

    async def begin(self, request: web.BaseRequest) -> None:
        """Send the head."""
        if self._response is not None:
            await self._sent(self._response.prepare(request))

    async def started(self, details: dict[str, str]) -> None:
        """Write the first event, with the time a client should wait before it reconnects."""
        await self._write(RETRY + self._next(b"invocation.started", orjson.dumps(details)))
        # The head is out by now, and nothing else is ever held back. A response that keeps what is written sees it all.
        if type(self._response) is web.StreamResponse and self._protocol is not None:
            coding = self._response.headers.get(hdrs.TRANSFER_ENCODING)
            self._wire = self._protocol.transport if coding == "chunked" else None

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
        """Write the terminal event, and that nothing follows."""
        self._over = True
        await self._write(self._next(event.encode(), orjson.dumps(details)))
        if self._response is not None:
            await self._sent(self._response.write_eof())

    def ended_unread(self, event: str, details: dict[str, str]) -> None:
        """Log the terminal event: its reader has left, and that ended it."""
        self._response, self._wire, self._over = None, None, True
        self._next(event.encode(), orjson.dumps(details))

    def _next(self, event: bytes, data: bytes) -> bytes:
        self._last_id += 1
        framed = frame(self._last_id, event, data)
        if self._log is not None:
            self._log.append(framed)
        return framed

    async def _write(self, data: bytes) -> None:
        self._last_write = self._clock.monotonic()
        if self._response is not None:
            await self._sent(self._response.write(data))
        elif self._log is not None:
            await self._log.room()

    async def _sent(self, sending: Awaitable[object]) -> None:
        try:
            await sending
        except ConnectionResetError:
            if not self._detached:
                raise
            self._response = self._wire = None

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
