"""How many of a tenant's jobs run, and who is next."""

from collections.abc import Callable

import pytest

from jobs import records
from jobs.errors import LeaseLostError
from jobs.execute import TickOutcome
from jobs.gate import LOOK_AGAIN_S
from jobs.lease import Leases, Tick
from tenancy import tables
from tenancy.data_models import JobEvent, JobGate, JobRecord, OutboxEvent, Status, TenantItem, UsageRecord
from tenancy.ids import TenantId
from tenancy.platform_store import Owed
from tests.clock import FakeClock
from tests.jobs.conftest import Floor

pytestmark = pytest.mark.stack

LONG = b'{"prompt":"hi","durationS":100}'


async def first_tick(floor: Floor, job: JobRecord) -> TickOutcome:
    return await floor.tick(Tick(job.tenant_id, job.job_id, 0))


async def submitted(floor: Floor, clock: FakeClock, count: int) -> list[JobRecord]:
    """Submit jobs one after another: of those of one moment none is older."""
    jobs = []
    for _ in range(count):
        jobs.append(await floor.submit(LONG))
        await clock.advance(0.001)
    return jobs


async def test_no_more_run_than_may_and_the_oldest_goes_next(floor: Floor, clock: FakeClock) -> None:
    floor.caps[floor.tenant_id] = 2
    jobs = await submitted(floor, clock, 5)
    outcomes = [await first_tick(floor, job) for job in jobs]
    assert outcomes == [TickOutcome.LOOKED] * 2 + [TickOutcome.WAITS] * 3
    assert (await floor.store.gate(floor.tenant_id)).running == 2
    assert {tick.job_id for tick in await floor.due()} == {job.job_id for job in jobs[:2]}
    await clock.advance(100)
    await floor.tick(Tick(floor.tenant_id, jobs[0].job_id, 1))
    assert (await floor.store.gate(floor.tenant_id)).running == 1
    given = [tick for tick in await floor.due() if tick.job_id not in (jobs[0].job_id, jobs[1].job_id)]
    assert given == [Tick(floor.tenant_id, jobs[2].job_id, 1)]
    assert await floor.tick(given[0]) is TickOutcome.LOOKED


async def test_one_that_comes_later_waits_behind_those_who_wait(floor: Floor, clock: FakeClock) -> None:
    floor.caps[floor.tenant_id] = 1
    jobs = await submitted(floor, clock, 2)
    for job in jobs:
        await first_tick(floor, job)
    floor.caps[floor.tenant_id] = 2
    late = await floor.submit(LONG)
    assert await first_tick(floor, late) is TickOutcome.WAITS
    assert Tick(floor.tenant_id, jobs[1].job_id, 1) in await floor.due()


async def test_a_tenants_full_gate_stops_nobody_else(floor: Floor, tenant_id: Callable[[], TenantId]) -> None:
    floor.caps[floor.tenant_id] = 0
    for _ in range(3):
        assert await first_tick(floor, await floor.submit(LONG)) is TickOutcome.WAITS
    assert await first_tick(floor, await floor.submit(LONG, tenant_id())) is TickOutcome.LOOKED


async def test_a_waiting_job_that_is_cancelled_leaves_no_trace_at_the_gate(floor: Floor) -> None:
    floor.caps[floor.tenant_id] = 0
    job = await floor.submit(LONG)
    await first_tick(floor, job)
    await floor.queue.cancel(job.tenant_id, job.job_id)
    assert await floor.store.waiting(floor.tenant_id, limit=10) == ()
    floor.caps[floor.tenant_id] = 1
    assert await floor.gates.open(floor.tenant_id) == "emptied"
    assert (await floor.store.gate(floor.tenant_id)).next_tick_at is None


async def test_a_job_that_is_cancelled_just_as_it_is_made_to_wait_leaves_no_trace_at_the_gate(
    floor: Floor, clock: FakeClock
) -> None:
    floor.caps[floor.tenant_id] = 0
    job = await floor.submit(LONG)
    claimed = await Leases(floor.store, clock, owner="worker").claim(Tick(job.tenant_id, job.job_id, 0))
    assert claimed is not None
    before = await floor.job(job)
    assert await floor.gates.enter(claimed, "eu-west-1") is None
    with pytest.raises(LeaseLostError):
        await floor.store.end(before, records.ended(before, Status.CANCELLED, clock.now()))
    with pytest.raises(LeaseLostError):
        await floor.store.start(before, records.started(before, clock.now()), cap=1)
    await floor.queue.cancel(job.tenant_id, job.job_id)
    assert (await floor.job(job)).status is Status.CANCELLED
    assert await floor.store.waiting(floor.tenant_id, limit=10) == ()


async def test_a_waiting_job_expires_at_its_deadline(floor: Floor, clock: FakeClock) -> None:
    floor.caps[floor.tenant_id] = 0
    job = await floor.submit(LONG)
    await first_tick(floor, job)
    assert (await floor.job(job)).next_tick_at == job.deadline_at
    await clock.advance(3600)
    await floor.tick(Tick(job.tenant_id, job.job_id, 1))
    assert (await floor.job(job)).status is Status.EXPIRED
    assert await floor.store.waiting(floor.tenant_id, limit=10) == ()


async def test_a_gate_is_looked_at_again_for_as_long_as_jobs_wait(floor: Floor, clock: FakeClock) -> None:
    floor.caps[floor.tenant_id] = 0
    await first_tick(floor, await floor.submit(LONG))
    assert [owed.record_id for owed in await owed_of(floor)] == []
    await clock.advance(LOOK_AGAIN_S + 6)
    assert [owed.record_id for owed in await owed_of(floor)] == ["gate"]
    assert await floor.gates.open(floor.tenant_id) == "full"
    assert [owed.record_id for owed in await owed_of(floor)] == []


async def owed_of(floor: Floor) -> list[Owed]:
    found: list[Owed] = []
    for shard in range(tables.SWEEP_SHARDS):
        found += await floor.platform.owed(tables.JOBS, shard, before=floor.clock.now(), limit=10_000)
    return [owed for owed in found if owed.tenant_id == floor.tenant_id]


async def test_a_worker_that_was_held_up_brings_back_nothing_of_a_tenant_that_was_erased(floor: Floor) -> None:
    job = await floor.submit(LONG)
    held = await floor.job(job)
    for model, record_id in ((JobRecord, job.job_id), (JobEvent, f"{job.job_id}#000000001")):
        await floor.stores.db(floor.tenant_id).delete(model, model.key_of(floor.tenant_id, record_id))
    with pytest.raises(LeaseLostError):
        await floor.gates.enter(held, "eu-west-1")
    with pytest.raises(LeaseLostError):
        await floor.store.end(held, records.ended(held, Status.CANCELLED, floor.clock.now()))
    assert await floor.gates.open(floor.tenant_id) == "idle"
    partition = tables.tenant_partition(floor.tenant_id)
    kinds: tuple[type[TenantItem], ...] = (JobRecord, JobEvent, JobGate, OutboxEvent, UsageRecord)
    for kind in kinds:
        page = await floor.stores.db(floor.tenant_id).query(kind, partition, sort_prefix=kind.SORT_PREFIX, limit=5)
        assert page.items == ()
