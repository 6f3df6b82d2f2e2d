"""One request's answer as it comes over its connection: HTTP/1.1 in, a status, headers and a body out.

llhttp reads the wire, strictly; every exchange has a parser of its own, so that no answer can run into the next. An
answer has to say where it ends: one that ends with its connection could not be told from a broken one. What waits to
be read is bounded by pausing the connection, what is no body (head, trailers, chunk framing) by refusing it.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from agents.errors import RuntimeBrokenError, RuntimeFaultError, RuntimeTimeoutError, StreamInterruptedError

# Beyond this much unread the connection is paused; one read more may still come in.
UNREAD_LIMIT_BYTES: Final = 262_144
# The longest head, and the longest run of bytes without any of the body among them.
HEAD_LIMIT_BYTES: Final = 65_536
_FINAL_STATUS: Final = 200

# Takes a part as it arrives, before anybody is woken for it; False where it does not.
Offer: TypeAlias = Callable[[bytes], bool]


class Wire(Protocol):
    """What an exchange may do to its connection."""

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


class Exchange:
    """One answer. Its wire feeds it; one task awaits `begun`, then each `part`. It ends `over` or by `close`."""

    __slots__ = (
        "_begins",
        "_begun",
        "_ends",
        "_fault",
        "_headers",
        "_loop",
        "_offer",
        "_parser",
        "_parts",
        "_paused",
        "_quiet_bytes",
        "_unread_bytes",
        "_waiter",
        "_wire",
        "over",
        "reusable",
        "status",
    )

    def __init__(self, wire: Wire, *, begin_s: float, total_s: float) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._offer: Offer | None = None
        self._fault: RuntimeFaultError | None = None
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._unread_bytes = self._quiet_bytes = 0
        self._begun = self._paused = False
        # The whole answer is here.
        self.over = False
        # Its connection may carry another request.
        self.reusable = False
        self.status = 0
        # Two timers for a whole exchange instead of one for every wait.
        self._ends: asyncio.TimerHandle | None = self._loop.call_later(total_s, self._expire)
        self._begins = self._loop.call_later(begin_s, self._expire) if begin_s < total_s else None

    def header(self, name: bytes) -> str | None:
        """Return a header of the answer, the first of its name; `name` in lower case."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def answered(self) -> bool:
        """Whether the answer has begun, or never will."""
        return self._begun or self._fault is not None

    async def begun(self) -> None:
        """Return once status and headers are here; raises RuntimeFaultError."""
        while not self._begun:
            if self._fault is not None:
                raise self._fault
            await self.woken()

    async def part(self, offer: Offer | None = None) -> bytes:
        """Return all of the body that is here, at least something, nothing at its end; raises RuntimeFaultError.

        While nothing is here, what arrives is offered first: what `offer` takes is not returned.
        """
        parts = self._parts
        while not parts:
            if self._fault is not None:
                raise self._fault
            if self.over:
                return b""
            self._offer = offer
            try:
                await self.woken()
            finally:
                self._offer = None
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._unread_bytes = 0
        if self._paused:
            self._paused = False
            self._wire.resume()
        return data

    def close(self) -> None:
        """Let go of the answer; its connection is dropped if there is more to come."""
        self._parts.clear()
        if not self.over and self._fault is None:
            self._fail(StreamInterruptedError("left"))

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        parser = self._parser
        if parser is None:
            return
        self._quiet_bytes += len(data)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            # What follows a whole answer spoils the connection, not the answer.
            self.reusable = False
            self._break("not HTTP")
        if self._quiet_bytes > HEAD_LIMIT_BYTES:
            self._break("more head than body")
        elif self._unread_bytes > UNREAD_LIMIT_BYTES and not (self._paused or self.over or self._fault):
            self._paused = True
            self._wire.pause()
        if self._offer is not None and len(self._parts) == 1 and self._offer(self._parts[0]):
            self._parts.clear()
            self._unread_bytes = 0
        if self._parts or self.over or (self._begun and self._offer is None):
            self.wake()

    def lost(self, exc: BaseException | None) -> None:
        """Take note that the connection is gone."""
        self._break("closed" if exc is None else type(exc).__name__)

    async def woken(self) -> None:
        """Wait until something has happened."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Have who waits look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def on_message_begin(self) -> None:
        """Begin a message (llhttp): after a whole answer there should be none."""
        if self.over:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header (llhttp); trailers are of no use to us."""
        if not self._begun:
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """End a head (llhttp)."""
        if self._begun or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status >= _FINAL_STATUS:
            self._begun = True
            self._quiet_bytes = 0
            if self._begins is not None:
                self._begins.cancel()
                self._begins = None
        else:
            # An interim answer (RFC 9110, 15.2): the real one follows.
            self._headers.clear()

    def on_body(self, body: bytes) -> None:
        """Take some of the body (llhttp)."""
        if not self.over:
            self._parts.append(body)
            self._unread_bytes += len(body)
            self._quiet_bytes = 0

    def on_message_complete(self) -> None:
        """End a message (llhttp)."""
        if self._begun and not self.over and self._parser is not None:
            self.over = True
            self.reusable = self._parser.should_keep_alive()
            self._rest()

    def _expire(self) -> None:
        self._fail(RuntimeTimeoutError())

    def _break(self, why: str) -> None:
        # Before the answer began, the agent may have run or not; afterwards it certainly has.
        self._fail(StreamInterruptedError(why) if self._begun else RuntimeBrokenError(why))

    def _fail(self, fault: RuntimeFaultError) -> None:
        if self.over or self._fault is not None:
            return
        self._fault = fault
        self._rest()
        self._wire.abort()
        self.wake()

    def _rest(self) -> None:
        """Let go of parser and timers, which hold on to the exchange."""
        self._parser = None
        for timer in (self._begins, self._ends):
            if timer is not None:
                timer.cancel()
        self._begins = self._ends = None
