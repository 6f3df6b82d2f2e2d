"""Ticks over the real store and queue, the agent host faulting and dying on demand."""

import asyncio
from datetime import timedelta

import orjson
import pytest

from agents.errors import (
    AgentFailedError,
    RuntimeFaultError,
    RuntimeMissingError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
)
from agents.invocation import TraceHeaders
from agents.runtime import START_TIMEOUT_S
from jobs.errors import TickAgainError
from jobs.execute import MAX_CLAIMS, MAX_RUNS, TickOutcome
from jobs.lease import HEARTBEAT_S, LEASE_S, Leases, Tick
from jobs.records import traceparent_of_run
from tenancy import tables
from tenancy.data_models import JobRecord, Status
from tests.clock import FakeClock
from tests.jobs.conftest import POLL_S, Floor
from tests.jobs.parts import Gate, make_agent

pytestmark = pytest.mark.stack


async def run_to_end(floor: Floor, clock: FakeClock, job: JobRecord, *, ticks: int = 50) -> JobRecord:
    """Run due ticks, moving the clock to each, until none is left."""
    for _ in range(ticks):
        due = await floor.due()
        if not due:
            return await floor.job(job)
        stored = await floor.job(job)
        if stored.next_tick_at is not None:
            await clock.advance(max(0.0, (stored.next_tick_at - clock.now()).total_seconds()))
        await floor.tick(due[0])
    raise AssertionError("the job does not end")


async def test_a_job_runs_from_submission_to_its_result(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":20}')
    done = await run_to_end(floor, clock, job)
    assert (done.status, done.run, done.error) == (Status.SUCCEEDED, 1, None)
    assert await floor.store.result(done) == b'{"echo": "hi"}'
    assert floor.runtime.effects == {job.job_id: 1}
    assert floor.count("lockgate_jobs_ended_total", status="succeeded") == 1


async def test_a_short_job_ends_within_its_first_tick(floor: Floor) -> None:
    job = await floor.submit()
    assert await floor.tick((await floor.due())[0]) is TickOutcome.ENDED
    assert (await floor.job(job)).status is Status.SUCCEEDED
    assert await floor.due() == []


async def test_a_running_job_shows_its_progress_and_is_looked_at_soon_then_at_the_interval(
    floor: Floor, clock: FakeClock
) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    first = await floor.job(job)
    assert first.next_tick_at is not None
    assert (first.status, first.lease_until_at) == (Status.RUNNING, None)
    assert first.next_tick_at - clock.now() <= timedelta(seconds=0.24)
    await clock.advance(42)
    await floor.tick((await floor.due())[0])
    later = await floor.job(job)
    assert later.next_tick_at is not None
    assert later.progress is not None
    assert later.progress.percent == 42
    assert timedelta(seconds=POLL_S * 0.8) <= later.next_tick_at - clock.now() <= timedelta(seconds=POLL_S * 1.2)


async def test_the_session_of_an_ended_job_is_stopped(floor: Floor, clock: FakeClock) -> None:
    job = await run_to_end(floor, clock, await floor.submit())
    assert floor.runtime.live_sessions == set()
    assert floor.runtime.stopped == [job.session_id]


async def test_the_trace_goes_on_to_the_runtime_with_a_span_of_the_runs_own(floor: Floor) -> None:
    job = await floor.submit()
    await floor.tick((await floor.due())[0])
    [given] = floor.runtime.traces
    asked = TraceHeaders(job.traceparent)
    assert (given.trace_id, given.sampled) == (asked.trace_id, asked.sampled)
    assert given.traceparent == traceparent_of_run(job.model_copy(update={"run": 1}))
    assert given.span_id != asked.span_id


async def test_what_the_agent_raises_fails_the_job_without_its_words(floor: Floor, clock: FakeClock) -> None:
    done = await run_to_end(floor, clock, await floor.submit(b'{"prompt":"hi","failAfter":0}'))
    assert done.status is Status.FAILED
    assert done.error is not None
    assert done.error.code == "agent_error"
    assert "asked to fail" not in done.model_dump_json()


async def test_a_job_past_its_deadline_expires_and_its_session_is_stopped(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":999999}')
    await floor.tick((await floor.due())[0])
    await clock.advance(3590)
    done = await run_to_end(floor, clock, job)
    assert (done.status, done.ended_at) == (Status.EXPIRED, job.deadline_at)
    assert floor.runtime.live_sessions == set()


async def test_a_job_whose_deadline_passed_in_the_queue_never_starts(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit()
    await clock.advance(3600)
    await floor.tick((await floor.due())[0])
    assert (await floor.job(job)).status is Status.EXPIRED
    assert floor.runtime.calls["start"] == 0


async def test_a_lost_run_fails_a_job_that_must_not_be_begun_anew(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    floor.runtime.kill(job.session_id)
    done = await run_to_end(floor, clock, job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "job_lost")
    assert floor.runtime.effects[job.job_id] == 1


@pytest.mark.parametrize("agent", [make_agent(restartable=True)])
async def test_a_lost_run_of_a_restartable_agent_is_begun_anew_on_the_same_session(
    floor: Floor, clock: FakeClock
) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    floor.runtime.kill(job.session_id)
    done = await run_to_end(floor, clock, job, ticks=100)
    assert (done.status, done.run) == (Status.SUCCEEDED, 2)
    assert floor.runtime.stopped == [job.session_id]


@pytest.mark.parametrize("agent", [make_agent(restartable=True)])
async def test_a_job_that_is_lost_every_time_fails_in_the_end(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    for _ in range(MAX_RUNS):
        await floor.tick((await floor.due())[0])
        floor.runtime.kill(job.session_id)
    await floor.tick((await floor.due())[0])
    done = await floor.job(job)
    assert done.error is not None
    assert (done.status, done.run, done.error.code) == (Status.FAILED, MAX_RUNS, "job_lost")


@pytest.mark.parametrize("fault", [RuntimeThrottledError(), RuntimeTimeoutError(), AgentFailedError()])
async def test_a_passing_fault_of_a_start_is_tried_again_and_runs_the_job_once(
    floor: Floor, clock: FakeClock, fault: RuntimeFaultError
) -> None:
    floor.runtime.before["start"].append(fault)
    floor.runtime.after["start"].append(RuntimeTimeoutError())
    job = await floor.submit()
    assert await floor.tick((await floor.due())[0]) is TickOutcome.FAULT
    assert [tick.faults for tick in await floor.due()] == [1]
    begun = await floor.job(job)
    assert (begun.status, begun.run, begun.boot_id) == (Status.RUNNING, 1, None)
    done = await run_to_end(floor, clock, job)
    assert done.status is Status.SUCCEEDED
    assert floor.runtime.effects == {job.job_id: 1}


async def test_a_fault_between_two_looks_is_forgotten_at_the_next_good_one(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    floor.runtime.before["probe"].append(RuntimeTimeoutError())
    faults = []
    for _ in range(2):
        await clock.advance(1)
        await floor.tick((await floor.due())[0])
        faults.append((await floor.due())[0].faults)
    assert faults == [1, 0]
    assert (await floor.job(job)).status is Status.RUNNING


async def test_faults_without_end_fail_the_job_with_the_cause(floor: Floor, clock: FakeClock) -> None:
    floor.runtime.before["start"].extend([AgentFailedError()] * 9)
    done = await run_to_end(floor, clock, await floor.submit())
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "agent_error")
    assert floor.runtime.calls["start"] == 3


async def test_a_fault_that_will_not_get_better_fails_the_job_at_once(floor: Floor) -> None:
    floor.runtime.before["start"].append(RuntimeMissingError())
    job = await floor.submit()
    await floor.tick((await floor.due())[0])
    done = await floor.job(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "runtime_missing")


async def test_a_job_of_an_agent_that_is_gone_fails(floor: Floor) -> None:
    job = await floor.submit()
    floor.agents.agent = None
    await floor.tick((await floor.due())[0])
    done = await floor.job(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "agent_unknown")


async def test_a_job_whose_input_is_gone_fails(floor: Floor) -> None:
    job = await floor.submit(b'"' + b"x" * 40_000 + b'"')
    assert job.input_s3_key is not None
    await floor.stores.s3(floor.tenant_id).delete(job.input_s3_key)
    await floor.tick((await floor.due())[0])
    done = await floor.job(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "input_missing")


async def test_of_ticks_run_at_once_by_many_workers_one_ends_the_job(floor: Floor) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    outcomes = await asyncio.gather(*(floor.worker(f"worker-{n}")(tick) for n in range(8)))
    assert outcomes.count(TickOutcome.ENDED) == 1
    assert floor.count("lockgate_jobs_ended_total", status="succeeded") == 1
    assert (await floor.job(job)).fence == 1


async def test_a_stale_tick_claims_nothing_and_doubles_nothing(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    first = (await floor.due())[0]
    await floor.tick(first)
    before = await floor.job(job)
    for _ in range(3):
        assert await floor.tick(first) is TickOutcome.PASSED_ON
    assert await floor.job(job) == before
    assert await floor.due() == [Tick(job.tenant_id, job.job_id, 1)]


async def test_a_tick_that_comes_while_its_job_is_held_comes_back_after_the_lease(
    floor: Floor, clock: FakeClock
) -> None:
    await floor.submit()
    tick = (await floor.due())[0]
    held = await Leases(floor.store, clock, owner="other").claim(tick)
    assert held is not None
    assert held.lease_until_at is not None
    with pytest.raises(TickAgainError) as again:
        await floor.tick(Tick(tick.tenant_id, tick.job_id, held.fence))
    assert again.value.at == held.lease_until_at + timedelta(seconds=1)
    await clock.advance((again.value.at - clock.now()).total_seconds())
    assert await floor.tick(Tick(tick.tenant_id, tick.job_id, held.fence)) is TickOutcome.ENDED


@pytest.mark.parametrize("behind", [0, 1])
async def test_a_tick_after_the_end_changes_nothing_but_stops_the_session_again(floor: Floor, behind: int) -> None:
    job = await floor.submit()
    await floor.tick((await floor.due())[0])
    ended = await floor.job(job)
    assert await floor.tick(Tick(job.tenant_id, job.job_id, ended.fence - behind)) is TickOutcome.PASSED_ON
    assert await floor.job(job) == ended
    assert floor.runtime.stopped == [job.session_id] * 2


async def test_a_session_that_would_not_stop_is_stopped_again(floor: Floor) -> None:
    floor.runtime.before["stop"].append(RuntimeThrottledError())
    await floor.submit()
    tick = (await floor.due())[0]
    with pytest.raises(TickAgainError):
        await floor.tick(tick)
    await floor.tick(tick)
    assert floor.runtime.live_sessions == set()


async def test_a_tick_of_no_job_is_dropped(floor: Floor) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    await floor.stores.db(floor.tenant_id).delete(JobRecord, job.key())
    assert await floor.tick(tick) is TickOutcome.GONE


async def test_a_worker_killed_in_its_tick_leaves_a_job_that_another_one_ends(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    assert await Leases(floor.store, clock, owner="killed").claim(tick) is not None
    # The same tick brought back too soon finds the lease held and asks for the time after it.
    assert await floor.tick(tick) is TickOutcome.PASSED_ON
    held = await floor.job(job)
    assert (str(held.lease_owner).partition("#")[0], held.status) == ("killed", Status.QUEUED)
    await clock.advance(LEASE_S + 1)
    assert await floor.tick((await floor.due())[0], floor.worker("heir")) is TickOutcome.ENDED
    assert (await floor.job(job)).status is Status.SUCCEEDED


async def test_a_tick_that_is_cut_off_lets_its_job_go_as_if_it_had_never_taken_it(floor: Floor) -> None:
    job = await floor.submit()
    for _ in range(MAX_CLAIMS + 2):
        floor.runtime.gates.append(gate := Gate())
        stored = await floor.job(job)
        cut_off = asyncio.create_task(floor.worker("drained")(Tick(job.tenant_id, job.job_id, stored.fence)))
        await gate.reached.wait()
        cut_off.cancel()
        await asyncio.wait([cut_off])
        assert cut_off.cancelled()
        left = await floor.job(job)
        assert (left.status, left.run, left.claims, left.lease_until_at) == (Status.RUNNING, 1, 0, None)
    assert await floor.tick(Tick(job.tenant_id, job.job_id, left.fence)) is TickOutcome.ENDED
    assert (await floor.job(job)).status is Status.SUCCEEDED


async def test_a_long_start_keeps_its_lease(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    floor.runtime.gates.append(gate := Gate())
    starting = asyncio.create_task(floor.worker("slow")(tick))
    await gate.reached.wait()
    for _ in range(int(START_TIMEOUT_S // HEARTBEAT_S)):
        until = (await floor.job(job)).lease_until_at
        await clock.until_sleeping()
        await clock.advance(HEARTBEAT_S)
        async with asyncio.timeout(10):
            while (await floor.job(job)).lease_until_at == until:
                await asyncio.sleep(0)
    assert await floor.tick(tick, floor.worker("eager")) is TickOutcome.PASSED_ON
    gate.opened.set()
    assert await starting is TickOutcome.ENDED


async def test_a_stale_run_cannot_write_a_result(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit()
    tick = (await floor.due())[0]
    floor.runtime.gates.append(gate := Gate())
    paused = asyncio.create_task(floor.worker("paused")(tick))
    await gate.reached.wait()
    claimed = await floor.job(job)
    assert claimed.lease_until_at is not None
    # As if the whole process had stood still: no heartbeat, and a lease that ran out.
    past = (claimed.lease_until_at - timedelta(seconds=LEASE_S + 1)).isoformat().replace("+00:00", "Z")
    await floor.stores.db(floor.tenant_id).update(JobRecord, job.key(), {"lease_until_at": past})
    assert await floor.tick(Tick(job.tenant_id, job.job_id, 1), floor.worker("heir")) is TickOutcome.ENDED
    ended = await floor.job(job)
    gate.opened.set()
    assert await paused is TickOutcome.PASSED_ON
    assert await floor.job(job) == ended
    assert ended.fence == 2
    assert floor.count("lockgate_jobs_ended_total", status="succeeded") == 1


async def test_a_job_stays_readable_when_redis_loses_everything(floor: Floor, clock: FakeClock) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    await floor.redis.flushall()
    stored = await floor.job(job)
    assert stored.status is Status.RUNNING
    assert stored.index_keys()[tables.SWEEP_INDEX.partition_key].startswith("SWEEP#")
    # Whoever rebuilds the queue needs nothing but the record.
    await floor.queue.enqueue(Tick(job.tenant_id, job.job_id, stored.fence), at=clock.now())
    assert (await run_to_end(floor, clock, job)).status is Status.SUCCEEDED


async def test_redis_holds_json_that_says_where_to_look_and_nothing_of_the_payload(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"sentinel"}')
    message = await floor.redis.get(f"arq:job:{job.job_id}:0")
    assert message is not None
    assert orjson.loads(message)["a"] == [floor.tenant_id, job.job_id, 0, 0]
