"""What Redis or a worker lost is found again, by one process at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from jobs.election import LEASE_S as ELECTED_S
from jobs.election import Election
from jobs.execute import MAX_CLAIMS, TickOutcome
from jobs.lease import LEASE_S, Leases, Tick
from jobs.sweep import LOOK_S, MARGIN_S, SWEEP_S
from jobs.ticks import connect
from tenancy.data_models import Status
from tenancy.ids import TenantId, event_id_of
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.jobs.conftest import Floor, make_floor
from tests.jobs.parts import make_agent

pytestmark = pytest.mark.stack

LONG = b'{"prompt":"hi","durationS":100}'


@pytest.fixture
async def alone(
    fresh_aws: Aws, redis_url: str, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> AsyncIterator[Floor]:
    """Return a floor whose tables no other test writes to."""
    redis = connect(redis_url)
    yield make_floor(fresh_aws, redis, clock, tenant_id(), make_agent())
    await redis.aclose()


async def test_what_redis_lost_is_asked_for_again_jobs_and_events(alone: Floor, clock: FakeClock) -> None:
    done, running = await alone.submit(), await alone.submit(LONG)
    for job in (done, running):
        await alone.tick(Tick(job.tenant_id, job.job_id, 0))
    queued = await alone.submit(LONG)
    await alone.redis.flushall()
    await clock.advance(MARGIN_S + 1)
    assert await alone.sweeper().sweep() == 3
    assert {(tick.job_id, tick.fence) for tick in await alone.due()} == {(running.job_id, 1), (queued.job_id, 0)}
    assert await alone.told() == [("outbox", alone.tenant_id, event_id_of(done.job_id))]
    # A second sweep of the same finds each asked for already.
    await alone.sweeper().sweep()
    assert len(await alone.due()) == 2


async def test_a_job_whose_worker_was_killed_moves_again_within_45_seconds(alone: Floor, clock: FakeClock) -> None:
    job = await alone.submit()
    assert await Leases(alone.store, clock, owner="killed").claim((await alone.due())[0]) is not None
    await alone.redis.flushall()
    sweeping = asyncio.create_task(alone.sweeper().run())
    for _ in range(int(45 // LOOK_S)):
        async with asyncio.timeout(20):
            await clock.until_sleeping()
        await clock.advance(LOOK_S)
    async with asyncio.timeout(20):
        await clock.until_sleeping()
    sweeping.cancel()
    await asyncio.wait([sweeping])
    assert await alone.tick((await alone.due())[0]) is TickOutcome.ENDED
    assert (await alone.job(job)).status is Status.SUCCEEDED


async def test_a_job_that_somebody_is_at_is_left_alone(alone: Floor, clock: FakeClock) -> None:
    await alone.submit()
    await clock.advance(MARGIN_S + 1)
    assert await Leases(alone.store, clock, owner="busy").claim((await alone.due())[0]) is not None
    await alone.redis.flushall()
    await alone.sweeper().sweep()
    assert await alone.due() == []


async def test_one_process_sweeps_and_another_takes_over_when_it_died(alone: Floor, clock: FakeClock) -> None:
    first, second = (Election(alone.platform, owner=owner, clock=clock) for owner in ("first", "second"))
    assert [await first.won(), await second.won()] == [True, False]
    await clock.advance(ELECTED_S)
    assert [await first.won(), await second.won()] == [True, False]
    await clock.advance(ELECTED_S)
    assert await second.won()
    assert not await first.won()


async def test_who_resigns_is_followed_at_once(alone: Floor, clock: FakeClock) -> None:
    first, second = (Election(alone.platform, owner=owner, clock=clock) for owner in ("first", "second"))
    assert [await first.won(), await second.won()] == [True, False]
    await first.resign()
    assert await second.won()


async def test_a_sweeper_sweeps_at_its_pace_only(alone: Floor, clock: FakeClock) -> None:
    sweeper = alone.sweeper()
    for _ in range(int(2 * SWEEP_S / LOOK_S)):
        await sweeper.look()
        await clock.advance(LOOK_S)
    assert alone.count("lockgate_sweeps_total", outcome="done") == 2


async def test_a_job_that_kills_whoever_takes_it_is_given_up_on_and_listed(alone: Floor, clock: FakeClock) -> None:
    job = await alone.submit(LONG)
    for fence in range(MAX_CLAIMS):
        killed = await Leases(alone.store, clock, owner="killed").claim(Tick(job.tenant_id, job.job_id, fence))
        assert killed is not None
        await clock.advance(LEASE_S + 1)
    await alone.worker()(Tick(job.tenant_id, job.job_id, MAX_CLAIMS))
    ended = await alone.job(job)
    assert ended.error is not None
    assert (ended.status, ended.error.code, ended.dead_letter) == (Status.FAILED, "job_poisoned", True)
    assert alone.runtime.calls["start"] == 0
    listed = await alone.platform.dead_letters(limit=10)
    assert [(owed.tenant_id, owed.record_id) for owed in listed.items] == [(job.tenant_id, job.job_id)]


async def test_looks_that_go_well_are_no_step_towards_being_given_up_on(alone: Floor, clock: FakeClock) -> None:
    job = await alone.submit(LONG)
    for fence in range(MAX_CLAIMS + 2):
        await alone.tick(Tick(job.tenant_id, job.job_id, fence))
        await clock.advance(6)
    assert (await alone.job(job)).claims == 0
