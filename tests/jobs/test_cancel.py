"""Cancelling jobs, against everything else that may end them."""

import asyncio
from datetime import timedelta

import pytest

from jobs.execute import TickOutcome
from jobs.finish import CANCEL_GRACE_S
from jobs.lease import Tick
from tenancy.data_models import JobRecord, OutboxEvent, Status
from tenancy.ids import event_id_of
from tests.clock import FakeClock
from tests.jobs.conftest import Floor
from tests.jobs.parts import Gate, make_job

pytestmark = pytest.mark.stack


async def cancel(floor: Floor, job: JobRecord) -> JobRecord:
    done = await floor.queue.cancel(job.tenant_id, job.job_id)
    assert done is not None
    return done.job


async def events_of(floor: Floor, job: JobRecord) -> list[str]:
    page = await floor.store.events(job.tenant_id, job.job_id, after=0, limit=100)
    assert [event.seq for event in page.items] == list(range(1, len(page.items) + 1))
    return [event.type for event in page.items]


async def next_tick(floor: Floor, job: JobRecord) -> TickOutcome:
    return await floor.worker()(Tick(job.tenant_id, job.job_id, (await floor.job(job)).fence))


async def test_a_queued_job_is_cancelled_at_once_and_never_begun(floor: Floor) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    assert (await cancel(floor, job)).status is Status.CANCELLED
    assert await floor.tick(tick) is TickOutcome.PASSED_ON
    assert floor.runtime.calls.total() == 0
    assert await events_of(floor, job) == ["job.queued", "job.cancelled"]
    assert await floor.told() == [("outbox", floor.tenant_id, event_id_of(job.job_id))]


async def test_a_running_job_is_stopped_by_its_agent_and_then_its_session_is(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100,"stopS":3}')
    await floor.tick((await floor.due())[0])
    asked = await cancel(floor, job)
    assert (asked.status, asked.cancel_requested_at) == (Status.RUNNING, clock.now())
    outcomes = []
    for _ in range(4):
        outcomes.append(await next_tick(floor, job))
        await clock.advance(1)
    assert outcomes == [TickOutcome.STOPPING] * 3 + [TickOutcome.ENDED]
    assert (await floor.job(job)).status is Status.CANCELLED
    assert floor.runtime.stopped == [job.session_id]


async def test_an_agent_that_does_not_stop_loses_its_session_after_the_grace(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":999,"stopS":null}')
    await floor.tick((await floor.due())[0])
    await cancel(floor, job)
    assert await next_tick(floor, job) is TickOutcome.STOPPING
    await clock.advance(CANCEL_GRACE_S)
    assert await next_tick(floor, job) is TickOutcome.ENDED
    assert floor.runtime.live_sessions == set()


async def test_a_cancel_has_a_tick_of_its_own_now(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    await cancel(floor, job)
    assert [tick.fence for tick in await floor.due()] == [1, 1]
    assert await floor.redis.exists(f"arq:job:{job.job_id}:1:cancel")


async def test_a_result_that_is_ready_when_a_cancel_was_acknowledged_is_not_a_success(floor: Floor) -> None:
    floor.runtime.gates.append(gate := Gate())
    job = await floor.submit()
    ticking = asyncio.create_task(floor.worker()((await floor.due())[0]))
    await gate.reached.wait()
    assert (await cancel(floor, job)).cancel_requested_at is not None
    gate.opened.set()
    assert await ticking is TickOutcome.ENDED
    ended = await floor.job(job)
    assert (ended.status, ended.result_json) == (Status.CANCELLED, None)
    assert await events_of(floor, job) == ["job.queued", "job.started", "job.cancelled"]


async def test_a_long_start_is_given_up_when_its_heartbeat_meets_the_cancel(floor: Floor, clock: FakeClock) -> None:
    floor.runtime.gates.append(gate := Gate())
    job = await floor.submit()
    ticking = asyncio.create_task(floor.worker()((await floor.due())[0]))
    await gate.reached.wait()
    await cancel(floor, job)
    await clock.until_sleeping()
    await clock.advance(10)
    assert await ticking is TickOutcome.ENDED
    assert (await floor.job(job)).status is Status.CANCELLED


async def test_a_deleted_tenants_jobs_are_cancelled_at_their_next_tick(floor: Floor, clock: FakeClock) -> None:
    floor.caps[floor.tenant_id] = 1
    running, waiting = [await floor.submit(b'{"prompt":"hi","durationS":100}') for _ in range(2)]
    for job in (running, waiting):
        await floor.tick(Tick(job.tenant_id, job.job_id, 0))
    queued = await floor.submit()
    floor.disowned.add(floor.tenant_id)
    assert await floor.tick(Tick(queued.tenant_id, queued.job_id, 0)) is TickOutcome.ENDED
    await clock.advance(100)
    assert await floor.tick(Tick(running.tenant_id, running.job_id, 1)) is TickOutcome.ENDED
    assert await floor.tick(Tick(waiting.tenant_id, waiting.job_id, 1)) is TickOutcome.ENDED
    for job in (running, waiting, queued):
        assert (await floor.job(job)).status is Status.CANCELLED
    assert floor.runtime.effects == {running.job_id: 1}
    assert (await floor.store.gate(floor.tenant_id)).running == 0


async def test_a_job_that_is_over_stands_as_it_stood(floor: Floor) -> None:
    job = await floor.submit()
    await floor.tick((await floor.due())[0])
    ended = await floor.job(job)
    done = await floor.queue.cancel(job.tenant_id, job.job_id)
    assert done is not None
    assert (done.was_over, done.job, await floor.job(job)) == (True, ended, ended)


async def test_a_job_of_nobody_cannot_be_cancelled(floor: Floor) -> None:
    assert await floor.queue.cancel(floor.tenant_id, make_job().job_id) is None


async def test_of_cancels_and_ends_at_once_one_ends_the_job(floor: Floor, clock: FakeClock) -> None:
    for lead in range(12):
        job = await floor.submit()
        tick = Tick(job.tenant_id, job.job_id, 0)

        async def late(job: JobRecord = job, lead: int = lead) -> JobRecord:
            for _ in range(lead * 3):
                await asyncio.sleep(0.002)
            return await cancel(floor, job)

        _, asked = await asyncio.gather(floor.worker()(tick), late())
        ended = await floor.job(job)
        if asked.cancel_requested_at is not None or asked.status is Status.CANCELLED:
            assert ended.status is Status.CANCELLED
        else:
            assert ended.status is Status.SUCCEEDED
        kinds = await events_of(floor, job)
        assert [kind for kind in kinds if kind not in ("job.queued", "job.started")] == [f"job.{ended.status}"]
        event = OutboxEvent.key_of(job.tenant_id, event_id_of(job.job_id))
        stored = await floor.stores.db(job.tenant_id).get(OutboxEvent, event)
        assert stored is not None
        assert stored.event_type == f"job.{ended.status}"
    await clock.advance(timedelta(seconds=1).total_seconds())
