"""An agent's answer over HTTP, read in the way its mode allows: never more of it in memory than its limits."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson

from agents.errors import AgentAnswerTooLargeError, RuntimeBrokenError
from agents.faults import reading
from agents.invocation import AgentChunk, AgentEvent
from agents.wire import EventSplitter
from tenancy.data_models import Mode

EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
# Parsing holds up every other request by about 3 ms a MiB: longer answers are trusted to be the JSON they say.
_CHECKED_BYTES: Final = 1_048_576
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The largest answer, and the largest single event of a streamed one, in bytes."""

    answer_bytes: int
    event_bytes: int


class HttpAnswer:
    """An answer whose status was 200. Raises RuntimeBrokenError if it is of a type its mode does not know."""

    def __init__(self, response: aiohttp.ClientResponse, mode: Mode, limits: AnswerLimits) -> None:
        kind = response.content_type
        if kind != JSON and (mode is not Mode.STREAM or kind != EVENT_STREAM):
            raise RuntimeBrokenError(f"an answer of type {kind[:100]}")
        self._response = response
        self._streams = kind == EVENT_STREAM
        self._limits = limits

    async def read(self) -> bytes:
        """Return the whole answer's JSON, byte for byte; raises RuntimeFaultError."""
        if self._streams:
            raise RuntimeBrokenError("a stream, read as one answer")
        limit = self._limits.answer_bytes
        if (self._response.content_length or 0) > limit:
            raise AgentAnswerTooLargeError
        parts, size = [], 0
        while part := await self._part():
            size += len(part)
            if size > limit:
                raise AgentAnswerTooLargeError
            parts.append(part)
        return _checked(b"".join(parts))

    async def events(self) -> AsyncGenerator[list[AgentEvent], None]:
        """Yield the answer's events as they arrive, an AgentError alone; one that is no stream is one event.

        Raises RuntimeFaultError.
        """
        if not self._streams:
            # In JSON a carriage return can only stand between tokens; in an event's data it would end a line.
            yield [AgentChunk((await self.read()).replace(b"\r", b" "))]
            return
        splitter = EventSplitter(limit_bytes=self._limits.event_bytes)
        with reading():
            while part := await self._response.content.readany():
                arrived: list[AgentEvent] = []
                try:
                    # What came before an event that is refused is there when it is.
                    arrived += splitter.feed(part)
                except AgentAnswerTooLargeError:
                    yield arrived
                    raise
                if arrived:
                    yield arrived
            for event in splitter.finish():
                yield [event]

    async def _part(self) -> bytes:
        """Return some more of the body, nothing at its end."""
        with reading():
            return await self._response.content.readany()


def _checked(body: bytes) -> bytes:
    if len(body) <= _CHECKED_BYTES:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            # Without its cause, which quotes the answer.
            raise RuntimeBrokenError("an answer that is not JSON") from None
    return body


@contextmanager
def watched(response: aiohttp.ClientResponse) -> Iterator[None]:
    """End the reading of a body whose connection is gone.

    aiohttp 3.14 closes the connection on a malformed chunk, but leaves whoever reads the body waiting for ever.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        connection = response.connection
        if connection is not None and connection.transport is None and not response.content.is_eof():
            response.content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))
        else:
            timer = loop.call_later(_LOOK_S, look)

    timer = loop.call_later(_LOOK_S, look)
    try:
        yield
    finally:
        timer.cancel()
