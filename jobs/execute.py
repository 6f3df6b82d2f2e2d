"""One tick of one job, top to bottom.

claim -> start, probe or stop -> find out what it means -> write it under the fence -> ask for the next tick. A tick
that dies anywhere leaves a lease that runs out; one that comes late, twice or out of turn claims nothing; one that has
to let go leaves the job as if it had never taken it. A job that kept killing the workers that took it is given up on.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

import structlog

from agents.behalf import OnBehalf
from agents.errors import AgentUnknownError, RuntimeFaultError
from agents.invocation import TraceHeaders
from agents.region_health import REGION_FAULTS
from jobs import backoff, records
from jobs.errors import CancelRequestedError, LeaseLostError, TickAgainError
from jobs.finish import CANCEL_GRACE_S, Finish, line
from jobs.gate import Gates
from jobs.guarded import GuardAnswer, guarded, unguarded
from jobs.lease import Leases, Tick
from jobs.metering import Spending
from jobs.metrics import JobMetrics
from jobs.poll import EXPIRED, LOST, OVER_BUDGET, REGION_LOST, Busy, Ended, Lost, find
from jobs.queue import JobQueue
from jobs.runtime import Agents, IsDisowned, JobRuntime, Place, as_it_is, owned
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Failure, JobRecord, Status
from tenancy.errors import LockgateError, StoreUnavailableError

# How often a restartable agent's job is begun in all.
MAX_RUNS: Final = 3
# So many workers may take a job and not come back before it is given up on.
MAX_CLAIMS: Final = 3
# How often an agent that was told to stop is asked whether it has.
STOP_LOOK_S: Final = 1.0
# How long a tick that has to let go may take to say so.
_RELEASE_S: Final = 2.0

_log = structlog.get_logger("jobs.execute")


class TickOutcome(StrEnum):
    """How a tick ended."""

    LOOKED = "looked"
    ENDED = "ended"
    FAULT = "fault"
    WAITS = "waits"
    STOPPING = "stopping"
    PASSED_ON = "passed_on"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Faulted:
    """The runtime did not answer as it should, and may yet."""

    fault: RuntimeFaultError


@dataclass(frozen=True, slots=True)
class Waits:
    """There is no room for it to run; it is out of this tick's hands."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Told to stop, and not stopped yet."""


Seen = Busy | Ended | Faulted | Waits | Stopping

_CANCELLED: Final = Ended(Status.CANCELLED)
_POISONED: Final = Ended(
    Status.FAILED, Failure(code="job_poisoned", detail="The job was given up on: whatever took it did not come back.")
)


@dataclass(slots=True)
class Held:
    """The job a tick has claimed, as this tick last wrote it."""

    job: JobRecord
    # Before this tick, its run had been sent nowhere.
    fresh: bool = False


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
        gates: Gates,
        finish: Finish,
        clock: Clock,
        metrics: JobMetrics,
        spending: Spending,
        poll_s: float,
        place: Place = as_it_is,
        guard: GuardAnswer = unguarded,
        is_disowned: IsDisowned = owned,
    ) -> None:
        self._store = store
        self._leases = leases
        self._queue = queue
        self._gates = gates
        self._agents = agents
        self._runtime = runtime
        self._finish = finish
        self._clock = clock
        self._metrics = metrics
        self._spending = spending
        self._poll_s = poll_s
        self._place = place
        self._guard = guard
        self._is_disowned = is_disowned
        self._rng = random.SystemRandom()

    async def __call__(self, tick: Tick) -> TickOutcome:
        """Run one tick to its end."""
        job = await self._leases.claim(tick)
        if job is None:
            return await self._pass_on(tick)
        held = Held(job)
        try:
            return await self._run(held, tick)
        except LeaseLostError:
            return await self._pass_on(tick)
        except (asyncio.CancelledError, StoreUnavailableError):
            await self._release(held.job)
            raise

    async def _run(self, held: Held, tick: Tick) -> TickOutcome:
        if held.job.claims > MAX_CLAIMS:
            await self._give_up(held.job)
            return TickOutcome.ENDED
        try:
            return await self._settle(held, await self._look(held, tick), tick)
        except CancelRequestedError as asked:
            held.job = asked.job
            return await self._settle(held, await self._look(held, tick), tick)

    async def _give_up(self, job: JobRecord) -> None:
        """End a job that keeps killing its workers, before it can do so again."""
        try:
            await self._finish(job, _end_of(job, _POISONED), dead_letter=True)
        except CancelRequestedError as asked:
            await self._finish(asked.job, _CANCELLED, dead_letter=True)

    async def _look(self, held: Held, tick: Tick) -> Seen:
        try:
            to_end_at = await self._to_end_at(held)
            if to_end_at is not None:
                return await self._stop(held.job, to_end_at)
            if held.job.status is Status.RUNNING and held.job.boot_id is not None:
                return await self._probe(held)
            if self._late(held.job):
                return EXPIRED
            return await self._begin(held, await self._agent_of(held.job))
        except AgentUnknownError as unknown:
            return _failed(unknown.code, "The agent version is no longer available.")
        except RuntimeFaultError as fault:
            self._metrics.upstream_faults.labels(fault.code).inc()
            return self._weigh(held.job, fault, tick.faults + 1)

    async def _to_end_at(self, held: Held) -> datetime | None:
        """Return since when the job is to be stopped: its cancel was asked for, or its tenant was deleted."""
        asked_at, now = held.job.cancel_requested_at, self._clock.now()
        if asked_at is not None or not await self._is_disowned(held.job.tenant_id):
            return asked_at
        if held.job.status is Status.RUNNING:
            held.job = await self._store.save(held.job, records.cancelling(held.job, now))
        return now

    def _weigh(self, job: JobRecord, fault: RuntimeFaultError, faults: int) -> Ended | Faulted:
        if self._late(job):
            return EXPIRED
        if backoff.may_try_again(fault, faults):
            return Faulted(fault)
        return _failed(fault.code, "The agent's runtime could not run the job.")

    async def _begin(self, held: Held, agent: AgentVersion) -> Seen:
        """Start a run that no process has acknowledged yet; a queued job's first one only where there is room."""
        body = await self._store.input(held.job)
        if body is None:
            return _failed("input_missing", "The job's input is no longer stored.")
        job = held.job
        # Where it may have been taken, it is asked for again: the kit runs a job once, in each region.
        there = self._place(agent) if job.region is None else agent.pinned(job.region)
        if job.status is Status.QUEUED:
            if not await self._may_go_on(job, agent):
                return OVER_BUDGET
            started = await self._gates.enter(job, there.region)
            if started is None:
                return Waits()
            held.job = started
        elif job.region is None:
            held.job = await self._store.save(job, records.placed(job, there.region))
        held.fresh = job.region is None
        try:
            return await self._start(held, there, body)
        except REGION_FAULTS as fault:
            if (held.fresh and fault.nothing_ran) or there.region == self._place(agent).region:
                raise
            return await self._move(held, agent)

    async def _start(self, held: Held, agent: AgentVersion, body: bytes) -> Seen:
        job = held.job
        behalf, trace = OnBehalf(job.tenant_id, job.principal), TraceHeaders(records.traceparent_of_run(job))
        start = self._runtime.start_job(agent, job.session_id, job.job_id, body, trace, behalf=behalf)
        answer = await self._leases.while_held(job, start)
        finding = await guarded(self._guard, job, find(answer, job, self._clock.now()))
        if isinstance(finding, Busy):
            return Busy(finding.progress, answer.boot_id, finding.tokens)
        return LOST if isinstance(finding, Lost) else finding

    async def _probe(self, held: Held) -> Seen:
        job = held.job
        agent = await self._agent_of(job)
        try:
            answer = await self._runtime.probe_job(_where(job, agent), job.session_id, job.job_id)
        except REGION_FAULTS:
            if job.region in {None, self._place(agent).region}:
                raise
            return await self._move(held, agent)
        finding = await guarded(self._guard, job, find(answer, job, self._clock.now()))
        if isinstance(finding, Busy) and not await self._may_go_on(records.used(job, finding.tokens), agent):
            return OVER_BUDGET
        if not isinstance(finding, Lost):
            return finding
        _log.warning("job.lost", **line(job), boot=job.boot_id, found=answer.boot_id)
        if not agent.restartable or job.run - job.moves >= MAX_RUNS or self._late(job):
            return LOST
        body = await self._store.input(job)
        if body is None:
            return LOST
        there = self._place(agent)
        held.job = await self._store.save(job, records.started(job, self._clock.now(), there.region))
        held.fresh = True
        self._finish.tell_run(job, self._clock.now(), "job_lost")
        return await self._start(held, there, body)

    async def _move(self, held: Held, agent: AgentVersion) -> Seen:
        """Begin a job anew where agents run now: the region it ran in does not answer, and serves no more."""
        job = held.job
        _log.warning("job.region_lost", **line(job), region=job.region)
        if self._late(job):
            return EXPIRED
        body = await self._store.input(job) if agent.restartable else None
        if body is None:
            return REGION_LOST
        there = self._place(agent)
        held.job = await self._store.save(job, records.moved(job, self._clock.now(), there.region))
        held.fresh = True
        self._finish.tell_run(job, self._clock.now(), "region_failover")
        return await self._start(held, there, body)

    async def _stop(self, job: JobRecord, asked_at: datetime) -> Ended | Stopping:
        """Have the agent stop a job; past the grace the session is ended with the job."""
        if job.status is Status.QUEUED or self._clock.now() >= asked_at + timedelta(seconds=CANCEL_GRACE_S):
            return _CANCELLED
        try:
            agent = _where(job, await self._agent_of(job))
            answer = await self._runtime.stop_job(agent, job.session_id, job.job_id)
        except AgentUnknownError:
            return _CANCELLED
        except RuntimeFaultError as fault:
            self._metrics.upstream_faults.labels(fault.code).inc()
            return Stopping()
        return Stopping() if answer.ref == job.job_id and answer.state == "running" else _CANCELLED

    async def _settle(self, held: Held, seen: Seen, tick: Tick) -> TickOutcome:
        now, job = self._clock.now(), held.job
        match seen:
            case Busy(progress, boot_id, tokens):
                look_at = backoff.next_look_at(job, now, interval_s=self._poll_s, rng=self._rng)
                known = job if boot_id is None else records.acknowledged(job, boot_id)
                await self._park(job, records.used(records.progressed(known, progress, now), tokens), look_at, faults=0)
                return TickOutcome.LOOKED
            case Faulted(fault):
                faults = tick.faults + 1
                try_at = backoff.next_try_at(job, now, faults=faults, rng=self._rng)
                _log.warning("job.fault", **line(job), code=fault.code, faults=faults)
                # What was refused at once may be begun wherever agents run next.
                nowhere = held.fresh and fault.nothing_ran
                await self._park(job, records.placed(job, None) if nowhere else job, try_at, faults=faults)
                return TickOutcome.FAULT
            case Stopping():
                await self._park(job, job, now + timedelta(seconds=STOP_LOOK_S), faults=0)
                return TickOutcome.STOPPING
            case Waits():
                return TickOutcome.WAITS
            case Ended():
                await self._finish(job, _end_of(job, seen))
                return TickOutcome.ENDED
            case _:
                assert_never(seen)

    async def _park(self, held: JobRecord, job: JobRecord, at: datetime, *, faults: int) -> None:
        job = await self._store.save(held, records.parked(job, at))
        await self._queue.enqueue(Tick(job.tenant_id, job.job_id, job.fence, faults), at=at)

    async def _release(self, job: JobRecord) -> None:
        """Let go of a job, if the store can be told in time; else its lease runs out."""
        with suppress(LockgateError, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._store.save(job, records.released(job))

    async def _pass_on(self, tick: Tick) -> TickOutcome:
        """Leave the job to whoever may claim it, seeing to it that somebody will; tidy up after one that ended."""
        job = await self._store.get(tick.tenant_id, tick.job_id, consistent=True)
        if job is None:
            return TickOutcome.GONE
        if job.status.terminal:
            if job.run and not job.dead_letter:
                await self._finish.stop_session(job)
            return TickOutcome.PASSED_ON
        if job.waiting_since_at is not None and job.lease_until_at is None:
            # Its gate gives it a tick; one asked for now would stand in that one's place.
            return TickOutcome.PASSED_ON
        # A second later: a lease counts whole seconds, and must be seen to have run out.
        at = job.lease_until_at + timedelta(seconds=1) if job.lease_until_at else job.next_tick_at or self._clock.now()
        if job.fence == tick.fence:
            raise TickAgainError("the job is held", at=at)
        await self._queue.enqueue(Tick(job.tenant_id, job.job_id, job.fence), at=at)
        return TickOutcome.PASSED_ON

    async def _agent_of(self, job: JobRecord) -> AgentVersion:
        return await self._agents.get(job.agent, job.agent_version)

    async def _may_go_on(self, job: JobRecord, agent: AgentVersion) -> bool:
        return await self._spending.may_go_on(job, agent.price, ahead_s=self._poll_s * (1 + backoff.JITTER))

    def _late(self, job: JobRecord) -> bool:
        return self._clock.now() >= job.deadline_at


def _where(job: JobRecord, agent: AgentVersion) -> AgentVersion:
    """Return the agent's version where the job runs; one that no process has acknowledged runs anywhere."""
    return agent if job.region is None else agent.pinned(job.region)


def _end_of(job: JobRecord, end: Ended) -> Ended:
    """Return how a job ends: one whose cancel was asked for ends cancelled, whatever it came to."""
    return end if job.cancel_requested_at is None else _CANCELLED


def _failed(code: str, detail: str) -> Ended:
    return Ended(Status.FAILED, Failure(code=code, detail=detail))
