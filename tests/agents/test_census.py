from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.census import COUNT_S, IDLE_S, Census, UsedSession
from tenancy.data_models import AgentVersion
from tenancy.ids import AgentName, TenantId, new_session_id
from tenancy.keys import SESSIONS_KEY
from tenancy.trips import RedisAwayError, RoundTrips
from tests.clock import FakeClock
from tests.jobs.parts import make_agent

pytestmark = pytest.mark.stack

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
Make = Callable[[], Census]


@pytest.fixture
def agent() -> AgentVersion:
    return make_agent().model_copy(update={"name": AgentName("echo-agent"), "version": "1.2.3"})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def make(redis: Redis, clock: FakeClock) -> Make:
    return lambda: Census(RoundTrips(redis, clock=clock, metrics=CollectorRegistry()), clock)


async def forget(redis: Redis) -> None:
    """Let what is in use be as old as if its time were over."""
    for session in await redis.zrange(SESSIONS_KEY, 0, -1):
        await redis.zadd(SESSIONS_KEY, {session: 1})


async def test_sessions_are_counted_over_all_processes_by_tenant(make: Make, agent: AgentVersion) -> None:
    here, there, both = make(), make(), new_session_id()
    here.used(ACME, agent, both)
    there.used(ACME, agent, both)
    here.used(GLOBEX, agent, new_session_id())
    there.used(GLOBEX, agent, new_session_id())
    await here.count()
    count = await there.count()
    assert (count.total, count.by_tenant, count.loudest) == (3, {GLOBEX: 2, ACME: 1}, 2)
    assert await here.sessions(ACME) == (UsedSession(both, ACME, AgentName("echo-agent"), "1.2.3"),)


async def test_an_idle_session_is_counted_no_more(make: Make, agent: AgentVersion, redis: Redis) -> None:
    census = make()
    census.used(ACME, agent, new_session_id())
    assert (await census.count()).total == 1
    assert IDLE_S - 5 < await redis.zcount(SESSIONS_KEY, "-inf", "+inf") * IDLE_S <= IDLE_S
    await forget(redis)
    assert (await census.count()).total == 0


async def test_a_session_is_kept_only_if_it_is_known(make: Make, agent: AgentVersion, redis: Redis) -> None:
    census, known = make(), new_session_id()
    census.used(ACME, agent, known)
    await census.count()
    await forget(redis)
    census.kept(known)
    census.kept(new_session_id())
    assert [session.id for session in await census.sessions(ACME)] == [known]


async def test_a_long_call_is_marked_again_while_it_lasts(
    make: Make, agent: AgentVersion, redis: Redis, clock: FakeClock
) -> None:
    census, session = make(), new_session_id()
    census.used(ACME, agent, session)
    ended = census.begun(session)
    await census.count()
    await forget(redis)
    await clock.advance(IDLE_S / 3)
    assert [one.id for one in await census.sessions(ACME)] == [session]
    await forget(redis)
    ended()
    await clock.advance(IDLE_S / 3)
    assert [one.id for one in await census.sessions(ACME)] == [session]
    await forget(redis)
    await clock.advance(IDLE_S / 3)
    assert await census.sessions(ACME) == ()


async def test_a_stopped_session_is_gone_at_once(make: Make, agent: AgentVersion) -> None:
    census, session = make(), new_session_id()
    census.used(ACME, agent, session)
    assert (await census.count()).total == 1
    census.stopped(session)
    assert (await census.count()).total == 0


async def test_marks_outlast_redis_being_away(agent: AgentVersion, redis: Redis, clock: FakeClock) -> None:
    away: Redis = Redis.from_url("redis://127.0.0.1:1/0")
    census = Census(RoundTrips(away, clock=clock, metrics=CollectorRegistry()), clock)
    census.used(ACME, agent, new_session_id())
    with pytest.raises(RedisAwayError):
        await census.count()
    object.__setattr__(census, "_trips", RoundTrips(redis, clock=clock, metrics=CollectorRegistry()))
    assert (await census.count()).total == 1
    await away.aclose()


async def test_the_count_says_when_it_was_made(make: Make, clock: FakeClock) -> None:
    census = make()
    assert census.last.at is None
    await census.count()
    assert census.last.at == clock.now() == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert COUNT_S < IDLE_S
