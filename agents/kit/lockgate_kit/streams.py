"""A stream handler's events on their way from the handlers' loop to the server's.

A client that goes away, like a stop, cancels the handler at once, also between two events; a slow client holds it
back after `AHEAD` events.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lockgate_kit.encoding import error_event, to_event
from lockgate_kit.work import Work

AHEAD = 64


class Channel:
    """Events from one coroutine of the handlers' loop to one of the server's; used on the handlers' loop only."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(AHEAD)

    async def put(self, event: bytes) -> None:
        """Add an event, once there is room."""
        await self._room.acquire()
        self._events.put_nowait(event)

    def end(self, error: BaseException | None) -> None:
        """End the stream, with the SDK's error event if something was raised; never waits."""
        if error is not None:
            self._events.put_nowait(error_event(error))
        self._events.put_nowait(None)

    async def take(self) -> tuple[bytes, bool]:
        """Return all events that are there, at least one or the end, and whether more can follow."""
        taken = [await self._events.get()]
        while taken[-1] is not None and not self._events.empty():
            taken.append(self._events.get_nowait())
        for _ in taken:
            self._room.release()
        return b"".join(filter(None, taken)), taken[-1] is not None


async def produce(events: AsyncGenerator[object, None], channel: Channel) -> None:
    """Carry a handler's events into the channel."""
    try:
        async for value in events:
            await channel.put(to_event(value))
    finally:
        # Cancelled while an event waited for room, the generator stands at its yield: its own `finally` is owed.
        await events.aclose()


class TurnResponse(StreamingResponse):
    """The SSE answer of a running turn. However it ends, the turn does too."""

    def __init__(self, work: Work, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_relay(channel, loop), media_type="text/event-stream")
        self._work = work
        # Settled on the handlers' loop, after the last event was put.
        work.outcome.add_done_callback(lambda outcome: channel.end(outcome.exception()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled by starlette as soon as the client is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._work.outcome.done():
                self._work.stop()


async def _relay(channel: Channel, loop: asyncio.AbstractEventLoop) -> AsyncIterator[bytes]:
    more = True
    while more:
        taken, more = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(channel.take(), loop))
        if taken:
            yield taken
