"""One tick of one job, top to bottom.

claim -> start or probe -> find out what it means -> write it under the fence -> ask for the next tick. A tick that
dies anywhere leaves a lease that runs out; one that comes late, twice or out of turn claims nothing. The session
of a job that ended is stopped, so that it does not bill.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

import structlog

from agents.errors import AgentUnknownError, RuntimeFaultError
from agents.invocation import TraceHeaders
from jobs import backoff, records
from jobs.errors import LeaseLostError, TickAgainError
from jobs.lease import Leases, Tick
from jobs.metrics import JobMetrics
from jobs.poll import EXPIRED, LOST, Busy, Ended, Lost, find
from jobs.queue import JobQueue
from jobs.runtime import Agents, JobRuntime
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Failure, JobRecord, Status

# How often a restartable agent's job is begun in all.
MAX_RUNS: Final = 3

_log = structlog.get_logger("jobs.execute")


class TickOutcome(StrEnum):
    """How a tick ended."""

    LOOKED = "looked"
    ENDED = "ended"
    FAULT = "fault"
    PASSED_ON = "passed_on"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Faulted:
    """The runtime did not answer as it should, and may yet."""

    fault: RuntimeFaultError


class Execute:
    """Runs ticks. Raises TickAgainError, StoreUnavailableError, QueueUnavailableError: run the same tick again."""

    def __init__(
        self,
        store: JobStore,
        leases: Leases,
        queue: JobQueue,
        agents: Agents,
        runtime: JobRuntime,
        *,
        clock: Clock,
        metrics: JobMetrics,
        poll_s: float,
    ) -> None:
        self._store = store
        self._leases = leases
        self._queue = queue
        self._agents = agents
        self._runtime = runtime
        self._clock = clock
        self._metrics = metrics
        self._poll_s = poll_s
        self._rng = random.SystemRandom()

    async def __call__(self, tick: Tick) -> TickOutcome:
        """Run one tick to its end."""
        job = await self._leases.claim(tick)
        if job is None:
            return await self._pass_on(tick)
        try:
            job, seen = await self._look(job, tick)
            return await self._settle(job, seen, tick)
        except LeaseLostError:
            return await self._pass_on(tick)

    async def _look(self, job: JobRecord, tick: Tick) -> tuple[JobRecord, Busy | Ended | Faulted]:
        try:
            if job.status is Status.RUNNING:
                return await self._probe(job)
            if self._late(job):
                return job, EXPIRED
            return await self._start(job, await self._agent_of(job))
        except AgentUnknownError as unknown:
            return job, _failed(unknown.code, "The agent version is no longer available.")
        except RuntimeFaultError as fault:
            self._metrics.upstream_faults.labels(fault.code).inc()
            return job, self._weigh(job, fault, tick.faults + 1)

    def _weigh(self, job: JobRecord, fault: RuntimeFaultError, faults: int) -> Ended | Faulted:
        if self._late(job):
            return EXPIRED
        if backoff.may_try_again(fault, faults):
            return Faulted(fault)
        return _failed(fault.code, "The agent's runtime could not run the job.")

    async def _probe(self, job: JobRecord) -> tuple[JobRecord, Busy | Ended]:
        agent = await self._agent_of(job)
        answer = await self._runtime.probe_job(agent, job.session_id, job.job_id)
        finding = find(answer, job, self._clock.now())
        if not isinstance(finding, Lost):
            return job, finding
        if agent.restartable and job.run < MAX_RUNS and not self._late(job):
            return await self._start(job, agent)
        return job, LOST

    async def _start(self, job: JobRecord, agent: AgentVersion) -> tuple[JobRecord, Busy | Ended]:
        body = await self._store.input(job)
        if body is None:
            return job, _failed("input_missing", "The job's input is no longer stored.")
        start = self._runtime.start_job(agent, job.session_id, job.job_id, body, TraceHeaders(job.traceparent))
        answer = await self._leases.while_held(job, start)
        job = await self._store.save(job, records.started(job, self._clock.now()))
        finding = find(answer, job, self._clock.now())
        return job, LOST if isinstance(finding, Lost) else finding

    async def _settle(self, job: JobRecord, seen: Busy | Ended | Faulted, tick: Tick) -> TickOutcome:
        now = self._clock.now()
        match seen:
            case Busy(progress):
                look_at = backoff.next_look_at(job, now, interval_s=self._poll_s, rng=self._rng)
                await self._park(job, records.progressed(job, progress, now), look_at, faults=0)
                return TickOutcome.LOOKED
            case Faulted(fault):
                faults = tick.faults + 1
                try_at = backoff.next_try_at(job, now, faults=faults, rng=self._rng)
                _log.warning("job.fault", **_line(job), code=fault.code, faults=faults)
                await self._park(job, job, try_at, faults=faults)
                return TickOutcome.FAULT
            case Ended():
                await self._end(job, seen, now)
                return TickOutcome.ENDED
            case _:
                assert_never(seen)

    async def _park(self, held: JobRecord, job: JobRecord, at: datetime, *, faults: int) -> None:
        job = await self._store.save(held, records.parked(job, at))
        await self._queue.enqueue(Tick(job.tenant_id, job.job_id, job.fence, faults), at=at)

    async def _end(self, held: JobRecord, end: Ended, now: datetime) -> None:
        job = records.progressed(held, end.progress, now)
        if end.result is not None:
            job = await self._store.with_result(job, end.result)
        job = await self._store.save(held, records.ended(job, end.status, now, error=end.error))
        self._metrics.ended.labels(job.status.value).inc()
        seconds = round((now - job.created_at).total_seconds(), 3)
        code = None if job.error is None else job.error.code
        _log.info("job.ended", **_line(job), code=code, kind=end.kind, seconds=seconds)
        await self._stop_session(job)

    async def _pass_on(self, tick: Tick) -> TickOutcome:
        """Leave the job to whoever may claim it, seeing to it that somebody will; tidy up after one that ended."""
        job = await self._store.get(tick.tenant_id, tick.job_id, consistent=True)
        if job is None:
            return TickOutcome.GONE
        if job.status.terminal:
            await self._stop_session(job)
            return TickOutcome.PASSED_ON
        # A second later: a lease counts whole seconds, and must be seen to have run out.
        at = job.lease_until_at + timedelta(seconds=1) if job.lease_until_at else job.next_tick_at or self._clock.now()
        if job.fence == tick.fence:
            raise TickAgainError("the job is held", at=at)
        await self._queue.enqueue(Tick(job.tenant_id, job.job_id, job.fence), at=at)
        return TickOutcome.PASSED_ON

    async def _stop_session(self, job: JobRecord) -> None:
        try:
            await self._runtime.stop(await self._agent_of(job), job.session_id)
        except (AgentUnknownError, RuntimeFaultError) as fault:
            _log.warning("job.session_not_stopped", **_line(job), code=fault.code)
            if isinstance(fault, RuntimeFaultError) and backoff.may_try_again(fault, 1):
                raise TickAgainError("the session still runs") from fault

    async def _agent_of(self, job: JobRecord) -> AgentVersion:
        return await self._agents.get(job.agent, job.agent_version)

    def _late(self, job: JobRecord) -> bool:
        return self._clock.now() >= job.deadline_at


def _failed(code: str, detail: str) -> Ended:
    return Ended(Status.FAILED, Failure(code=code, detail=detail))


def _line(job: JobRecord) -> dict[str, str | int]:
    return {
        "tenant": job.tenant_id,
        "job": job.job_id,
        "agent": job.agent,
        "agent_version": job.agent_version,
        "status": job.status.value,
        "run": job.run,
        "fence": job.fence,
    }
