"""An agent's answer over HTTP, read in the way its mode allows: never more of it in memory than its limits."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

import orjson

from agents.errors import AgentAnswerTooLargeError, RuntimeBrokenError
from agents.exchange import Exchange
from agents.inband import usage_in
from agents.invocation import AgentChunk, AgentEvent
from agents.wire import EventSplitter
from tenancy.data_models import Mode

EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
# Parsing holds up every other request by about 3 ms a MiB: longer answers are trusted to be the JSON they say.
_CHECKED_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The largest answer, and the largest single event of a streamed one, in bytes."""

    answer_bytes: int
    event_bytes: int


class HttpAnswer:
    """An answer whose status was 200. Raises RuntimeBrokenError if it is of a type its mode does not know."""

    def __init__(self, exchange: Exchange, mode: Mode, limits: AnswerLimits) -> None:
        kind = (exchange.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != JSON and (mode is not Mode.STREAM or kind != EVENT_STREAM):
            raise RuntimeBrokenError(f"an answer of type {kind[:100]}")
        self._exchange = exchange
        self._streams = kind == EVENT_STREAM
        self.usage = usage_in(exchange.header(b"content-type") or "")
        self._limits = limits

    async def read(self) -> bytes:
        """Return the whole answer's JSON, byte for byte; raises RuntimeFaultError."""
        if self._streams:
            raise RuntimeBrokenError("a stream, read as one answer")
        limit = self._limits.answer_bytes
        if int(self._exchange.header(b"content-length") or 0) > limit:
            raise AgentAnswerTooLargeError
        parts, size = [], 0
        while part := await self._exchange.part():
            size += len(part)
            if size > limit:
                raise AgentAnswerTooLargeError
            parts.append(part)
        return _checked(b"".join(parts))

    async def events(self, offer: Callable[[bytes], bool] | None = None) -> AsyncGenerator[list[AgentEvent], None]:
        """Yield the answer's events as they arrive, an AgentError alone; one that is no stream is one event.

        Raises RuntimeFaultError. `offer` as in `agents.invocation.Answer`.
        """
        if not self._streams:
            # In JSON a carriage return can only stand between tokens; in an event's data it would end a line.
            yield [AgentChunk((await self.read()).replace(b"\r", b" "))]
            return
        splitter = EventSplitter(limit_bytes=self._limits.event_bytes)

        def alone(part: bytes) -> bool:
            data = splitter.alone(part)
            return data is not None and offer is not None and offer(data)

        while part := await self._exchange.part(None if offer is None else alone):
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


def _checked(body: bytes) -> bytes:
    if len(body) <= _CHECKED_BYTES:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            # Without its cause, which quotes the answer.
            raise RuntimeBrokenError("an answer that is not JSON") from None
    return body
