import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from ops.devstack.process import free_port
from tenancy.changes import CHANNEL, SIGHT_S, ChangeFeed
from tenancy.clock import SystemClock

pytestmark = pytest.mark.stack

WAIT_S = 10.0


class Heard:
    """What a feed told, in order, awaitable."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        feed.on("tenant", self._queue.put_nowait)
        feed.on_gap(lambda: self._queue.put_nowait("gap"))

    async def next(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return await self._queue.get()


@contextlib.asynccontextmanager
async def running(feed: ChangeFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


class Pauses(SystemClock):
    """A clock that hands its pauses to the test; each ends at once, or never."""

    def __init__(self, *, end: bool) -> None:
        self._end = end
        self.begun: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        if not self._end:
            await asyncio.Event().wait()


async def kill_subscribers(redis: Redis) -> None:
    await redis.client_kill_filter(_type="pubsub")


async def test_a_change_reaches_listeners_of_its_kind_in_every_process(redis: Redis) -> None:
    here, there = (ChangeFeed(redis, clock=SystemClock()) for _ in range(2))
    heard_here, heard_there = Heard(here), Heard(there)
    async with running(here), running(there):
        assert (await heard_here.next(), await heard_there.next()) == ("gap", "gap")
        await here.publish("agent", "echo-agent")
        await here.publish("tenant", "acme")
        assert (await heard_here.next(), await heard_there.next()) == ("acme", "acme")


async def test_every_lost_connection_is_a_gap_and_later_changes_arrive(redis: Redis) -> None:
    feed = ChangeFeed(redis, clock=SystemClock())
    heard = Heard(feed)
    async with running(feed):
        assert await heard.next() == "gap"
        for number in range(3):
            await kill_subscribers(redis)
            assert await heard.next() == "gap"
            await feed.publish("tenant", f"t{number}")
            assert await heard.next() == f"t{number}"


async def test_a_connection_the_client_mends_by_itself_is_a_gap_too(redis_url: str, redis: Redis) -> None:
    mending = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 3), retry_on_error=[RedisConnectionError])
    async with mending:
        # No pause ever ends: only the client itself can connect again.
        feed = ChangeFeed(mending, clock=Pauses(end=False))
        heard = Heard(feed)
        async with running(feed):
            assert await heard.next() == "gap"
            await kill_subscribers(redis)
            assert await heard.next() == "gap"


@pytest.mark.parametrize(
    "message",
    [b"", b"{", b"[]", b"\xff", b'"tenant"', b"{}", b'{"kind":"tenant"}', b'{"kind":"tenant","key":7}'],
)
async def test_a_malformed_message_is_counted_and_ignored(redis: Redis, message: bytes) -> None:
    feed = ChangeFeed(redis, clock=SystemClock())
    heard = Heard(feed)
    async with running(feed):
        await heard.next()
        await redis.publish(CHANNEL, message)
        await redis.publish(CHANNEL, orjson.dumps({"kind": "tenant", "key": "acme"}))
        assert await heard.next() == "acme"
    assert feed.malformed == 1


async def test_a_silent_but_living_connection_is_kept(redis: Redis) -> None:
    feed = ChangeFeed(redis, clock=SystemClock(), pulse_s=0.05)
    heard = Heard(feed)
    async with running(feed):
        await heard.next()
        clients = await redis.client_list(_type="pubsub")
        async with asyncio.timeout(WAIT_S):
            while "ping" not in {client["cmd"] for client in clients}:
                clients = await redis.client_list(_type="pubsub")
        await feed.publish("tenant", "acme")
        assert await heard.next() == "acme"


async def test_a_dead_connection_is_given_up_after_silence(redis: Redis) -> None:
    feed = ChangeFeed(redis, clock=SystemClock(), pulse_s=0.02, silence_s=0.1)
    heard = Heard(feed)
    async with running(feed):
        assert await heard.next() == "gap"
        # The server keeps the connection open and answers nothing for a while.
        await redis.client_pause(300, all=True)
        assert await heard.next() == "gap"


async def test_pauses_between_attempts_grow_up_to_a_ceiling() -> None:
    clock = Pauses(end=True)
    nowhere = Redis(host="127.0.0.1", port=free_port())
    feed = ChangeFeed(nowhere, clock=clock)
    async with nowhere, running(feed):
        pauses = [await clock.begun.get() for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_change_redis_does_not_take_is_counted_and_told_here_not_raised() -> None:
    async with Redis(host="127.0.0.1", port=free_port()) as nowhere:
        feed = ChangeFeed(nowhere, clock=SystemClock())
        heard = Heard(feed)
        await feed.publish("tenant", "acme")
        assert await heard.next() == "acme"
    assert feed.unannounced == 1


async def test_what_redis_did_not_take_is_announced_once_it_is_back(redis: Redis) -> None:
    there = ChangeFeed(redis, clock=SystemClock())
    heard = Heard(there)
    async with running(there), Redis(host="127.0.0.1", port=free_port()) as nowhere:
        assert await heard.next() == "gap"
        feed = ChangeFeed(nowhere, clock=SystemClock())
        await feed.publish("tenant", "acme")
        feed._redis = redis
        async with running(feed):
            assert await heard.next() == "acme"
    assert not feed._owed


async def test_only_what_is_heard_is_current(redis: Redis) -> None:
    feed = ChangeFeed(redis, clock=SystemClock(), pulse_s=0.02)
    heard = Heard(feed)

    async def until(current: bool) -> None:  # noqa: FBT001 the state awaited
        async with asyncio.timeout(WAIT_S):
            while feed.current is not current:
                await asyncio.sleep(0.02)

    await until(False)
    async with running(feed):
        assert await heard.next() == "gap"
        await until(True)
        # Redis goes silent for longer than its silence is trusted, and not for so long that it is given up.
        await redis.client_pause(int(SIGHT_S * 2000), all=True)
        await until(False)
        await until(True)
