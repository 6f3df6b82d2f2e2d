"""The steps that jobs' transactions are made of, pure.

A change goes through only from the status and under the fence it was decided on, of a queued job only while it still
waits or still does not, and never over a cancel that was asked for meanwhile. With it goes the event that tells of it.
"""

from collections.abc import Mapping
from datetime import datetime

from boto3.dynamodb.conditions import Attr, ConditionBase
from pydantic import JsonValue

from jobs import events
from tenancy.data_models import JobGate, JobRecord, Key, Status, TenantItem, UsageDay, UsageRecord, WaitingJob
from tenancy.ids import TenantId
from tenancy.ledger import is_closed
from tenancy.steps import DeleteStep, PutStep, Step, UpdateStep


def under(held: JobRecord) -> ConditionBase:
    """Return the condition that a job still stands as it was read."""
    as_read = Attr("fence").eq(held.fence) & Attr("status").eq(held.status.value)
    if held.status is Status.QUEUED:
        # Who takes it away from where it waits takes its mark away too, and has to know of it.
        waits = Attr("waiting_since_at")
        as_read &= waits.not_exists() if held.waiting_since_at is None else waits.exists()
    if held.cancel_requested_at is not None:
        return as_read
    return as_read & Attr("cancel_requested_at").not_exists()


def counted(held: JobRecord, changed: JobRecord) -> JobRecord:
    """Return the changed job with the event that the change makes counted."""
    event = events.of_change(held, changed)
    return changed if event is None else changed.model_copy(update={"events": event.seq})


def change(held: JobRecord, changed: JobRecord) -> list[Step]:
    """Return the steps of a change and of its event; `changed` counts the event."""
    event = events.of_change(held, changed)
    steps: list[Step] = [UpdateStep(JobRecord, held.key(), difference(held, changed), condition=under(held))]
    if event is not None:
        steps.append(PutStep(event))
    return steps


def enter(tenant_id: TenantId, cap: int) -> Step:
    """Count one more running job, if there is room for it."""
    return UpdateStep(JobGate, gate_key(tenant_id), {}, add={"running": 1}, condition=Attr("running").lt(cap))


def leave(tenant_id: TenantId) -> Step:
    """Count one running job less."""
    return UpdateStep(JobGate, gate_key(tenant_id), {}, add={"running": -1}, condition=Attr("running").gt(0))


def settled(line: UsageRecord) -> list[Step]:
    """Put a job's line into the ledger; where its day may be added up already, that sum goes."""
    steps: list[Step] = [PutStep(line)]
    if is_closed(line.day, line.settled_at):
        steps.append(DeleteStep(UsageDay, UsageDay.key_to(line.tenant_id, line.day)))
    return steps


def wait(job: JobRecord, gate: JobGate, look_at: datetime) -> list[Step]:
    """Mark a job as waiting, and have its gate looked at; only while the gate stands as it was read."""
    marker = WaitingJob(
        tenant_id=job.tenant_id,
        job_id=job.job_id,
        fence=job.fence,
        since_at=job.waiting_since_at or job.updated_at,
        ttl=int((job.deadline_at + events.KEPT_AFTER_DEADLINE).timestamp()),
    )
    # Written even where it stands: whoever found nobody waiting may be about to take it away.
    owed = gate.model_copy(update={"next_tick_at": gate.next_tick_at or look_at})
    changes = {"next_tick_at": attributes(owed)["next_tick_at"], **owed.index_keys()}
    as_read = Attr("running").eq(gate.running)
    return [PutStep(marker), UpdateStep(JobGate, gate.key(), changes, add={"waits": 1}, condition=as_read)]


def no_longer_waiting(job: JobRecord) -> Step:
    """Take the mark of waiting away."""
    return DeleteStep(WaitingJob, WaitingJob.key_of(job.tenant_id, job.job_id))


def gate_key(tenant_id: TenantId) -> Key:
    """Return the key of a tenant's one gate."""
    return JobGate.key_of(tenant_id, "")


def attribute_is(name: str, value: int) -> ConditionBase:
    """Return the condition that a number still is what it was read as."""
    return Attr(name).eq(value)


def difference(before: TenantItem, after: TenantItem) -> Mapping[str, JsonValue]:
    """Return the attributes that differ, those of indexes too; None where one has to go."""
    old, new = attributes(before), attributes(after)
    return {name: new.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def attributes(item: TenantItem) -> dict[str, JsonValue]:
    """Return an item's attributes as JSON, those of indexes too."""
    return item.model_dump(mode="json", exclude_none=True) | item.index_keys()
