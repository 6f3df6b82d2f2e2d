"""How a job's record changes: one function per step, from record to record, without any I/O.

A status goes only where LEGAL lets it, and a terminal one goes nowhere. Every step that gives the job out of the
worker's hands (`parked`, `ended`) drops the lease with the same change, so that no step can forget to.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from jobs.errors import IllegalTransitionError
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, Failure, JobRecord, Progress, Status
from tenancy.ids import WebhookId, new_job_id, new_session_id

KEPT_AFTER_END: Final = timedelta(days=7)

# Running follows running when a lost run is begun anew.
LEGAL: Final[Mapping[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED, Status.EXPIRED}),
    Status.RUNNING: frozenset({Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}


def accepted(
    ctx: TenantContext,
    agent: AgentVersion,
    now: datetime,
    *,
    timeout_s: float,
    principal: str,
    request_id: str,
    metadata_json: str | None,
    webhook_id: WebhookId | None,
    traceparent: str | None,
) -> JobRecord:
    """Return a new queued job with a runtime session of its own, owed its first tick now."""
    return JobRecord(
        tenant_id=ctx.tenant_id,
        job_id=new_job_id(now),
        agent=agent.name,
        agent_version=agent.version,
        session_id=new_session_id(),
        principal=principal,
        request_id=request_id,
        metadata_json=metadata_json,
        webhook_id=webhook_id,
        traceparent=traceparent,
        created_at=now,
        updated_at=now,
        deadline_at=now + timedelta(seconds=timeout_s),
        next_tick_at=now,
    )


def started(job: JobRecord, now: datetime) -> JobRecord:
    """Return the job with one more run begun; raises IllegalTransitionError."""
    _check(job, Status.RUNNING)
    return job.model_copy(
        update={
            "status": Status.RUNNING,
            "run": job.run + 1,
            "started_at": job.started_at or now,
            "progress": None,
            "updated_at": now,
        }
    )


def progressed(job: JobRecord, progress: Progress | None, now: datetime) -> JobRecord:
    """Return the job with its agent's newest progress; what the agent leaves out stays as it was."""
    if progress is None or progress == job.progress:
        return job
    return job.model_copy(update={"progress": progress, "updated_at": now})


def parked(job: JobRecord, next_tick_at: datetime) -> JobRecord:
    """Return the job out of the worker's hands until its next tick; raises IllegalTransitionError once it ended."""
    if job.status.terminal:
        raise IllegalTransitionError(f"a {job.status} job is owed no tick")
    return job.model_copy(update={"lease_owner": None, "lease_until_at": None, "next_tick_at": next_tick_at})


def ended(job: JobRecord, status: Status, now: datetime, *, error: Failure | None = None) -> JobRecord:
    """Return the job in its terminal status, to be kept for 7 days more; raises IllegalTransitionError."""
    if not status.terminal:
        raise IllegalTransitionError(f"{status} does not end a job")
    _check(job, status)
    return job.model_copy(
        update={
            "status": status,
            "error": error,
            "ended_at": now,
            "updated_at": now,
            "lease_owner": None,
            "lease_until_at": None,
            "next_tick_at": None,
            "ttl": int((now + KEPT_AFTER_END).timestamp()),
        }
    )


def _check(job: JobRecord, status: Status) -> None:
    if status not in LEGAL[job.status]:
        raise IllegalTransitionError(f"a {job.status} job cannot become {status}")
