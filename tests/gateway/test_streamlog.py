"""Streams' logs as one process writes and another reads them, whatever becomes of Redis and of the writer."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from gateway import replay, streamlog
from gateway.errors import EventUnknownError, ReplayExpiredError
from gateway.frames import Frames, joined
from gateway.journal import Journal
from gateway.replay import Replays
from gateway.segments import INLINE_LIMIT_BYTES, Segments
from gateway.sse import frame
from gateway.streamlog import StreamLog, StreamLogs
from gateway.streamtail import Place, StreamTails
from tenancy.clock import SystemClock
from tenancy.data_models import InvocationRecord, Mode, Status, StreamSegment, TenantItem
from tenancy.errors import StoreUnavailableError
from tenancy.ids import AgentName, InvocationId, SessionId, TenantId, new_invocation_id
from tenancy.keys import tail_key
from tenancy.store import TenantStores
from tenancy.trips import RoundTrips
from tests.conftest import Aws

CLOCK = SystemClock()
NOWHERE = "redis://127.0.0.1:1/0"
END = b"invocation.completed"


@dataclass
class Process:
    """What one gateway process has of streams' logs."""

    stores: TenantStores
    logs: StreamLogs
    replays: Replays
    place: Place
    redis: Redis
    metrics: CollectorRegistry
    status: Status = Status.RUNNING
    away: bool = False

    def begin(self) -> StreamLog:
        return self.logs.open(*self.place, 600)

    async def find(self, tenant_id: TenantId, invocation_id: InvocationId) -> InvocationRecord:
        return InvocationRecord(
            tenant_id=tenant_id,
            invocation_id=invocation_id,
            agent=AgentName("echo-agent"),
            agent_version="1.0.0",
            mode=Mode.STREAM,
            status=self.status,
            session_id=SessionId("ses_1"),
            principal="p",
            request_id="req_1",
            created_at=CLOCK.now(),
            ttl=0,
        )

    async def read(self, after: int = 0, *, of: Place | None = None) -> bytes:
        """Read to the end."""
        async with asyncio.timeout(20):
            return b"".join([frames.data async for frames in self.replays.follow(of or self.place, after)])

    async def segments(self) -> tuple[StreamSegment, ...]:
        page = await self.stores.db(self.place[0]).query(
            StreamSegment,
            StreamSegment.key_of(self.place[0], "").partition,
            sort_prefix=StreamSegment.prefix_of(self.place[1]),
            limit=100,
            newest_first=False,
            consistent=True,
        )
        return page.items

    async def until_stored(self, last: int) -> tuple[StreamSegment, ...]:
        async with asyncio.timeout(20):
            while not (found := await self.segments()) or found[-1].last < last:
                await asyncio.sleep(0.01)
        return found

    async def until_tailed(self, last: int) -> None:
        async with asyncio.timeout(20):
            while not any(int(one[0].split(b"-")[0]) >= last for one in await self.redis.xrevrange(self.key, count=1)):
                await asyncio.sleep(0.01)

    @property
    def key(self) -> str:
        return tail_key(*self.place)

    def counted(self, name: str) -> float:
        return self.metrics.get_sample_value(f"lockgate_stream_log_{name}") or 0.0


class Processes:
    """Makes processes on the same stores."""

    def __init__(self, stack: AsyncExitStack, stores: TenantStores, redis_url: str) -> None:
        self._stack = stack
        self._stores = stores
        self._redis_url = redis_url
        self._place = (TenantId(f"t{secrets.token_hex(8)}"), new_invocation_id(CLOCK.now()))

    async def one(self, redis_url: str | None = None) -> Process:
        redis = Redis.from_url(redis_url or self._redis_url)
        self._stack.push_async_callback(redis.aclose)
        metrics, segments = CollectorRegistry(), Segments(self._stores)
        tails = StreamTails(RoundTrips(redis, clock=CLOCK, metrics=metrics), CLOCK)
        self._stack.push_async_callback(tails.aclose)

        async def write(tenant_id: TenantId, items: Sequence[TenantItem]) -> None:
            if process.away:
                raise StoreUnavailableError
            await self._stores.db(tenant_id).put_batch(items)

        async def find(*place: *Place) -> InvocationRecord:
            return await process.find(*place)

        journal = Journal(write, CLOCK, metrics)
        logs = StreamLogs(tails, segments, journal, sure=lambda: True, clock=CLOCK, metrics=metrics)
        await self._stack.enter_async_context(logs.running())
        process = Process(
            self._stores,
            logs,
            Replays(segments, tails, logs, find, CLOCK),
            self._place,
            redis,
            metrics,
        )
        return process


@pytest.fixture
async def processes(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Processes]:
    """Return the maker of processes; one that ends does not wait for a store that is away."""
    monkeypatch.setattr(streamlog, "END_S", 1.0)
    stores = TenantStores(
        aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=lambda _: None
    )
    async with AsyncExitStack() as stack:
        yield Processes(stack, stores, redis_url)


def events(first: int, last: int, data: bytes = b'{"n": 1}') -> list[bytes]:
    return [frame(number, b"agent.chunk", data) for number in range(first, last + 1)]


def write(log: StreamLog, frames: list[bytes]) -> bytes:
    for each in frames:
        log.append(each)
    return b"".join(frames)


@asynccontextmanager
async def reading(process: Process, after: int = 0) -> AsyncIterator[asyncio.Task[bytes]]:
    task = asyncio.ensure_future(process.read(after))
    try:
        yield task
    finally:
        task.cancel()


async def test_a_log_is_read_on_another_process_while_it_is_written(processes: Processes) -> None:
    one, other = await processes.one(), await processes.one()
    log = one.begin()
    async with reading(other) as early:
        told = write(log, events(1, 3))
        await one.until_stored(3)
        async with reading(other, 2) as late:
            told += write(log, events(4, 200))
            await one.until_tailed(200)
            told += write(log, [frame(201, END, b"{}")])
            log.close()
            assert await early == told
            assert await late == b"".join([*events(3, 200), frame(201, END, b"{}")])
    assert (await other.read(), await other.read(200)) == (told, frame(201, END, b"{}"))


async def test_what_redis_loses_the_store_has_within_a_save(processes: Processes) -> None:
    one, other = await processes.one(), await processes.one()
    log = one.begin()
    async with reading(other) as follower:
        told = write(log, events(1, 5))
        await one.until_tailed(5)
        await one.redis.flushall()
        told += write(log, events(6, 9))
        await one.until_tailed(9)
        assert joined(await other.replays._tails.after(one.place, 0), 0) is None
        told += write(log, [frame(10, END, b"{}")])
        log.close()
        assert await follower == told
    await one.redis.flushall()
    assert await other.read() == told


async def test_a_log_is_kept_and_followed_while_redis_is_away(processes: Processes) -> None:
    one, other = await processes.one(NOWHERE), await processes.one(NOWHERE)
    log = one.begin()
    async with reading(other) as follower:
        told = write(log, events(1, 5))
        await one.until_stored(5)
        told += write(log, [frame(6, END, b"{}")])
        log.close()
        assert await follower == told
    assert one.counted("tails_lost_total") > 0


async def test_a_log_goes_on_in_redis_while_the_store_is_away(processes: Processes) -> None:
    one, other = await processes.one(), await processes.one()
    one.away = True
    log = one.begin()
    told = write(log, events(1, 5))
    await one.until_tailed(5)
    async with reading(other) as follower:
        told += write(log, [*events(6, 9), frame(10, END, b"{}")])
        log.close()
        assert await follower == told
    assert await one.segments() == ()
    one.away = False
    await one.until_stored(10)
    await one.redis.flushall()
    assert await other.read() == told


async def test_what_the_stores_cannot_take_cuts_a_log_and_never_holes_it(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamlog, "LOG_LIMIT_BYTES", 1000)
    monkeypatch.setattr(replay, "PATIENCE_S", 0.0)
    one, other = await processes.one(), await processes.one()
    one.away = True
    log = one.begin()
    whole = write(log, events(1, 100))
    log.close()
    assert 0 < one.counted("held_bytes") <= 1000
    assert one.counted("cut_total") == 1
    one.away, one.status, other.status = False, Status.SUCCEEDED, Status.SUCCEEDED
    kept = b""
    with pytest.raises(ReplayExpiredError):
        async for frames in other.replays.follow(one.place, 0):
            kept += frames.data
    assert kept
    assert whole.startswith(kept)
    assert len(kept) == log.last_id * len(events(1, 1)[0]) + max(0, log.last_id - 9)
    await one.until_stored(log.last_id)


async def test_a_log_written_without_a_reader_waits_for_its_store(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamlog, "ROOM_BYTES", 1000)
    one = await processes.one()
    one.away = True
    log = one.begin()
    await log.room()
    write(log, events(1, 100))
    waiting = asyncio.ensure_future(log.room())
    await one.until_tailed(100)
    assert not waiting.done()
    one.away = False
    await asyncio.wait_for(waiting, 20)
    assert one.counted("held_bytes") == 0


async def test_many_segments_become_one_in_the_tenants_s3(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamlog, "SAVE_S", 0.0)
    monkeypatch.setattr(streamlog, "MERGED_SEGMENTS", 4)
    one, other = await processes.one(), await processes.one()
    log, told = one.begin(), b""
    async with reading(other) as follower:
        for first in range(1, 81, 10):
            told += write(log, events(first, first + 9))
            await one.until_tailed(first + 9)
            await one.until_stored(first + 9)
        told += write(log, [frame(81, END, b"{}")])
        log.close()
        assert await follower == told
    async with asyncio.timeout(20):
        while len(found := await one.segments()) > 3:
            await asyncio.sleep(0.02)
    assert found[0].s3_key is not None
    assert found[0].s3_key.startswith(f"tenants/{one.place[0]}/streams/{one.place[1]}/")
    await one.redis.flushall()
    assert await other.read() == told
    assert [await other.read(after) for after in (1, 39, 40, 41, 80)] == [
        told[told.index(b"id: %d\n" % (after + 1)) :] for after in (1, 39, 40, 41, 80)
    ]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (INLINE_LIMIT_BYTES + 1)], ids=["no text", "large"])
async def test_what_an_item_cannot_hold_is_kept_in_s3(processes: Processes, data: bytes) -> None:
    one = await processes.one()
    log = one.begin()
    told = write(log, [*events(1, 2, data), frame(3, END, b"{}")])
    log.close()
    [segment] = await one.until_stored(3)
    assert (segment.text, segment.first, segment.last) == (None, 1, 3)
    await one.redis.flushall()
    assert await one.read() == told


async def test_a_log_goes_on_where_the_process_that_died_left_it(processes: Processes) -> None:
    one, other = await processes.one(), await processes.one()
    log = one.begin()
    told = write(log, events(1, 5))
    await one.until_stored(5)
    # What comes now is in Redis alone when its process dies.
    one.away = True
    told += write(log, events(6, 8))
    await one.until_tailed(8)
    again = await other.logs.reopen(*one.place, 600)
    assert again.last_id == 8
    told += write(again, [frame(9, END, b"{}")])
    again.close()
    await other.until_stored(9)
    await one.redis.flushall()
    assert await other.read() == told


async def test_a_reader_ahead_of_a_dead_processs_log_waits_for_who_goes_on(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await processes.one(), await processes.one()
    log = one.begin()
    write(log, events(1, 5))
    await one.until_tailed(5)
    record = await other.find(*one.place)
    reached = asyncio.ensure_future(other.replays.reached(record, 8))
    with pytest.raises(EventUnknownError):
        await other.replays.reached(record, 5 + replay.AHEAD + 1)
    write(log, events(6, 8))
    assert (await reached).id == 8
    monkeypatch.setattr(replay, "AHEAD_PATIENCE_S", 0.0)
    with pytest.raises(EventUnknownError):
        await other.replays.reached(record, 9)


async def test_a_quiet_log_has_nothing_under_way(processes: Processes) -> None:
    one = await processes.one()
    log = one.begin()
    write(log, events(1, 5))
    await one.until_stored(5)
    async with asyncio.timeout(20):
        while one.logs._unsettled:
            await asyncio.sleep(0.01)
    assert (log.idle, log.stored_id, one.counted("held_bytes")) == (True, 5, 0)
    told = write(log, [frame(6, END, b"{}")])
    log.close()
    await one.until_stored(6)
    assert await one.read(5) == told
    assert one.logs.served(one.place) is None
    async with asyncio.timeout(20):
        while not 0 < await one.redis.ttl(one.key) <= streamlog.TAIL_S:
            await asyncio.sleep(0.01)


def test_a_piece_knows_its_numbers() -> None:
    assert Frames.ending(7, b"".join(events(5, 7))) == Frames(5, 7, b"".join(events(5, 7)))
