"""The product with one line of defence taken away each: a test of it has to fail.

Each mutant is laid over the running code for the length of one test, which is called as it stands. A mutant that
survives says that nothing would notice if the defence were gone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from boto3.dynamodb.conditions import Attr, ConditionBase

from agents.errors import RuntimeThrottledError
from jobs import steps
from jobs.execute import Execute, Held, Seen
from jobs.store import JobStore
from jobs.sweep import Sweeper
from jobs.ticks import connect
from tenancy.data_models import AgentVersion, JobRecord
from tenancy.ids import TenantId, new_session_id
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.jobs.conftest import Floor, make_floor
from tests.jobs.parts import make_agent
from tests.jobs.test_cut_off import test_a_worker_cut_off_before_any_of_its_writes_leaves_no_end_untold as cut_off
from tests.jobs.test_execute import (
    test_a_passing_fault_of_a_start_is_tried_again_and_runs_the_job_once as start_again,
)
from tests.jobs.test_store import test_a_save_under_an_old_fence_is_refused as old_fence
from tests.jobs.test_sweep import test_what_redis_lost_is_asked_for_again_jobs_and_events as lost_by_redis
from webhooks import outbox

pytestmark = pytest.mark.stack


@pytest.fixture
async def floor(
    fresh_aws: Aws, redis_url: str, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> AsyncIterator[Floor]:
    """Return a floor whose tables no other test writes to."""
    redis = connect(redis_url)
    yield make_floor(fresh_aws, redis, clock, tenant_id(), make_agent())
    await redis.aclose()


async def is_killed_by(test: Awaitable[None]) -> bool:
    """Tell whether a test fails."""
    try:
        await test
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails
        return True
    return False


async def test_without_a_fence_a_test_fails(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfenced(held: JobRecord) -> ConditionBase:
        return Attr("status").eq(held.status.value)

    await old_fence(floor)
    monkeypatch.setattr(steps, "under", unfenced)
    assert await is_killed_by(old_fence(floor))


async def test_without_a_sweeper_a_test_fails(floor: Floor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_away(_: Sweeper) -> int:
        return 3

    monkeypatch.setattr(Sweeper, "sweep", look_away)
    assert await is_killed_by(lost_by_redis(floor, clock))


async def test_with_the_outbox_outside_the_transaction_a_test_fails(
    floor: Floor, clock: FakeClock, fresh_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_two(store: JobStore, held: JobRecord, ended: JobRecord) -> JobRecord:
        ended = await store._commit(held, ended, [steps.leave(held.tenant_id)])
        await store._stores.db(held.tenant_id).put(outbox.job_ended(ended))
        return ended

    await cut_off(floor, clock, fresh_aws)
    monkeypatch.setattr(JobStore, "end", in_two)
    assert await is_killed_by(cut_off(floor, clock, fresh_aws))


async def test_with_a_new_session_for_each_start_a_test_fails(
    floor: Floor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Execute._start

    async def elsewhere(execute: Execute, held: Held, agent: AgentVersion, body: bytes) -> Seen:
        held.job = held.job.model_copy(update={"session_id": new_session_id()})
        return await start(execute, held, agent, body)

    monkeypatch.setattr(Execute, "_start", elsewhere)
    assert await is_killed_by(start_again(floor, clock, RuntimeThrottledError()))
