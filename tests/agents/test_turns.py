import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.errors import SessionBusyError
from agents.turns import LEASE_S, RENEW_S, Turns
from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tenancy.ids import InvocationId, SessionId, TenantId
from tenancy.keys import turn_key
from tenancy.trips import REST_S, RoundTrips
from tests.clock import FakeClock

pytestmark = pytest.mark.stack

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
SESSION = SessionId("ses_" + "0" * 48)
ONE, TWO = InvocationId("inv_1"), InvocationId("inv_2")


@asynccontextmanager
async def process(url: str, clock: FakeClock) -> AsyncIterator[Turns]:
    """One gateway process's turns."""
    metrics = CollectorRegistry()
    async with Redis.from_url(url) as redis:
        trips = RoundTrips(redis, clock=clock, metrics=metrics)
        turns = Turns(trips, clock, metrics)
        async with turns.renewing():
            yield turns
        await trips.aclose()


@asynccontextmanager
async def passing(clock: FakeClock) -> AsyncIterator[None]:
    """Let time pass during the block."""
    running = asyncio.create_task(clock.run())
    try:
        yield
    finally:
        running.cancel()


async def test_one_turn_of_a_session_at_a_time_on_one_process(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as turns, turns.turn(ACME, SESSION, ONE, fresh=True):
        with pytest.raises(SessionBusyError):
            async with turns.turn(ACME, SESSION, TWO, fresh=False):
                pass


async def test_one_turn_of_a_session_at_a_time_across_processes(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as here, process(redis_url, clock) as there:
        async with here.turn(ACME, SESSION, ONE, fresh=False), passing(clock):
            with pytest.raises(SessionBusyError):
                async with there.turn(ACME, SESSION, TWO, fresh=False):
                    pass
        async with process(redis_url, clock) as third, third.turn(ACME, SESSION, TWO, fresh=False):
            pass


async def test_a_turn_that_ended_while_redis_was_away_holds_its_session_no_longer(
    tmp_path: Path, clock: FakeClock
) -> None:
    port, another = free_port(), SessionId("ses_" + "1" * 48)
    server = await start_redis(port, tmp_path / "data", tmp_path / "log")
    async with process(f"redis://127.0.0.1:{port}", clock) as turns:
        async with turns.turn(ACME, SESSION, ONE, fresh=False):
            await stop(server)
        async with turns.turn(ACME, another, TWO, fresh=False):
            pass
        server = await start_redis(port, tmp_path / "data", tmp_path / "log")
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as redis:
            assert await redis.get(turn_key(ACME, SESSION)) == ONE.encode()
        await clock.advance(REST_S)
        async with passing(clock), turns.turn(ACME, SESSION, TWO, fresh=False):
            pass
    await stop(server)


async def test_a_turn_whose_end_is_not_known_everywhere_yet_does_not_refuse_the_next_one(
    redis_url: str, clock: FakeClock
) -> None:
    async with process(redis_url, clock) as there, Redis.from_url(redis_url) as redis:
        await redis.set(turn_key(ACME, SESSION), ONE)

        async def go_on() -> None:
            async with there.turn(ACME, SESSION, TWO, fresh=False):
                pass

        going_on = asyncio.create_task(go_on())
        await asyncio.wait_for(clock.until_sleeping(2), 10)
        await redis.delete(turn_key(ACME, SESSION))
        async with passing(clock):
            await going_on


async def test_the_same_id_of_another_tenant_is_another_session(redis_url: str, clock: FakeClock) -> None:
    async with (
        process(redis_url, clock) as here,
        process(redis_url, clock) as there,
        here.turn(ACME, SESSION, ONE, fresh=False),
        there.turn(GLOBEX, SESSION, TWO, fresh=False),
    ):
        pass


async def test_a_turn_that_lost_its_lease_does_not_free_the_next_ones(redis_url: str, clock: FakeClock) -> None:
    async with Redis.from_url(redis_url) as redis:
        async with process(redis_url, clock) as turns, turns.turn(ACME, SESSION, ONE, fresh=False):
            await redis.set(turn_key(ACME, SESSION), TWO)
        assert await redis.get(turn_key(ACME, SESSION)) == TWO.encode()


async def test_a_long_turn_keeps_its_lease(redis_url: str, clock: FakeClock) -> None:
    async with (
        Redis.from_url(redis_url) as redis,
        process(redis_url, clock) as turns,
        turns.turn(ACME, SESSION, ONE, fresh=False),
    ):
        await redis.pexpire(turn_key(ACME, SESSION), 5_000)
        await clock.until_sleeping()
        await clock.advance(RENEW_S)
        async with turns.turn(ACME, SessionId("ses_" + "1" * 48), TWO, fresh=False):
            assert await redis.pttl(turn_key(ACME, SESSION)) > (LEASE_S - 5) * 1000


async def test_a_crashed_processes_turns_expire(redis_url: str, clock: FakeClock) -> None:
    async with (
        Redis.from_url(redis_url) as redis,
        process(redis_url, clock) as turns,
        turns.turn(ACME, SESSION, ONE, fresh=False),
    ):
        assert 0 < await redis.pttl(turn_key(ACME, SESSION)) <= LEASE_S * 1000


async def test_without_redis_each_process_still_refuses_its_own_second_turn(clock: FakeClock) -> None:
    async with process(f"redis://127.0.0.1:{free_port()}", clock) as turns, turns.turn(ACME, SESSION, ONE, fresh=False):
        with pytest.raises(SessionBusyError):
            async with turns.turn(ACME, SESSION, TWO, fresh=False):
                pass


async def test_of_many_simultaneous_turns_exactly_one_wins(redis_url: str, clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process(redis_url, clock)) for _ in range(8)]
        over = asyncio.Event()

        async def attempt(turns: Turns, number: int) -> bool:
            try:
                async with turns.turn(ACME, SESSION, InvocationId(f"inv_{number}"), fresh=False):
                    await over.wait()
            except SessionBusyError:
                return False
            return True

        tries = [asyncio.create_task(attempt(turns, number)) for number, turns in enumerate(processes)]
        async with passing(clock):
            while sum(task.done() for task in tries) < len(tries) - 1:
                await asyncio.sleep(0)
        over.set()
        assert sorted(await asyncio.gather(*tries)) == [False] * 7 + [True]
