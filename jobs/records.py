"""How a job's record changes: one function per step, from record to record, without any I/O.

A status goes only where LEGAL lets it, and a terminal one goes nowhere. Every step that gives the job out of the
worker's hands (`parked`, `ended`) drops the lease with the same change, so that no step can forget to.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
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

_FREE: Final = {"lease_owner": None, "lease_until_at": None}


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
        events=1,
    )


def started(job: JobRecord, now: datetime, region: str | None = None) -> JobRecord:
    """Return the job with one more run begun, which no process has acknowledged; raises IllegalTransitionError.

    `region` is where the agent is going to be told to begin it.
    """
    _check(job, Status.RUNNING)
    return job.model_copy(
        update={
            "status": Status.RUNNING,
            "run": job.run + 1,
            "boot_id": None,
            "region": region,
            "waiting_since_at": None,
            "started_at": job.started_at or now,
            "run_started_at": now,
            "progress": None,
            "updated_at": now,
        }
    )


def moved(job: JobRecord, now: datetime, region: str) -> JobRecord:
    """Return the job with a run begun in place of one whose region was lost, which costs it none of its own."""
    return started(job, now, region).model_copy(update={"moves": job.moves + 1})


def placed(job: JobRecord, region: str | None) -> JobRecord:
    """Return the job as one whose run may have reached a region; None where it has reached none."""
    return job.model_copy(update={"region": region})


def acknowledged(job: JobRecord, boot_id: str) -> JobRecord:
    """Return the job with the agent's process that has its run."""
    return job.model_copy(update={"boot_id": boot_id})


def progressed(job: JobRecord, progress: Progress | None, now: datetime) -> JobRecord:
    """Return the job with its agent's newest progress; what the agent leaves out stays as it was."""
    if progress is None or progress == job.progress:
        return job
    return job.model_copy(update={"progress": progress, "updated_at": now})


def used(job: JobRecord, tokens: tuple[int, int] | None) -> JobRecord:
    """Return the job with the tokens its agent last reported; what the agent leaves out stays as it was."""
    return job if tokens is None else job.model_copy(update={"tokens": tokens})


def parked(job: JobRecord, next_tick_at: datetime) -> JobRecord:
    """Return the job out of the worker's hands until its next tick; raises IllegalTransitionError once it ended."""
    if job.status.terminal:
        raise IllegalTransitionError(f"a {job.status} job is owed no tick")
    return job.model_copy(update=_FREE | {"claims": 0, "next_tick_at": next_tick_at})


def waiting(job: JobRecord, now: datetime) -> JobRecord:
    """Return a queued job out of the worker's hands until there is room; its deadline still finds it."""
    since_at = job.waiting_since_at or now
    return parked(job, job.deadline_at).model_copy(update={"waiting_since_at": since_at, "updated_at": now})


def released(job: JobRecord) -> JobRecord:
    """Return the job out of a worker's hands that had to let go, as if it had never taken it."""
    return job.model_copy(update=_FREE | {"claims": max(0, job.claims - 1)})


def cancelling(job: JobRecord, now: datetime) -> JobRecord:
    """Return a running job that has to be stopped; raises IllegalTransitionError."""
    if job.status is not Status.RUNNING:
        raise IllegalTransitionError(f"a {job.status} job has nothing to stop")
    return job.model_copy(update={"cancel_requested_at": job.cancel_requested_at or now, "updated_at": now})


def ended(
    job: JobRecord, status: Status, now: datetime, *, error: Failure | None = None, dead_letter: bool = False
) -> JobRecord:
    """Return the job in its terminal status, to be kept for 7 days more.

    Raises IllegalTransitionError; a job whose cancel was asked for ends cancelled and not otherwise.
    """
    if not status.terminal:
        raise IllegalTransitionError(f"{status} does not end a job")
    if job.cancel_requested_at is not None and status is not Status.CANCELLED:
        raise IllegalTransitionError(f"a job to be cancelled cannot become {status}")
    _check(job, status)
    return job.model_copy(
        update=_FREE
        | {
            "status": status,
            "error": error,
            "dead_letter": dead_letter,
            "ended_at": now,
            "updated_at": now,
            "next_tick_at": None,
            "waiting_since_at": None,
            "ttl": int((now + KEPT_AFTER_END).timestamp()),
        }
    )


def _check(job: JobRecord, status: Status) -> None:
    if status not in LEGAL[job.status]:
        raise IllegalTransitionError(f"a {job.status} job cannot become {status}")


def traceparent_of_run(job: JobRecord) -> str | None:
    """Return the trace context of a job's run: the trace it was submitted in, with a span that is this run's alone."""
    if job.traceparent is None:
        return None
    version, trace, _, flags = job.traceparent.split("-")
    span = sha256(f"{job.job_id}#{job.run}".encode()).hexdigest()[:16]
    return f"{version}-{trace}-{span}-{flags}"
