"""Jobs in DynamoDB, their large inputs and results in the tenant's own S3 prefix.

A write after the first goes through only under the fence it was claimed with and from the status it was read in,
so that of two workers one at most is heard. What tells of a change (the job's event, and at its end the event for
webhooks) and what is counted with it is written in the same transaction. Payloads are kept as the JSON they came as,
byte for byte.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase

from jobs import events, records, steps
from jobs.errors import CancelRequestedError, GateFullError, LeaseLostError
from tenancy import tables
from tenancy.clock import Clock, SystemClock
from tenancy.data_models import JobEvent, JobGate, JobRecord, Status, UsageRecord, WaitingJob
from tenancy.errors import ConditionFailedError, StoreBusyError
from tenancy.ids import JobId, TenantId
from tenancy.ledger import Used, line_of
from tenancy.paging import filtered
from tenancy.steps import NEW, CheckStep, Page, PutStep, Step
from tenancy.store import TenantStores
from webhooks import outbox

# A DynamoDB item may hold 400 KB; up to here a payload costs no second store.
INLINE_LIMIT_BYTES: Final = 32 * 1024
_JSON: Final = "application/json"
# Before each try to write what another transaction is writing, at most.
_CONFLICT_PAUSES_S: Final = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
# How often a decision is made anew because what it was made on has changed.
_DECISIONS: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A job after its cancel was asked for; `was_over` if it had ended before, and so stands as it stood."""

    job: JobRecord
    was_over: bool


class JobStore:
    """Loads and writes the jobs of any tenant, each through that tenant's own door."""

    def __init__(self, stores: TenantStores, clock: Clock | None = None) -> None:
        self._stores = stores
        self._clock = clock or SystemClock()
        self._rng = random.SystemRandom()

    async def create(self, job: JobRecord, body: bytes, also: Sequence[Step] = ()) -> JobRecord:
        """Store a new job with its input's JSON, and what else must be stored with it or not at all.

        Once this returns, the job is durable. Raises ConditionFailedError where one of `also` was refused.
        """
        if len(body) <= INLINE_LIMIT_BYTES:
            job = job.model_copy(update={"input_json": body.decode()})
        else:
            key = _payload_key(job, "input.json")
            await self._stores.s3(job.tenant_id).put(key, body, _JSON)
            job = job.model_copy(update={"input_s3_key": key, "input_bytes": len(body)})
        legs = [PutStep(job, NEW), PutStep(events.of_acceptance(job)), *also]
        try:
            await self._transact(job.tenant_id, legs)
        except ConditionFailedError:
            # The first try may have been done and its answer lost: nobody else makes this id.
            if await self.get(job.tenant_id, job.job_id, consistent=True) is None:
                raise
        return job

    async def get(self, tenant_id: TenantId, job_id: JobId, *, consistent: bool = False) -> JobRecord | None:
        """Return a job of this tenant, or None."""
        key = JobRecord.key_of(tenant_id, job_id)
        return await self._stores.db(tenant_id).get(JobRecord, key, consistent=consistent)

    async def events(self, tenant_id: TenantId, job_id: JobId, *, after: int, limit: int) -> Page[JobEvent]:
        """Return up to `limit` of a job's events, in order, those after number `after`; 0 is from the first."""
        return await self._stores.db(tenant_id).query(
            JobEvent,
            tables.tenant_partition(tenant_id),
            sort_prefix=JobEvent.prefix_of(job_id),
            limit=limit,
            after=JobEvent.sort_key_of(job_id, after),
            newest_first=False,
            consistent=True,
        )

    async def list(
        self, tenant_id: TenantId, *, limit: int, after: str | None, status: Status | None
    ) -> Page[JobRecord]:
        """Return up to `limit` jobs, the newest first; a page filtered by status may hold fewer though more follow."""
        if status is None:
            return await self._page(tenant_id, limit, after)
        return await filtered(partial(self._page, tenant_id), lambda job: job.status is status, limit, after)

    async def input(self, job: JobRecord) -> bytes | None:
        """Return the input's JSON as it was submitted; None where its object is gone."""
        return await self._payload(job, job.input_json, job.input_s3_key)

    async def result(self, job: JobRecord) -> bytes | None:
        """Return the result's JSON as the agent gave it; None where there is none."""
        return await self._payload(job, job.result_json, job.result_s3_key)

    async def result_url(self, job: JobRecord, lasts_s: int) -> str | None:
        """Return a link by which a large result can be read for `lasts_s` seconds; None for one in the record."""
        key = job.result_s3_key
        return None if key is None else await self._stores.s3(job.tenant_id).presign_get(key, lasts_s)

    async def with_result(self, job: JobRecord, result: bytes) -> JobRecord:
        """Return the job carrying this result; a large one is put in S3 now, before the record names it."""
        if len(result) <= INLINE_LIMIT_BYTES:
            return job.model_copy(update={"result_json": result.decode()})
        # Under the fence: a worker that lost the job cannot write over what its heir found.
        key = _payload_key(job, f"result-{job.fence}.json")
        await self._stores.s3(job.tenant_id).put(key, result, _JSON)
        return job.model_copy(update={"result_s3_key": key, "result_bytes": len(result)})

    async def claim(
        self, tenant_id: TenantId, job_id: JobId, *, lease: Mapping[str, str], when: ConditionBase
    ) -> JobRecord:
        """Write a lease and raise the fence in one step; raises ConditionFailedError unless `when` holds."""
        key = JobRecord.key_of(tenant_id, job_id)
        return await self._patiently(
            lambda: self._stores.db(tenant_id).update(
                JobRecord, key, lease, add={"fence": 1, "claims": 1}, condition=when
            )
        )

    async def save(self, held: JobRecord, changed: JobRecord) -> JobRecord:
        """Write what `changed` differs in from `held`, and the event of it.

        Raises LeaseLostError and CancelRequestedError unless `held` is still how the job stands.
        """
        if steps.counted(held, changed) is not changed:
            return await self._commit(held, changed)
        changes = steps.difference(held, changed)
        try:
            return await self._patiently(
                lambda: self._stores.db(held.tenant_id).update(
                    JobRecord, held.key(), changes, condition=steps.under(held)
                )
            )
        except ConditionFailedError:
            await self._explain(held)
            raise

    async def start(self, held: JobRecord, started: JobRecord, *, cap: int) -> JobRecord:
        """Write the start of a queued job as one of its tenant's at most `cap` running ones.

        Raises GateFullError, LeaseLostError, CancelRequestedError.
        """
        legs = [steps.enter(held.tenant_id, cap)]
        if held.waiting_since_at is not None:
            legs.append(steps.no_longer_waiting(held))
        try:
            return await self._commit(held, started, legs)
        except ConditionFailedError as full:
            raise GateFullError from full

    async def wait(self, held: JobRecord, waiting: JobRecord, gate: JobGate, *, look_at: datetime) -> JobRecord:
        """Make a queued job wait at a gate that still stands as it was read.

        Raises ConditionFailedError where the gate has changed, LeaseLostError, CancelRequestedError.
        """
        return await self._commit(held, waiting, steps.wait(waiting, gate, look_at))

    async def end(
        self, held: JobRecord, ended: JobRecord, line: UsageRecord | None = None, also: Sequence[Step] = ()
    ) -> JobRecord:
        """Write a job's end: its state, its event, the event for webhooks, its place at the gate, its ledger's line.

        Without a line it never ran and cost nothing. Raises ConditionFailedError where one of `also` was refused.
        Raises LeaseLostError and CancelRequestedError unless `held` is still how the job stands.
        """
        line = line or line_of(ended, None, Used(0, 0), ended.ended_at or ended.updated_at)
        event = PutStep(outbox.job_ended(steps.counted(held, ended)), NEW)
        told: list[Step] = [event, *steps.settled(line), *also]
        if held.status is Status.QUEUED:
            gone = [] if held.waiting_since_at is None else [steps.no_longer_waiting(held)]
            return await self._commit(held, ended, [*told, *gone])
        try:
            return await self._commit(held, ended, [*told, steps.leave(held.tenant_id)])
        except ConditionFailedError:
            # No gate counts it: it was begun before there were any.
            return await self._commit(held, ended, told)

    async def cancel(self, tenant_id: TenantId, job_id: JobId, now: datetime) -> Cancellation | None:
        """Cancel a queued job, or have a running one stopped; None where there is no such job.

        A running job's `cancel_requested_at` is set once this returns, and it then ends cancelled and not otherwise.
        """
        for _ in range(_DECISIONS):
            job = await self.get(tenant_id, job_id, consistent=True)
            if job is None:
                return None
            if job.status.terminal:
                return Cancellation(job, was_over=True)
            if job.cancel_requested_at is not None:
                return Cancellation(job, was_over=False)
            try:
                if job.status is Status.QUEUED:
                    # Held or not: nothing is begun before the record says so.
                    job = await self.end(job, records.ended(job, Status.CANCELLED, now))
                else:
                    job = await self.save(job, records.cancelling(job, now))
                return Cancellation(job, was_over=False)
            except (LeaseLostError, CancelRequestedError):
                continue
        raise StoreBusyError

    async def gate(self, tenant_id: TenantId, asking: JobRecord | None = None) -> JobGate:
        """Return a tenant's gate as last written; where there is none it is made for a job that asks to go through.

        Raises LeaseLostError where that job is gone: what was erased is not brought back.
        """
        found = await self._stores.db(tenant_id).get(JobGate, steps.gate_key(tenant_id), consistent=True)
        if found is not None:
            return found
        made = JobGate(tenant_id=tenant_id)
        if asking is None:
            return made
        still_there = CheckStep(JobRecord, asking.key(), Attr(tables.PARTITION_KEY).exists())
        try:
            await self._transact(tenant_id, [PutStep(made, NEW), still_there])
        except ConditionFailedError:
            if await self.get(tenant_id, asking.job_id, consistent=True) is None:
                raise LeaseLostError from None
            return await self.gate(tenant_id, asking)
        return made

    async def waiting(self, tenant_id: TenantId, *, limit: int) -> tuple[WaitingJob, ...]:
        """Return the tenant's waiting jobs, those that came first."""
        page = await self._stores.db(tenant_id).query(
            WaitingJob,
            tables.tenant_partition(tenant_id),
            sort_prefix=WaitingJob.SORT_PREFIX,
            limit=limit,
            newest_first=False,
            consistent=True,
        )
        return page.items

    async def look_again(self, gate: JobGate, at: datetime | None) -> None:
        """Have a gate looked at at a time, or, unless a job was made to wait since it was read, no more."""
        changed = gate.model_copy(update={"next_tick_at": at})
        unchanged = steps.attribute_is("waits", gate.waits)
        with suppress(ConditionFailedError):
            await self._patiently(
                lambda: self._stores.db(gate.tenant_id).update(
                    JobGate, gate.key(), steps.difference(gate, changed), condition=unchanged
                )
            )

    async def _commit(self, held: JobRecord, changed: JobRecord, also: Sequence[Step] = ()) -> JobRecord:
        """Write a change, its event and further steps; raises ConditionFailedError where one of those was refused."""
        changed = steps.counted(held, changed)
        try:
            await self._transact(held.tenant_id, [*steps.change(held, changed), *also])
        except ConditionFailedError:
            await self._explain(held)
            raise
        return changed

    async def _explain(self, held: JobRecord) -> None:
        """Raise what has become of a job that could not be written, unless it stands as it was read."""
        job = await self.get(held.tenant_id, held.job_id, consistent=True)
        if job is None or _standing(job) != _standing(held):
            raise LeaseLostError
        if job.cancel_requested_at is not None and held.cancel_requested_at is None:
            raise CancelRequestedError(job)

    async def _transact(self, tenant_id: TenantId, legs: Sequence[Step]) -> None:
        await self._patiently(lambda: self._stores.db(tenant_id).transact(legs))

    async def _patiently(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write what another transaction may be writing at this moment, and try again until it is done."""
        for pause_s in _CONFLICT_PAUSES_S:
            try:
                return await write()
            except StoreBusyError:
                await self._clock.sleep(self._rng.uniform(0, pause_s))
        return await write()

    async def _page(self, tenant_id: TenantId, limit: int, after: str | None) -> Page[JobRecord]:
        return await self._stores.db(tenant_id).query(
            JobRecord,
            tables.tenant_partition(tenant_id),
            sort_prefix=JobRecord.SORT_PREFIX,
            limit=limit,
            after=after,
            newest_first=True,
        )

    async def _payload(self, job: JobRecord, text: str | None, key: str | None) -> bytes | None:
        if text is not None:
            return text.encode()
        return None if key is None else await self._stores.s3(job.tenant_id).get(key)


def _standing(job: JobRecord) -> tuple[int, Status, bool]:
    """Return what a change is decided on: see steps.under."""
    return job.fence, job.status, job.waiting_since_at is not None


def _payload_key(job: JobRecord, name: str) -> str:
    return f"{tables.tenant_prefix(job.tenant_id)}jobs/{job.job_id}/{name}"
