"""Limits of several processes on one real Redis: rates, days, slots."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tenancy.days import Days
from tenancy.errors import ConcurrencyLimitError, DailyLimitError
from tenancy.ids import InvocationId, TenantId
from tenancy.keys import blocks_key, day_key, slots_key
from tenancy.leases import IDLE_S
from tenancy.rates import Rates
from tenancy.slots import LEASE_S, RENEW_S, SPARE, Slots
from tenancy.tiers import LIMITS, Limits, Tier
from tenancy.trips import REST_S, RoundTrips
from tests.clock import FakeClock

pytestmark = pytest.mark.stack

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
SLOW = replace(LIMITS[Tier.BASIC], requests_per_s=1, burst_requests=40)


@dataclass
class Process:
    """One gateway process's limiters."""

    trips: RoundTrips
    rates: Rates
    days: Days
    slots: Slots
    metrics: CollectorRegistry

    def trips_made(self) -> float:
        return self.metrics.get_sample_value("lockgate_redis_trips_total", {"outcome": "made"}) or 0.0


@asynccontextmanager
async def process(url: str, clock: FakeClock, name: str = "one") -> AsyncIterator[Process]:
    metrics = CollectorRegistry()
    async with Redis.from_url(url) as redis:
        trips = RoundTrips(redis, clock=clock, metrics=metrics)
        slots = Slots(trips, clock=clock, process=name)
        async with slots.renewing():
            yield Process(trips, Rates(trips, clock=clock), Days(trips, clock=clock), slots, metrics)
        await trips.aclose()


@asynccontextmanager
async def processes(url: str, clock: FakeClock, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(process(url, clock, str(number))) for number in range(count)]


@pytest.fixture
def nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}"


async def allowed(rates: Rates, limits: Limits, tries: int, tenant: TenantId = ACME) -> int:
    """How many of this many requests are within the rate."""
    states = await asyncio.gather(*(rates.take(tenant, limits) for _ in range(tries)))
    return sum(state.retry_after_s is None for state in states)


async def test_all_processes_together_stay_within_the_burst(redis_url: str, clock: FakeClock) -> None:
    began = time.monotonic()
    async with processes(redis_url, clock, 3) as three:
        passed = sum(await asyncio.gather(*(allowed(one.rates, SLOW, 40) for one in three)))
    # What the bucket gained while the test ran is the tenant's too.
    gained = math.ceil(time.monotonic() - began) * SLOW.requests_per_s
    assert SLOW.burst_requests <= passed <= SLOW.burst_requests + gained


async def test_one_tenants_flood_leaves_anothers_rate_alone(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        await allowed(one.rates, SLOW, 200)
        assert await allowed(one.rates, SLOW, 40, GLOBEX) == 40


async def test_a_warm_premium_request_makes_no_trip_of_its_own(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        for _ in range(500):
            assert (await one.rates.take(ACME, LIMITS[Tier.PREMIUM])).retry_after_s is None
        assert one.trips_made() <= 500 / 25


async def test_a_refused_flood_makes_no_trips(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        await allowed(one.rates, SLOW, 60)
        before = one.trips_made()
        assert await allowed(one.rates, SLOW, 500) == 0
        assert one.trips_made() - before <= 1


async def test_a_refusal_says_when_to_come_back(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        states = [await one.rates.take(ACME, SLOW) for _ in range(60)]
    assert (states[0].burst, states[0].window_s) == (40, 40)
    assert states[0].remaining == 39
    assert states[-1].retry_after_s == 1
    assert states[-1].remaining == 0
    assert 0 < states[-1].reset_s <= 40


async def test_what_an_idle_process_holds_goes_back(redis_url: str, clock: FakeClock) -> None:
    fast = replace(SLOW, requests_per_s=1000, burst_requests=60)
    async with processes(redis_url, clock, 2) as (one, two):
        await one.rates.take(ACME, replace(fast, requests_per_s=1))
        await one.rates.take(GLOBEX, fast)
        await clock.advance(IDLE_S)
        one.rates.rest()
        await one.trips.aclose()
        assert await allowed(two.rates, replace(fast, requests_per_s=1), 60) >= 59


async def test_without_redis_each_process_holds_a_tenant_to_its_rate(nowhere: str, clock: FakeClock) -> None:
    async with process(nowhere, clock) as one:
        assert await allowed(one.rates, SLOW, 100) == 40
        await clock.advance(3.0)
        assert await allowed(one.rates, SLOW, 100) == 3


async def invoked(days: Days, cap: int | None, tries: int) -> int:
    answers = await asyncio.gather(*(days.take(ACME, cap) for _ in range(tries)), return_exceptions=True)
    assert all(answer is None or isinstance(answer, DailyLimitError) for answer in answers)
    return answers.count(None)


async def test_all_processes_together_stay_within_the_day(redis_url: str, clock: FakeClock) -> None:
    async with processes(redis_url, clock, 3) as three:
        assert sum(await asyncio.gather(*(invoked(one.days, 100, 60) for one in three))) == 100


async def test_the_day_ends_at_midnight_utc(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        assert await invoked(one.days, 5, 10) == 5
        with pytest.raises(DailyLimitError) as refused:
            await one.days.take(ACME, 5)
        assert refused.value.retry_after_s == 12 * 3600
        await clock.advance(12 * 3600)
        assert await invoked(one.days, 5, 10) == 5


async def test_a_raised_cap_takes_effect(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        assert await invoked(one.days, 5, 10) == 5
        assert await invoked(one.days, 8, 10) == 3


async def test_an_unlimited_day_is_not_counted(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        assert await invoked(one.days, None, 1000) == 1000
        assert one.trips_made() == 0


async def test_a_drain_gives_unused_units_of_the_day_back(redis_url: str, clock: FakeClock) -> None:
    async with processes(redis_url, clock, 2) as (one, two):
        await one.days.take(ACME, 10_000)
        one.days.rest(now=True)
        await one.trips.aclose()
        assert await invoked(two.days, 10_000, 1) == 1
        async with Redis.from_url(redis_url) as redis:
            two.days.rest(now=True)
            await two.trips.aclose()
            assert int(await redis.get(day_key(ACME, clock.now().date())) or 0) == 2


@asynccontextmanager
async def relayed(url: str, there: str) -> AsyncIterator[None]:
    """Have the Redis at `url` answer at `there` as well, for the block."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        await asyncio.gather(carry(reader, upstream_writer), carry(upstream_reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", urlsplit(there).port):
        yield


@pytest.mark.parametrize("idle", [False, True], ids=["busy", "idle meanwhile"])
async def test_days_without_redis_are_counted_once_it_is_back(
    redis_url: str, nowhere: str, clock: FakeClock, *, idle: bool
) -> None:
    async with process(nowhere, clock) as away, process(redis_url, clock, "two") as other:
        assert await invoked(away.days, 10, 12) == 12
        if idle:
            await clock.advance(IDLE_S)
            away.days.rest()
            await away.trips.aclose()
        await clock.advance(REST_S)
        async with relayed(redis_url, nowhere):
            if idle:
                away.days.rest()
                await away.trips.aclose()
            assert await invoked(away.days, 10, 1) == 0
            assert await invoked(other.days, 15, 5) == 3


class Running:
    """Invocations that hold their slots until told to end."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.tasks: list[asyncio.Task[bool]] = []
        self.count = 0

    async def hold(self, slots: Slots, cap: int, name: str, tenant: TenantId = ACME) -> bool:
        try:
            async with slots.held(tenant, cap, InvocationId(name)):
                self.count += 1
                await self.over.wait()
        except ConcurrencyLimitError:
            return False
        return True

    def start(self, slots: Slots, cap: int, tries: int, tag: str = "") -> None:
        loop = asyncio.get_running_loop()
        self.tasks += [loop.create_task(self.hold(slots, cap, f"inv_{tag}{number}")) for number in range(tries)]

    async def settled(self) -> None:
        """Return once each is either running or refused."""
        while self.count + sum(task.done() for task in self.tasks) < len(self.tasks):
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.over.set()
        await asyncio.gather(*self.tasks)


@pytest.mark.parametrize("cap", [1, 5, 50])
async def test_a_small_cap_is_exact_across_processes(redis_url: str, clock: FakeClock, cap: int) -> None:
    async with processes(redis_url, clock, 3) as three:
        running = Running()
        for number, one in enumerate(three):
            running.start(one.slots, cap, cap, f"{number}-")
        await running.settled()
        assert running.count == cap
        await running.end()
        again = Running()
        again.start(three[1].slots, cap, cap, "again")
        await again.settled()
        assert again.count == cap
        await again.end()


async def test_a_large_cap_is_never_exceeded_and_used_but_for_its_spare(redis_url: str, clock: FakeClock) -> None:
    cap = 500
    async with processes(redis_url, clock, 3) as three:
        running = Running()
        for number, one in enumerate(three):
            running.start(one.slots, cap, 300, f"{number}-")
        await running.settled()
        assert cap * (1 - SPARE) <= running.count <= cap
        await running.end()


async def test_a_process_alone_gets_the_whole_of_a_large_cap(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        running = Running()
        running.start(one.slots, 200, 300)
        await running.settled()
        assert running.count == 200
        await running.end()


async def test_a_slot_given_back_while_redis_was_away_is_free_once_it_is_back(tmp_path: Path, clock: FakeClock) -> None:
    port = free_port()
    server = await start_redis(port, tmp_path / "data", tmp_path / "log")
    async with process(f"redis://127.0.0.1:{port}", clock) as one:
        async with one.slots.held(ACME, 1, InvocationId("inv_1")):
            await stop(server)
        await one.trips.aclose()
        server = await start_redis(port, tmp_path / "data", tmp_path / "log")
        await clock.advance(REST_S)
        async with one.slots.held(ACME, 1, InvocationId("inv_2")):
            pass
    await stop(server)


async def test_slots_of_a_large_cap_move_to_where_they_are_used(redis_url: str, clock: FakeClock) -> None:
    cap = 100
    async with processes(redis_url, clock, 2) as (one, two):
        first = Running()
        first.start(one.slots, cap, cap)
        await first.settled()
        await first.end()
        await one.slots.settled()
        second = Running()
        second.start(two.slots, cap, cap)
        await second.settled()
        assert second.count >= cap * (1 - SPARE)
        await second.end()


async def test_who_comes_while_slots_go_back_is_not_refused(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        first, second = Running(), Running()
        first.start(one.slots, 500, 100)
        await first.settled()
        await first.end()
        second.start(one.slots, 500, 100)
        await second.settled()
        assert second.count == 100
        await second.end()


async def test_a_warm_slot_of_a_large_cap_makes_no_trip_of_its_own(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        for number in range(200):
            async with one.slots.held(ACME, 500, InvocationId(f"inv_{number}")):
                pass
        assert one.trips_made() <= 200 / 25


@pytest.mark.parametrize("cap", [5, 100])
async def test_a_crashed_processes_slots_come_free(redis_url: str, clock: FakeClock, cap: int) -> None:
    async with (
        Redis.from_url(redis_url) as redis,
        process(redis_url, clock) as one,
        one.slots.held(ACME, cap, InvocationId("inv_a")),
    ):
        key = slots_key(ACME) if cap == 5 else blocks_key(ACME)
        assert 0 < await redis.pttl(key) <= LEASE_S * 2000
        now_ms = (await redis.time())[0] * 1000
        if cap == 5:
            [(_, expiry)] = await redis.zrange(key, 0, -1, withscores=True)
        else:
            [held] = (await redis.hgetall(key)).values()
            expiry = int(held.split()[1])
        assert now_ms < expiry <= now_ms + (LEASE_S + 2) * 1000


@pytest.mark.parametrize("cap", [5, 100])
async def test_leases_lost_by_redis_are_there_again_with_the_next_renewal(
    redis_url: str, clock: FakeClock, cap: int
) -> None:
    async with Redis.from_url(redis_url) as redis, processes(redis_url, clock, 2) as (one, two):
        running = Running()
        running.start(one.slots, cap, cap)
        await running.settled()
        assert running.count == cap
        await redis.flushall()
        await clock.until_sleeping(2)
        await clock.advance(RENEW_S)
        await one.slots.settled()
        await one.trips.aclose()
        with pytest.raises(ConcurrencyLimitError):
            async with two.slots.held(ACME, cap, InvocationId("inv_other")):
                pass
        await running.end()


@pytest.mark.parametrize("cap", [5, 100])
async def test_without_redis_each_process_holds_a_tenant_to_its_cap(nowhere: str, clock: FakeClock, cap: int) -> None:
    async with process(nowhere, clock) as one:
        running = Running()
        running.start(one.slots, cap, cap + 20)
        await running.settled()
        assert running.count == cap
        await running.end()


async def test_a_cap_of_nothing_lets_nothing_run(redis_url: str, clock: FakeClock) -> None:
    async with process(redis_url, clock) as one:
        with pytest.raises(ConcurrencyLimitError):
            async with one.slots.held(ACME, 0, InvocationId("inv_a")):
                pass
