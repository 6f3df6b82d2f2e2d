import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tenancy.ids import TenantId
from tenancy.scope import TenantScope, entered
from tenancy.trips import REST_S, RedisAwayError, RoundTrips, Script
from tests.clock import FakeClock

pytestmark = pytest.mark.stack

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def nobody() -> AsyncIterator[Redis]:
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}") as client:
        yield client


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


def trips_made(metrics: CollectorRegistry, outcome: str) -> float:
    return metrics.get_sample_value("lockgate_redis_trips_total", {"outcome": outcome}) or 0.0


async def test_callers_of_one_moment_share_a_trip(redis: Redis, clock: FakeClock, metrics: CollectorRegistry) -> None:
    trips = RoundTrips(redis, clock=clock, metrics=metrics)
    answers = await asyncio.gather(*(trips.run(COUNT, ("n",), 1) for _ in range(100)))
    assert answers == list(range(1, 101))
    assert trips_made(metrics, "made") == 1


async def test_a_script_redis_has_forgotten_is_taught_again(
    redis: Redis, clock: FakeClock, metrics: CollectorRegistry
) -> None:
    trips = RoundTrips(redis, clock=clock, metrics=metrics)
    assert await trips.run(COUNT, ("n",), 1) == 1
    await redis.script_flush()
    assert await trips.run(COUNT, ("n",), 1) == 2


async def test_a_command_redis_refuses_fails_only_its_own_caller(
    redis: Redis, clock: FakeClock, metrics: CollectorRegistry
) -> None:
    trips = RoundTrips(redis, clock=clock, metrics=metrics)
    bad, good = trips.send("NO-SUCH-COMMAND"), trips.send("SET", "k", "v")
    with pytest.raises(RedisAwayError):
        await bad
    assert await good is True


async def test_redis_away_is_told_and_then_left_alone(clock: FakeClock, metrics: CollectorRegistry) -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}") as nobody:
        trips = RoundTrips(nobody, clock=clock, metrics=metrics)
        for outcome in ("failed", "skipped"):
            with pytest.raises(RedisAwayError):
                await trips.send("GET", "k")
            assert trips_made(metrics, outcome) == 1
        await clock.advance(REST_S)
        with pytest.raises(RedisAwayError):
            await trips.send("GET", "k")
        assert trips_made(metrics, "failed") == 2


async def test_the_log_says_that_redis_is_away_and_once_that_it_is_back(
    tmp_path: Path, clock: FakeClock, metrics: CollectorRegistry
) -> None:
    port = free_port()
    with capture_logs() as lines:
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as redis:
            trips = RoundTrips(redis, clock=clock, metrics=metrics)
            with pytest.raises(RedisAwayError):
                await trips.send("GET", "k")
            server = await start_redis(port, tmp_path / "data", tmp_path / "log")
            await clock.advance(REST_S)
            for _ in range(2):
                await trips.send("GET", "k")
        await stop(server)
    assert [line["event"] for line in lines] == ["redis away", "redis back"]


async def test_what_was_not_taken_is_given_up_when_its_time_is_over(
    redis: Redis, nobody: Redis, clock: FakeClock, metrics: CollectorRegistry
) -> None:
    trips = RoundTrips(nobody, clock=clock, metrics=metrics)
    for key, keep_s in (("short", REST_S), ("long", 3 * REST_S), ("never", 0.0)):
        with pytest.raises(RedisAwayError):
            await trips.send("SET", key, "v", keep_s=keep_s)
    await clock.advance(2 * REST_S)
    nobody.connection_pool = redis.connection_pool
    await trips.send("PING")
    assert await redis.keys() == [b"long"]


async def test_what_nobody_waits_for_is_still_done(redis: Redis, clock: FakeClock, metrics: CollectorRegistry) -> None:
    trips = RoundTrips(redis, clock=clock, metrics=metrics)
    trips.send("SET", "k", "v")
    await trips.aclose()
    assert await redis.get("k") == b"v"


async def test_a_trip_does_not_inherit_the_scope_of_the_request_that_begins_it(
    redis: Redis, clock: FakeClock, metrics: CollectorRegistry
) -> None:
    trips = RoundTrips(redis, clock=clock, metrics=metrics)
    with entered(TenantScope(TenantId("acme"))):
        first = trips.send("GET", "k")
    with entered(TenantScope(TenantId("globex"))):
        second = trips.send("GET", "k")
    assert [await first, await second] == [None, None]
