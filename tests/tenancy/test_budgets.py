"""Budgets of several processes on one real Redis: never overspent, rebuilt after a flush, changed in force at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from ops.devstack.process import free_port
from tenancy.accounts import LEASE_S, REFUSED_S
from tenancy.budgets import Budgets, BudgetWarning
from tenancy.changes import ChangeFeed
from tenancy.data_models import Tenant
from tenancy.errors import BudgetExceededError, BudgetUnknownError
from tenancy.ids import TenantId
from tenancy.ledger import Ledger
from tenancy.meters import Meter, Meters
from tenancy.prices import Price
from tenancy.registry import KIND
from tenancy.store import TenantStores
from tenancy.trips import REST_S, RoundTrips
from tests.clock import FakeClock, settle
from tests.conftest import Aws
from tests.tenancy import samples
from tests.tenancy.ledgers import agent, line
from tests.tenancy.samples import NOW, Violations

pytestmark = pytest.mark.stack

BY_TOKEN = agent(Price(output_1k_microusd=1000))
BY_TIME = agent(Price(runtime_s_microusd=1000))
BY_CALL = agent(Price(invocation_microusd=100))


@dataclass
class World:
    """One tenant, as all processes find it, and what is told of it."""

    doors: TenantStores
    clock: FakeClock
    url: str
    tenant: Tenant
    warnings: list[BudgetWarning] = field(default_factory=list)

    def budget(self, microusd: int | None) -> None:
        self.tenant = self.tenant.model_copy(update={"monthly_budget_microusd": microusd})

    async def find(self, _: TenantId) -> Tenant:
        return self.tenant

    async def warn(self, warning: BudgetWarning) -> None:
        self.warnings.append(warning)

    async def spent(self) -> int:
        return await Ledger(self.doors, self.clock).spent(self.tenant.tenant_id, "2026-03")

    async def write(self, meter: Meter, cost: int) -> None:
        """Settle as whoever serves an invocation does: the line, then the count."""
        await self.doors.db(self.tenant.tenant_id).put(line(self.tenant.tenant_id, NOW, cost))
        meter.settle(cost)


@dataclass
class Process:
    """One process's part in it."""

    world: World
    budgets: Budgets
    meters: Meters
    changes: ChangeFeed

    async def open(self, priced: object = BY_TOKEN, *, cap: int | None = None, input_bytes: int = 0) -> Meter:
        assert priced in (BY_TOKEN, BY_TIME, BY_CALL)
        version = BY_TOKEN if priced is BY_TOKEN else BY_TIME if priced is BY_TIME else BY_CALL
        return await self.meters.open(self.world.tenant, version, input_bytes, cap)


@pytest.fixture
def world(aws: Aws, redis_url: str, clock: FakeClock, tenant_id: Callable[[], TenantId]) -> World:
    doors = samples.stores(aws, Violations())
    return World(doors, clock, redis_url, samples.tenant(tenant_id()))


@asynccontextmanager
async def process(world: World, name: str = "one") -> AsyncIterator[Process]:
    async with Redis.from_url(world.url) as redis:
        trips = RoundTrips(redis, clock=world.clock, metrics=CollectorRegistry())
        changes = ChangeFeed(redis, clock=world.clock)
        budgets = Budgets(
            trips, Ledger(world.doors, world.clock), world.find, changes, clock=world.clock, name=name, warn=world.warn
        )
        yield Process(world, budgets, Meters(budgets, world.clock), changes)
        await budgets.rest(now=True)
        await trips.aclose()


@asynccontextmanager
async def processes(world: World, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(process(world, str(number))) for number in range(count)]


async def pass_all(meter: Meter, sizes: list[int]) -> int:
    """Pass events on until the budget cuts them; return how many bytes went out."""
    for size in sizes:
        try:
            await meter.weigh(size)
        except BudgetExceededError:
            break
        meter.count(size)
    return meter.answer_bytes


async def refused(work: Awaitable[object]) -> bool:
    try:
        await work
    except BudgetExceededError:
        return True
    return False


@given(
    budget=st.integers(1, 200_000),
    streams=st.lists(st.lists(st.integers(1, 40_000), max_size=12), min_size=1, max_size=12),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_parallel_streams_on_three_processes_never_pass_on_more_than_the_budget(
    world: World, tenant_id: Callable[[], TenantId], budget: int, streams: list[list[int]]
) -> None:
    world.tenant = samples.tenant(tenant_id())
    world.budget(budget)
    costs: list[int] = []

    async def stream(one: Process, sizes: list[int]) -> None:
        try:
            meter = await one.open()
        except BudgetExceededError:
            return
        await pass_all(meter, sizes)
        used = meter.used()
        costs.append(BY_TOKEN.price.cost(0, -(-used.answer_bytes // 4), 0) if BY_TOKEN.price else 0)
        meter.settle(costs[-1])

    async with processes(world, 3) as three:
        await asyncio.gather(*(stream(three[number % 3], sizes) for number, sizes in enumerate(streams)))
        for one in three:
            await one.budgets.rest(now=True)
        standing = await three[0].budgets.standing(world.tenant)

    assert sum(costs) <= budget
    assert standing is not None
    assert (standing.spent, standing.held) == (sum(costs), 0)


async def test_a_stream_is_cut_at_the_very_event_that_the_budget_does_not_cover(world: World) -> None:
    world.budget(100)
    async with process(world) as one:
        meter = await one.open()

        # 40 bytes are 10 tokens, 10 micro-dollars: ten of them fit.
        assert await pass_all(meter, [40] * 50) == 400


async def test_at_the_whole_budget_everything_is_refused_even_what_is_free(world: World) -> None:
    world.budget(100)
    async with process(world) as one:
        meter = await one.open(BY_CALL)
        await world.write(meter, 100)

        assert await refused(one.budgets.require(world.tenant))
        assert await refused(one.open(BY_TOKEN))


async def test_what_a_process_still_holds_lets_nothing_begin_that_costs_more(world: World) -> None:
    world.budget(100)
    async with process(world) as one:
        meter = await one.open(BY_CALL)
        await world.write(meter, 95)

        await one.budgets.require(world.tenant, 5)
        assert await refused(one.budgets.require(world.tenant, 6))


async def test_what_an_ended_stream_did_not_use_of_its_hold_is_there_for_others(world: World) -> None:
    world.budget(5000)
    async with processes(world, 2) as (one, other):
        meter = await one.open(BY_TIME)
        assert await refused(pass_through(other, 4000))
        meter.settle(3)
        await one.budgets.rest(now=True)
        await world.clock.advance(REFUSED_S)

        await pass_through(other, 4000)


async def pass_through(one: Process, microusd: int) -> None:
    meter = await one.open()
    try:
        await meter.weigh(microusd * 4)
    finally:
        meter.settle(0)


async def test_a_silent_stream_is_told_to_end_once_its_time_is_paid_no_more(world: World) -> None:
    world.budget(4500)
    async with process(world) as one:
        meter = await one.open(BY_TIME)
        ends: list[object] = []
        meter.on_over = ends.append
        await one.meters.look()
        assert not ends

        await world.clock.advance(2)
        await one.meters.look()
        assert not ends
        await world.clock.advance(1)
        await one.meters.look()

        assert [type(end) for end in ends] == [BudgetExceededError]


async def test_a_caller_s_own_ceiling_cuts_without_any_budget_of_the_tenant(world: World) -> None:
    async with process(world) as one:
        meter = await one.open(cap=50)

        assert await pass_all(meter, [40] * 50) == 200
        assert await refused(one.open(BY_CALL, cap=99))


async def test_a_tenant_without_a_budget_makes_no_trip_and_may_go_on(world: World) -> None:
    async with process(world) as one:
        meter = await one.open()

        assert await pass_all(meter, [40_000] * 50) == 2_000_000
        assert meter.weighed(10**9)
        assert await one.budgets.standing(world.tenant) is None


async def test_a_budget_given_while_a_stream_runs_cuts_it(world: World) -> None:
    async with process(world) as one:
        listening = asyncio.create_task(one.changes.run())
        meter = await one.open()
        await meter.weigh(400)
        world.budget(50)
        await one.changes.publish(KIND, world.tenant.tenant_id)
        epoch = one.budgets.epoch
        while one.budgets.epoch == epoch:
            await asyncio.sleep(0.01)

        assert await refused(meter.weigh(400))
        listening.cancel()


async def test_a_lowered_budget_cuts_and_a_raised_one_lets_on_where_no_word_of_it_came(world: World) -> None:
    world.budget(1_000_000)
    async with process(world) as one:
        meter = await one.open()
        await meter.weigh(400)
        world.budget(120)
        await one.budgets.rest()
        assert await refused(meter.weigh(4000))

        world.budget(2000)
        await one.budgets.rest()

        await meter.weigh(4000)


async def test_after_a_flush_the_month_is_rebuilt_from_the_ledger_and_from_what_runs(world: World) -> None:
    world.budget(1000)
    async with processes(world, 2) as (one, other):
        ended, running = await one.open(), await other.open()
        await ended.weigh(1200)
        await world.write(ended, 300)
        await running.weigh(800)
        for each in (one, other):
            await each.budgets.rest(now=True)
        async with Redis.from_url(world.url) as redis:
            await redis.flushall()
        await world.clock.advance(LEASE_S)
        for each in (one, other):
            await each.budgets.rest()

        standing = await one.budgets.standing(world.tenant)

        assert standing is not None
        assert (standing.spent, standing.held) == (300, 200)


async def test_a_new_process_knows_what_the_ledger_has(world: World) -> None:
    world.budget(100)
    await world.doors.db(world.tenant.tenant_id).put(line(world.tenant.tenant_id, NOW, 95))
    async with process(world) as one:
        assert await pass_all(await one.open(), [40] * 3) == 0


async def test_what_was_spent_without_a_budget_counts_once_there_is_one_again(world: World) -> None:
    world.budget(100)
    async with process(world) as one:
        await world.write(await one.open(BY_CALL), 0)
        await one.budgets.rest(now=True)
        world.budget(None)
        await one.budgets.rest()
        await world.write(await one.open(), 95)
        world.budget(100)

        assert await pass_all(await one.open(), [40] * 3) == 0


async def test_eighty_percent_is_warned_of_once(world: World) -> None:
    world.budget(100_000)
    async with process(world) as one:
        meter = await one.open()
        await meter.weigh(79_000 * 4)
        await settle()
        assert world.warnings == []

        await meter.weigh(85_000 * 4)
        meter.settle(85_000)
        await one.budgets.rest(now=True)
        await settle()

        assert [(warning.month, warning.standing.budget) for warning in world.warnings] == [("2026-03", 100_000)]


async def test_without_redis_a_process_spends_a_hundredth_and_then_says_that_it_cannot_tell(world: World) -> None:
    world.budget(10_000)
    world.url = f"redis://127.0.0.1:{free_port()}"
    async with process(world) as one:
        meter = await one.open()
        await meter.weigh(99 * 4)
        with pytest.raises(BudgetUnknownError):
            await meter.weigh(101 * 4)


async def test_what_was_spent_without_redis_is_told_when_it_is_back(world: World) -> None:
    world.budget(10_000)
    back, world.url = world.url, f"redis://127.0.0.1:{free_port()}"
    async with process(world) as one:
        meter = await one.open()
        await meter.weigh(90 * 4)
        meter.settle(90)
        async with Redis.from_url(back) as redis:
            one.budgets._trips._redis = redis
            await world.clock.advance(REST_S)
            await one.budgets.rest()
            standing = await one.budgets.standing(world.tenant)

        assert standing is not None
        assert standing.spent == 90


async def test_a_dead_process_holds_nothing_for_longer_than_its_lease(world: World) -> None:
    world.budget(1000)
    async with processes(world, 2) as (one, other):
        meter = await one.open()
        await meter.weigh(3600)
        async with Redis.from_url(world.url) as redis:
            key = (await redis.keys("lockgate:budget:*"))[0]
            dead = {name: value for name, value in (await redis.hgetall(key)).items() if name != b"base"}
            assert len(dead) == 1
            for name, value in dead.items():
                held, _, at = value.split(b":")
                await redis.hset(key, name, b"%b:7:%d" % (held, int(at) - LEASE_S * 1000 - 1))
        standing = await other.budgets.standing(world.tenant)

        assert standing is not None
        assert (standing.spent, standing.held) == (7, 0)
