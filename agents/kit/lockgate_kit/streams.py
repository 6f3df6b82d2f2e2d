"""A stream handler's events on their way from the handlers' loop to the server's, numbered from 1.

A slow reader holds its handler back after `AHEAD` events. What was read is kept for a while, as much of it as
`KEPT_BYTES` hold: where the platform knows the turn by its ref, the reader may have died with what it had just read,
and another one may `attach` after the last event that it finds on record. So such a turn outlasts its reader by
`LINGER_S`, held back like any other; the platform says so if it wants it stopped. Any other turn is cancelled as soon
as its reader is gone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lockgate_kit.encoding import error_event, to_event, usage_comment
from lockgate_kit.turn import Usage
from lockgate_kit.work import Work

AHEAD = 64
KEPT_BYTES = 4 * 1024 * 1024
# What an event costs beside its own bytes.
EVENT_BYTES = 64
LINGER_S = 60.0
# Who reads first; whoever attaches has the next number.
FIRST_READER = 1


class ReplacedError(Exception):
    """Another reader has taken the stream over: this one's must not look as if it had ended."""

    def __init__(self) -> None:
        super().__init__("another reader has attached")


class Channel:
    """One turn's events; used on the handlers' loop, but for `leave`. `lasting` is whether it outlasts its reader."""

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop, *, lasting: bool) -> None:
        self.loop = loop
        self._work = work
        self._lasting = lasting
        # The events with the numbers `_first` and on; those up to `_read` have been read.
        self._events: deque[bytes] = deque()
        self._first = 1
        self._read = 0
        self._bytes = 0
        # What ends the stream, once it has: the SDK's error event, or nothing.
        self._end: bytes | None = None
        self._reader = FIRST_READER
        self._moved = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None
        self._told: Usage | None = None
        self._again = b""

    async def put(self, event: bytes) -> None:
        """Add an event, once there is room."""
        while self._last - self._read >= AHEAD:
            await self._moved.wait()
        event = self._usage() + event
        self._events.append(event)
        self._bytes += len(event) + EVENT_BYTES
        self._move()

    def end(self, error: BaseException | None) -> None:
        """End the stream, with the SDK's error event if something was raised; never waits."""
        self._end = self._usage() + (b"" if error is None else error_event(error))
        self._move()

    async def attach(self, after: int) -> int | None:
        """Read from the event after that one, in place of whoever read; return the reader, None if that is not kept."""
        if not self._first - 1 <= after <= self._last:
            return None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._read = after
        self._reader += 1
        # What had been told of it may have died with who read it.
        self._told = None
        self._again = self._usage()
        self._move()
        return self._reader

    async def take(self, reader: int) -> tuple[bytes, bool]:
        """Return all events that are there, at least one or the end, and whether more can follow.

        Raises ReplacedError.
        """
        while reader == self._reader and self._last == self._read and self._end is None:
            await self._moved.wait()
        if reader != self._reader:
            raise ReplacedError
        # What has not been read is at most `AHEAD` events, unless who attached has missed more.
        unread = [self._events[at] for at in range(self._read + 1 - self._first, len(self._events))]
        self._read = self._last
        self._forget()
        self._move()
        again, self._again = self._again, b""
        return again + b"".join(unread) + (self._end or b""), self._end is None

    def leave(self, reader: int) -> None:
        """Take note that a reader is gone; from any thread."""
        if self._lasting:
            self.loop.call_soon_threadsafe(self._linger, reader)
        elif not self._work.outcome.done():
            self._work.stop()

    def _linger(self, reader: int) -> None:
        if reader == self._reader and not self._work.outcome.done():
            self._leaving = self.loop.call_later(LINGER_S, self._work.stop)

    def _usage(self) -> bytes:
        """Return what is to be told before the next event of what was used; to nobody but the platform."""
        used = self._work.turn.used
        if used is None or used == self._told or not self._lasting:
            return b""
        self._told = used
        return usage_comment(used.input_tokens, used.output_tokens)

    @property
    def _last(self) -> int:
        return self._first + len(self._events) - 1

    def _forget(self) -> None:
        """Let go of what was read, as far as it is not to be kept."""
        limit = KEPT_BYTES if self._lasting else 0
        while self._bytes > limit and self._first <= self._read:
            self._bytes -= len(self._events.popleft()) + EVENT_BYTES
            self._first += 1

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


async def produce(events: AsyncGenerator[object, None], channel: Channel) -> None:
    """Carry a handler's events into the channel."""
    try:
        async for value in events:
            await channel.put(to_event(value))
    finally:
        # Cancelled while an event waited for room, the generator stands at its yield: its own `finally` is owed.
        await events.aclose()


class TurnResponse(StreamingResponse):
    """The SSE answer of a turn to one of its readers."""

    def __init__(self, channel: Channel, reader: int) -> None:
        super().__init__(_relay(channel, reader), media_type="text/event-stream")
        self._channel = channel
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled by starlette as soon as the client is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._channel.leave(self._reader)


async def _relay(channel: Channel, reader: int) -> AsyncIterator[bytes]:
    more = True
    while more:
        taking = asyncio.run_coroutine_threadsafe(channel.take(reader), channel.loop)
        taken, more = await asyncio.wrap_future(taking)
        if taken:
            yield taken
