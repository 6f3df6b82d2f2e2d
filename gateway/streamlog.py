"""The log of every stream this process serves: what its reader is sent, kept so that it can be read again anywhere.

Writing never holds a stream up. An event costs its stream a list's append; every PASS_S what all streams have grown by
goes to Redis together, and what is SAVE_S old or large goes to the store through the journal, the large to S3. What is
on its way is bounded: a log that the stores cannot keep up with is cut there, never holed, and its reader is told.

A process that is killed loses what came after its last pass; with Redis lost at the same time, after the last save.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.frames import Frames, joined
from gateway.journal import Journal
from gateway.segments import INLINE_LIMIT_BYTES, Segments
from gateway.streamtail import Grown, Place, StreamTails
from tenancy.clock import Clock
from tenancy.data_models import StreamSegment
from tenancy.errors import StoreUnavailableError
from tenancy.ids import InvocationId, TenantId
from tenancy.trips import RedisAwayError

PASS_S: Final = 0.05
SAVE_S: Final = 1.0
# Not stored yet: of one stream, and of all.
LOG_LIMIT_BYTES: Final = 8 * 1024 * 1024
LIMIT_BYTES: Final = 128 * 1024 * 1024
# Whoever writes without anybody to read waits once so much is not stored yet.
ROOM_BYTES: Final = 1024 * 1024
# So many segments, or so much in them, are worth an object of their own.
MERGED_SEGMENTS: Final = 32
MERGED_BYTES: Final = 524_288
MERGED_AT_THE_END: Final = 8
# How long a tail outlasts its being stored: for who follows it.
TAIL_S: Final = 30
# A segment is written while its stream runs; it is kept from the stream's end on.
_LONGEST_S: Final = 3 * 3600
_AT_ONCE: Final = 4
# A process that ends waits so long for stores that are away.
END_S: Final = 5.0
_RETRY_S: Final = 1.0

_log = structlog.get_logger("gateway.streamlog")


@dataclass(slots=True)
class _Storing:
    """Events on their way to the store; without a segment for as long as they are on their way to S3."""

    frames: Frames
    segment: StreamSegment | None = None


class StreamLog:
    """One stream's log. `keep_s` is how long it is kept once the stream has ended."""

    __slots__ = (
        "_fresh",
        "_logs",
        "_run",
        "closed",
        "held_bytes",
        "keep_s",
        "last_id",
        "merging",
        "place",
        "since_s",
        "stored_id",
        "storing",
        "unsaved",
        "unsaved_bytes",
    )

    def __init__(self, logs: "StreamLogs", place: Place, keep_s: int, last_id: int = 0) -> None:
        self._logs = logs
        self._fresh: list[bytes] = []
        # The segments that were stored since the last merge: how many, their bytes, their first event.
        self._run = (0, 0, last_id + 1)
        self.place = place
        self.keep_s = keep_s
        self.last_id = self.stored_id = last_id
        self.held_bytes = 0
        self.closed = False
        # Handed to Redis and not to the store yet, and since when; then what is on its way to the store.
        self.unsaved: list[Frames] = []
        self.unsaved_bytes = 0
        self.since_s = 0.0
        self.storing: list[_Storing] = []
        self.merging = False

    def append(self, framed: bytes) -> None:
        """Take the next event; one that there is no room for cuts the log."""
        if self.closed:
            return
        if not self._logs.holds(self, len(framed)):
            self._logs.cut(self)
            return
        self.last_id += 1
        if not self._fresh:
            self._logs.has_grown(self)
        self._fresh.append(framed)

    async def room(self) -> None:
        """Wait while much is not stored yet: for who writes and has no reader to wait for."""
        while self.held_bytes > ROOM_BYTES and not self.closed:
            await self._logs.passed()

    def close(self) -> None:
        """Take nothing more; what is here is stored."""
        if not self.closed:
            self.closed = True
            self._logs.has_closed(self)

    @property
    def idle(self) -> bool:
        """Whether all that came is stored."""
        return not (self._fresh or self.unsaved or self.storing or self.merging)

    def take(self) -> Frames | None:
        """Return what has come since it was last asked for."""
        fresh, self._fresh = self._fresh, []
        return Frames(self.last_id - len(fresh) + 1, self.last_id, b"".join(fresh)) if fresh else None

    def stored(self, done: _Storing) -> tuple[int, int] | None:
        """Take note that a segment is stored; return the first and last event of those that are worth merging now."""
        self.stored_id = done.frames.last
        number, size, first = self._run
        if done.segment is None or done.segment.text is None:
            # What begins with one in S3 gains nothing.
            self._run = (0, 0, done.frames.last + 1)
            return None
        number, size = number + 1, size + len(done.frames.data)
        over = self.closed and not (self.unsaved or self._fresh) and done is self.storing[-1]
        self._run = (number, size, first)
        worth = number >= MERGED_SEGMENTS or (number > 1 and size >= MERGED_BYTES)
        if self.merging or not (worth or (over and number >= MERGED_AT_THE_END)):
            return None
        self._run = (0, 0, done.frames.last + 1)
        return first, done.frames.last


class StreamLogs:
    """The logs of all streams of this process."""

    def __init__(
        self,
        tails: StreamTails,
        segments: Segments,
        journal: Journal,
        *,
        sure: Callable[[], bool],
        clock: Clock,
        metrics: CollectorRegistry,
    ) -> None:
        self._tails = tails
        self._segments = segments
        self._journal = journal
        # Whether no other process can be writing these logs by now.
        self._sure = sure
        self._clock = clock
        self._held_bytes = 0
        self._served: dict[Place, StreamLog] = {}
        # Those with something on its way; and those that have grown since the last pass.
        self._unsettled: dict[Place, StreamLog] = {}
        self._grown: list[StreamLog] = []
        self._wake, self._passed = asyncio.Event(), asyncio.Event()
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._events = Counter("lockgate_stream_log_events_total", "Events of streams logged", registry=metrics)
        self._lost = Counter("lockgate_stream_log_tails_lost_total", "Passes that Redis did not take", registry=metrics)
        self._cut = Counter("lockgate_stream_log_cut_total", "Logs cut: the stores did not keep up", registry=metrics)
        Gauge("lockgate_stream_log_held_bytes", "Events logged and not stored yet", registry=metrics).set_function(
            lambda: self._held_bytes
        )

    def open(self, tenant_id: TenantId, invocation_id: InvocationId, keep_s: int) -> StreamLog:
        """Begin a stream's log; close it."""
        place = (tenant_id, invocation_id)
        log = self._served[place] = StreamLog(self, place, keep_s)
        return log

    async def reopen(self, tenant_id: TenantId, invocation_id: InvocationId, keep_s: int) -> StreamLog:
        """Go on with the log of a process that has died, after its `last_id`; close it. Raises StoreUnavailableError.

        What Redis alone has of it is stored first.
        """
        place = (tenant_id, invocation_id)
        newest = await self._segments.newest(place)
        log = StreamLog(self, place, keep_s, 0 if newest is None else newest.last)
        tail = joined(await self._tails.after(place, log.last_id), log.last_id)
        if tail is not None:
            log.last_id = tail.last
            log.unsaved.append(tail)
            log.unsaved_bytes = len(tail.data)
            self.holds(log, len(tail.data))
            self.has_grown(log)
        self._served[place] = log
        return log

    def served(self, place: Place) -> StreamLog | None:
        """Return the log of a stream that this process writes now."""
        return self._served.get(place)

    def has_grown(self, log: StreamLog) -> None:
        """Look after a log with the next pass."""
        self._unsettled[log.place] = log
        self._grown.append(log)
        self._wake.set()

    def has_closed(self, log: StreamLog) -> None:
        """Store what is left of a log."""
        self._served.pop(log.place, None)
        if log.last_id:
            self._unsettled[log.place] = log
            self._wake.set()

    def holds(self, log: StreamLog, size: int) -> bool:
        """Hold so much more of a log; tells whether there is room."""
        if log.held_bytes + size > LOG_LIMIT_BYTES or self._held_bytes + size > LIMIT_BYTES:
            return False
        log.held_bytes += size
        self._held_bytes += size
        return True

    def cut(self, log: StreamLog) -> None:
        """Keep no more of a stream."""
        log.close()
        self._cut.inc()
        _log.warning("stream log cut", tenant=log.place[0], id=log.place[1], events=log.last_id)

    async def passed(self) -> None:
        """Wait for the end of the next pass."""
        await self._passed.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep logs for the block; when it is left, what is held is handed on first."""
        task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        try:
            yield
        finally:
            self._ending = True
            for log in list(self._served.values()):
                log.close()
            self._wake.set()
            try:
                async with asyncio.timeout(END_S):
                    await task
            except TimeoutError:
                _log.warning("stream logs left", logs=len(self._unsettled))
            for each in self._tasks:
                each.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if not self._unsettled:
                if self._ending:
                    return
                self._wake.clear()
                await self._wake.wait()
            await self._clock.sleep(PASS_S)
            if not self._sure():
                continue
            await self._hand_on()
            for log in list(self._unsettled.values()):
                self._settle(log)
            self._passed.set()
            self._passed = asyncio.Event()

    async def _hand_on(self) -> None:
        """Add to the tails what has come."""
        grown, self._grown = self._grown, []
        news: list[Grown] = []
        now_s, events = self._clock.monotonic(), 0
        for log in grown:
            frames = log.take()
            if frames is not None:
                if not log.unsaved:
                    log.since_s = now_s
                log.unsaved.append(frames)
                log.unsaved_bytes += len(frames.data)
                news.append(Grown(log.place, frames, log.stored_id, log.keep_s + TAIL_S))
                events += frames.last - frames.first + 1
        self._events.inc(events)
        if news:
            try:
                await self._tails.append(news)
            except RedisAwayError:
                # The store has it within a second; until then a reader waits.
                self._lost.inc()

    def _settle(self, log: StreamLog) -> None:
        """Have stored what is due, and take note of what is."""
        if log.unsaved and self._due(log):
            self._save(log)
        while log.storing and self._is_stored(log, log.storing[0]):
            worth = log.stored(log.storing[0])
            size = len(log.storing.pop(0).frames.data)
            log.held_bytes -= size
            self._held_bytes -= size
            if worth is not None:
                log.merging = True
                self._spawn(self._merge(log, *worth))
        if not log.idle:
            return
        del self._unsettled[log.place]
        if log.closed:
            self._tails.let_go(log.place, TAIL_S)

    def _due(self, log: StreamLog) -> bool:
        old = self._clock.monotonic() - log.since_s >= SAVE_S
        return old or log.closed or log.unsaved_bytes >= INLINE_LIMIT_BYTES

    def _is_stored(self, log: StreamLog, one: _Storing) -> bool:
        if one.segment is None:
            return False
        name = StreamSegment.record_id_of(log.place[1], one.frames.first)
        return self._journal.pending(StreamSegment, log.place[0], name) is None

    def _save(self, log: StreamLog) -> None:
        unsaved, log.unsaved, log.unsaved_bytes = log.unsaved, [], 0
        frames = Frames(unsaved[0].first, unsaved[-1].last, b"".join(each.data for each in unsaved))
        one = _Storing(frames)
        log.storing.append(one)
        text = _text(frames.data)
        if text is None:
            self._spawn(self._save_object(log, one))
        else:
            self._put(log, one, text=text)

    def _put(self, log: StreamLog, one: _Storing, *, text: str | None = None, s3_key: str | None = None) -> None:
        until = self._clock.now() + timedelta(seconds=_LONGEST_S + log.keep_s)
        one.segment = StreamSegment(
            tenant_id=log.place[0],
            invocation_id=log.place[1],
            first=one.frames.first,
            last=one.frames.last,
            text=text,
            s3_key=s3_key,
            ttl=int(until.timestamp()),
        )
        self._journal.put(one.segment, soon=log.closed)

    async def _save_object(self, log: StreamLog, one: _Storing) -> None:
        while True:
            try:
                async with self._room:
                    key = await self._segments.put_object(log.place, one.frames)
            except StoreUnavailableError:
                await self._clock.sleep(_RETRY_S)
            else:
                return self._put(log, one, s3_key=key)

    async def _merge(self, log: StreamLog, first: int, last: int) -> None:
        try:
            async with self._room:
                await self._segments.merge(log.place, first, last)
        except StoreUnavailableError:
            # They stay as they are: as good, only more of them.
            _log.warning("stream log not merged", tenant=log.place[0], id=log.place[1])
        finally:
            log.merging = False

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(data: bytes) -> str | None:
    """Return events as an item may hold them; None for what is too large or no text."""
    if len(data) > INLINE_LIMIT_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
