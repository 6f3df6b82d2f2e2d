"""What jobs and webhooks ask of the doors comes to the same on a server and in memory, also where a call goes wrong.

So what the jobs' state machine (tests/jobs/test_machine.py) finds out in memory holds for a server too.
"""

import asyncio
import secrets
from datetime import timedelta

import pytest
from boto3.dynamodb.conditions import Attr

from jobs import records, steps
from jobs.errors import CancelRequestedError, GateFullError, LeaseLostError
from jobs.lease import Leases, Tick
from jobs.store import JobStore
from tenancy import tables
from tenancy.data_models import JobGate, JobRecord, OpsLock, Status, WaitingJob
from tenancy.errors import ConditionFailedError, StoreBusyError, StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.platform_store import Owed
from tenancy.steps import NEW, PutStep, UpdateStep
from tests.clock import FakeClock
from tests.conformance.doors import Ground, MemoryGround, ServerGround
from tests.jobs.memory.world import Kind
from tests.jobs.parts import NOON, make_job

pytestmark = pytest.mark.stack


@pytest.fixture(params=["server", "memory"])
def ground(request: pytest.FixtureRequest) -> Ground:
    return MemoryGround() if request.param == "memory" else ServerGround(request.getfixturevalue("aws"))


@pytest.fixture(params=["server", "memory"])
def empty_ground(request: pytest.FixtureRequest) -> Ground:
    """Return a store of this test's own: what it asks spans tenants."""
    return MemoryGround() if request.param == "memory" else ServerGround(request.getfixturevalue("fresh_aws"))


@pytest.fixture
def own() -> TenantId:
    return TenantId(f"t{secrets.token_hex(8)}")


async def stored(ground: Ground, job: JobRecord) -> JobRecord | None:
    return await ground.doors().stores.db(job.tenant_id).get(JobRecord, job.key(), consistent=True)


async def begun(ground: Ground, own: TenantId, job: JobRecord) -> JobRecord:
    """Return a job that runs, as the one that its tenant may run."""
    store = JobStore(ground.doors().stores)
    job = await store.create(job.model_copy(update={"events": 1}), b"{}")
    await store.gate(own, job)
    return await store.start(job, records.started(job, NOON), cap=1)


async def test_a_call_that_is_not_made_changes_nothing(ground: Ground, own: TenantId) -> None:
    job = make_job(own)
    async with ground.befallen(Kind.FAILED) as doors:
        with pytest.raises(StoreUnavailableError):
            await doors.stores.db(own).put(job, condition=NEW)
    assert await stored(ground, job) is None


async def test_a_call_that_nobody_hears_of_is_done(ground: Ground, own: TenantId) -> None:
    job = make_job(own)
    async with ground.befallen(Kind.UNHEARD) as doors:
        with pytest.raises(StoreUnavailableError):
            await doors.stores.db(own).put(job, condition=NEW)
    assert await stored(ground, job) == job


async def test_a_transaction_in_conflict_is_one_to_try_again(ground: Ground, own: TenantId) -> None:
    job = make_job(own)
    async with ground.befallen(Kind.CONFLICT) as doors:
        with pytest.raises(StoreBusyError):
            await doors.stores.db(own).transact([PutStep(job, NEW)])
    assert await stored(ground, job) is None


async def test_a_new_item_that_is_put_again_unheard_is_put(ground: Ground, own: TenantId) -> None:
    job = make_job(own)
    async with ground.befallen(Kind.REPEATED) as doors:
        await doors.stores.db(own).put(job, condition=NEW)
    assert await stored(ground, job) == job


async def test_a_transaction_that_is_repeated_unheard_is_done_once(ground: Ground, own: TenantId) -> None:
    gate = JobGate(tenant_id=own)
    await ground.doors().stores.db(own).put(gate)
    async with ground.befallen(Kind.REPEATED) as doors:
        await doors.stores.db(own).transact([UpdateStep(JobGate, gate.key(), {}, add={"running": 1})])
    found = await ground.doors().stores.db(own).get(JobGate, gate.key())
    assert found == gate.model_copy(update={"running": 1})


async def test_a_refusal_that_is_repeated_unheard_is_one(ground: Ground, own: TenantId) -> None:
    job = make_job(own)
    await ground.doors().stores.db(own).put(job)
    async with ground.befallen(Kind.REPEATED) as doors:
        with pytest.raises(ConditionFailedError):
            await doors.stores.db(own).transact([PutStep(job, NEW)])


async def test_a_claim_that_is_repeated_unheard_is_one_claim(ground: Ground, own: TenantId) -> None:
    job = await JobStore(ground.doors().stores).create(make_job(own), b"{}")
    async with ground.befallen(Kind.REPEATED) as doors:
        claimed = await Leases(JobStore(doors.stores), FakeClock(), owner="w").claim(Tick(own, job.job_id, 0))
    assert claimed is not None
    assert (claimed.fence, claimed.claims) == (1, 1)


async def test_an_update_that_shuts_itself_out_is_refused_when_it_is_repeated(ground: Ground, own: TenantId) -> None:
    job = await begun(ground, own, make_job(own))
    async with ground.befallen(Kind.REPEATED) as doors:
        with pytest.raises(CancelRequestedError) as asked:
            await JobStore(doors.stores).save(job, records.cancelling(job, NOON))
    assert asked.value.job.cancel_requested_at == NOON
    assert await stored(ground, job) == asked.value.job


async def test_a_jobs_way_from_claim_to_end_leaves_the_same_behind(ground: Ground, own: TenantId) -> None:
    store = JobStore(ground.doors().stores)
    running = await begun(ground, own, make_job(own))
    late = await store.create(make_job(own), b"{}")
    with pytest.raises(GateFullError):
        await store.start(late, records.started(late, NOON), cap=1)
    gate = await store.gate(own)
    waits = await store.wait(late, records.waiting(late, NOON), gate, look_at=NOON + timedelta(seconds=15))
    assert [each.job_id for each in await store.waiting(own, limit=5)] == [late.job_id]
    claimed = await Leases(store, FakeClock(), owner="w").claim(Tick(own, running.job_id, 0))
    assert claimed is not None
    with pytest.raises(LeaseLostError):
        await store.save(running, records.parked(running, NOON + timedelta(seconds=5)))
    await store.end(claimed, records.ended(claimed, Status.SUCCEEDED, NOON))
    cancelled = await store.cancel(own, late.job_id, NOON)
    assert cancelled is not None
    assert (cancelled.job.status, cancelled.was_over, waits.status) == (Status.CANCELLED, False, Status.QUEUED)
    assert await store.waiting(own, limit=5) == ()
    assert (await store.gate(own)).running == 0
    told = await store.events(own, running.job_id, after=1, limit=5)
    assert [(event.seq, event.type) for event in told.items] == [(2, "job.started"), (3, "job.succeeded")]
    page = await store.list(own, limit=2, after=None, status=Status.CANCELLED)
    assert [job.job_id for job in page.items] == [late.job_id]


async def test_of_claims_at_once_one_is_heard(ground: Ground, own: TenantId) -> None:
    store = JobStore(ground.doors().stores)
    job = await store.create(make_job(own), b"{}")
    leases = [Leases(store, FakeClock(), owner=f"w{number}") for number in range(10)]
    claims = await asyncio.gather(*(lease.claim(Tick(own, job.job_id, 0)) for lease in leases))
    assert [claim.fence for claim in claims if claim is not None] == [1]


async def test_an_item_that_goes_from_a_list_leaves_its_place(ground: Ground, own: TenantId) -> None:
    db = ground.doors().stores.db(own)
    jobs = [make_job(own, NOON + timedelta(seconds=number)) for number in range(4)]
    for job in jobs:
        await db.put(WaitingJob(tenant_id=own, job_id=job.job_id, fence=0, since_at=NOON, ttl=1))
    ask = tables.tenant_partition(own)
    first = await db.query(WaitingJob, ask, sort_prefix=WaitingJob.SORT_PREFIX, limit=2, newest_first=False)
    for mark in first.items:
        await db.delete(WaitingJob, mark.key(), condition=Attr("fence").eq(0))
    rest = await db.query(
        WaitingJob, ask, sort_prefix=WaitingJob.SORT_PREFIX, limit=3, newest_first=False, after=first.after
    )
    found = [mark.job_id for page in (first, rest) for mark in page.items]
    assert (found, rest.after) == ([job.job_id for job in jobs], None)


async def test_what_is_owed_is_found_over_tenants_the_longest_owed_first(empty_ground: Ground) -> None:
    doors = empty_ground.doors()
    jobs = [make_job(TenantId(f"t{number % 3}x"), NOON + timedelta(seconds=number)) for number in range(12)]
    for job in jobs:
        await doors.stores.db(job.tenant_id).put(job)
    ended = records.ended(jobs[0], Status.CANCELLED, NOON)
    await doors.stores.db(ended.tenant_id).update(JobRecord, ended.key(), steps.difference(jobs[0], ended))
    found: list[Owed] = []
    for shard in range(tables.SWEEP_SHARDS):
        owed = await doors.platform.owed(tables.JOBS, shard, before=NOON + timedelta(seconds=9), limit=100)
        assert [each.at for each in owed] == sorted(each.at for each in owed)
        assert await doors.platform.owed(tables.JOBS, shard, before=NOON + timedelta(seconds=9), limit=1) == owed[:1]
        found += owed
    expected = {(job.tenant_id, job.job_id, job.next_tick_at) for job in jobs[1:9]}
    assert {(each.tenant_id, each.record_id, each.at) for each in found} == expected
    assert len(found) == len(expected)


async def test_what_was_given_up_on_is_listed_page_by_page_newest_first(empty_ground: Ground) -> None:
    doors = empty_ground.doors()
    jobs = [make_job(TenantId(f"t{number % 2}x")) for number in range(5)]
    for number, job in enumerate(jobs):
        now = NOON + timedelta(seconds=number)
        await doors.stores.db(job.tenant_id).put(records.ended(job, Status.FAILED, now, dead_letter=True))
    first = await doors.platform.dead_letters(limit=3)
    rest = await doors.platform.dead_letters(limit=3, after=first.after)
    assert [each.record_id for page in (first, rest) for each in page.items] == [job.job_id for job in jobs[::-1]]


async def test_a_lease_is_its_who_wrote_it_last(empty_ground: Ground) -> None:
    def lock(version: str) -> OpsLock:
        return OpsLock(name="sweeper", holder="w", record_version=version, fence=1, lease_s=20, reason="sweeps")

    platform = empty_ground.doors().platform
    assert await platform.ops_lock("sweeper") is None
    await platform.put_ops_lock(lock("one"), seen=None)
    await platform.put_ops_lock(lock("two"), seen=lock("one"))
    for seen in (None, lock("one")):
        with pytest.raises(ConditionFailedError):
            await platform.put_ops_lock(lock("three"), seen=seen)
    assert await platform.ops_lock("sweeper") == lock("two")
