"""Events as they are stored in the transaction of the change that caused them, pure.

A job's end has one event, whoever writes it and however often: its id is derived from the job's. The payload is
thin, as Standard Webhooks asks: what ended, how, and where to read the rest.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
from pydantic import JsonValue

from tenancy.data_models import JobRecord, OutboxEvent
from tenancy.ids import event_id_of

# Longer than the longest schedule of attempts.
KEPT: Final = timedelta(days=7)


def job_ended(job: JobRecord) -> OutboxEvent:
    """Return the event of a job that has just ended, owed its fan-out at once."""
    ended_at = job.ended_at or job.updated_at
    event_type = f"job.{job.status}"
    payload = {"type": event_type, "timestamp": moment(ended_at), "data": _data(job, ended_at)}
    return OutboxEvent(
        tenant_id=job.tenant_id,
        event_id=event_id_of(job.job_id),
        event_type=event_type,
        payload_json=orjson.dumps(payload).decode(),
        webhook_id=job.webhook_id,
        created_at=ended_at,
        next_tick_at=ended_at,
        ttl=int((ended_at + KEPT).timestamp()),
    )


def moment(at: datetime) -> str:
    """Return a time as payloads write it: RFC 3339, UTC, to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _data(job: JobRecord, ended_at: datetime) -> dict[str, JsonValue]:
    data: dict[str, JsonValue] = {
        "jobId": job.job_id,
        "agent": job.agent,
        "agentVersion": job.agent_version,
        "status": job.status.value,
        # The number of the job's event that tells of this end: the order in which a job's events happened.
        "sequence": job.events,
        "run": job.run,
        "createdAt": moment(job.created_at),
        "endedAt": moment(ended_at),
        "links": {"job": f"/v1/jobs/{job.job_id}"},
    }
    if job.error is not None:
        data["error"] = {"code": job.error.code, "detail": job.error.detail}
    return data
