"""What goes with a job's end, once it is decided: the record, the webhook's event, the next job, the session.

The record and all that tells of it are one transaction; what follows it may be lost and is made up for (by a sweep,
or by a tick that comes after the end).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from agents.errors import AgentUnknownError, RuntimeFaultError
from jobs import backoff, records
from jobs.errors import TickAgainError
from jobs.gate import Gates
from jobs.metering import Spending, line_of_job, price_of
from jobs.metrics import JobMetrics
from jobs.poll import REGION_LOST, Ended
from jobs.runtime import Agents, JobRuntime
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.data_models import JobRecord, Status, UsageRecord
from tenancy.errors import StoreUnavailableError
from tenancy.ids import event_id_of
from webhooks.ticks import AskOutbox

# An agent told to stop has this long before its session is ended under it.
CANCEL_GRACE_S: Final = 10.0

_log = structlog.get_logger("jobs.finish")


TellRun = Callable[[JobRecord, datetime, str | None], None]
"""Makes a span of a job's run that is over, of the code it failed of; of none where the job never ran."""


def untold(_job: JobRecord, _now: datetime, _code: str | None) -> None:
    """Make no span."""


class Finish:
    """Ends jobs."""

    def __init__(
        self,
        store: JobStore,
        gates: Gates,
        ask_outbox: AskOutbox,
        agents: Agents,
        runtime: JobRuntime,
        *,
        clock: Clock,
        metrics: JobMetrics,
        spending: Spending,
        tell_run: TellRun = untold,
    ) -> None:
        self.tell_run = tell_run
        self._store = store
        self._gates = gates
        self._ask_outbox = ask_outbox
        self._agents = agents
        self._runtime = runtime
        self._clock = clock
        self._metrics = metrics
        self._spending = spending

    async def __call__(self, held: JobRecord, end: Ended, *, dead_letter: bool = False) -> None:
        """Write the end of a job that is held; raises LeaseLostError, CancelRequestedError, TickAgainError."""
        now = self._clock.now()
        job = records.used(records.progressed(held, end.progress, now), end.tokens)
        if end.result is not None:
            job = await self._store.with_result(job, end.result)
        job = records.ended(job, end.status, now, error=end.error, dead_letter=dead_letter)
        line = await self._line(job) if held.started_at is not None else None
        job = await self._store.end(held, job, line)
        if line is not None:
            self._spending.ended(line)
        self._tell(job, end, now)
        await self._ask_outbox(job.tenant_id, event_id_of(job.job_id), at=now)
        await self._open(job)
        if held.status is Status.RUNNING and end is not REGION_LOST:
            await self.stop_session(job)

    async def stop_session(self, job: JobRecord) -> None:
        """End the session of a job that is over, so that it does not bill; raises TickAgainError."""
        try:
            agent = await self._agents.get(job.agent, job.agent_version)
            await self._runtime.stop(agent if job.region is None else agent.pinned(job.region), job.session_id)
        except (AgentUnknownError, RuntimeFaultError) as fault:
            _log.warning("job.session_not_stopped", **line(job), code=fault.code)
            if isinstance(fault, RuntimeFaultError) and backoff.may_try_again(fault, 1):
                raise TickAgainError("the session still runs") from fault

    async def _line(self, job: JobRecord) -> UsageRecord:
        """Return the ledger's line of a job that has run."""
        try:
            price = await price_of(self._agents, job)
        except AgentUnknownError:
            price = None
        return line_of_job(job, price, await self._spending.tool_calls(job))

    async def _open(self, job: JobRecord) -> None:
        try:
            await self._gates.open(job.tenant_id)
        except StoreUnavailableError:
            # The gate is looked at again by itself; the end stands.
            _log.warning("job.gate_not_opened", tenant=job.tenant_id)

    def _tell(self, job: JobRecord, end: Ended, now: datetime) -> None:
        self._metrics.ended.labels(job.status.value).inc()
        if job.dead_letter:
            self._metrics.dead_letters.inc()
        seconds = round((now - job.created_at).total_seconds(), 3)
        code = None if job.error is None else job.error.code
        _log.info("job.ended", **line(job), code=code, kind=end.kind, seconds=seconds)
        self.tell_run(job, now, code)


def line(job: JobRecord) -> dict[str, str | int]:
    """Return what every line about a job says of it."""
    return {
        "tenant": job.tenant_id,
        "job": job.job_id,
        "agent": job.agent,
        "agent_version": job.agent_version,
        "status": job.status.value,
        "run": job.run,
        "fence": job.fence,
    }
