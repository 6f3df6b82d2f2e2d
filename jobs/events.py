"""What a job's events say, derived from the change they are stored with, pure.

An event is never written for itself: it is what one version of the record differs in from the one before. So no
change goes untold and none is told twice; numbers count from 1 without a gap, under the job's fence.
"""

from datetime import datetime, timedelta
from typing import Final

import orjson
from pydantic import JsonValue

from tenancy.data_models import JobEvent, JobEventType, JobRecord, Status

# Events outlive the job's last possible end as the job does.
KEPT_AFTER_DEADLINE: Final = timedelta(days=7)

_ENDS: Final[dict[Status, JobEventType]] = {
    Status.SUCCEEDED: "job.succeeded",
    Status.FAILED: "job.failed",
    Status.CANCELLED: "job.cancelled",
    Status.EXPIRED: "job.expired",
}


def of_acceptance(job: JobRecord) -> JobEvent:
    """Return the first event of a new job, which counts it already."""
    return _event(job, 1, "job.queued", job.created_at, {"status": job.status.value})


def of_change(held: JobRecord, changed: JobRecord) -> JobEvent | None:
    """Return the event of a change, or None where there is nothing to tell."""
    seq = held.events + 1
    if changed.status is not held.status and changed.status.terminal:
        error = None if changed.error is None else {"code": changed.error.code, "detail": changed.error.detail}
        data: dict[str, JsonValue] = {"status": changed.status.value}
        if error is not None:
            data["error"] = dict(error)
        return _event(changed, seq, _ENDS[changed.status], changed.ended_at or changed.updated_at, data)
    if changed.run != held.run:
        return _event(changed, seq, "job.started", changed.updated_at, {"run": changed.run})
    if changed.progress is not None and changed.progress != held.progress:
        progress: dict[str, JsonValue] = changed.progress.model_dump(mode="json", exclude_none=True)
        return _event(changed, seq, "job.progress", changed.updated_at, progress)
    return None


def _event(job: JobRecord, seq: int, kind: JobEventType, at: datetime, data: dict[str, JsonValue]) -> JobEvent:
    return JobEvent(
        tenant_id=job.tenant_id,
        job_id=job.job_id,
        seq=seq,
        type=kind,
        at=at,
        data_json=orjson.dumps(data).decode(),
        ttl=int((job.deadline_at + KEPT_AFTER_DEADLINE).timestamp()),
    )
