"""Submitting and cancelling jobs, and asking for their ticks.

A job is durable before its first tick is asked for, and its cancel before the tick that carries it out. A tick's
queue id is the job and the fence it follows, so asking twice for the same look makes one. What is asked for beside
it (a cancel, a sweep) has an id of its own: the first may be locked by a worker that died.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog

from jobs import records
from jobs.errors import QueueUnavailableError
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.store import Cancellation, JobStore
from jobs.ticks import JOBS, WEBHOOKS, TickQueue, Waiting, Wanted
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, Failure, JobRecord, Status
from tenancy.ids import EventId, JobId, TenantId, WebhookId, event_id_of
from tenancy.steps import Step
from webhooks.ticks import DeliveryTick

TICK: Final = "tick"
GATE: Final = "gate"
OUTBOX: Final = "outbox"
DELIVERY: Final = "delivery"

_log = structlog.get_logger("jobs.queue")


class WebhookTicks:
    """Asks for what drives webhooks; `aside` names who asks beside the ordinary course, in an id of its own."""

    def __init__(self, ticks: TickQueue) -> None:
        self._ticks = ticks

    async def outbox(self, tenant_id: TenantId, event_id: EventId, *, at: datetime, aside: str = "") -> None:
        """Have an event fanned out at a time: a webhooks.ticks.AskOutbox."""
        wanted = Wanted(WEBHOOKS, OUTBOX, event_id + aside, (tenant_id, event_id))
        with suppress(QueueUnavailableError):
            await self._ticks.ask(wanted, at=at)

    async def delivery(self, tick: DeliveryTick, *, at: datetime, aside: str = "") -> None:
        """Have an attempt made at a time: a webhooks.ticks.AskDelivery."""
        args = (tick.tenant_id, tick.webhook_id, tick.delivery_id, tick.fence)
        wanted = Wanted(WEBHOOKS, DELIVERY, f"{tick.delivery_id}:{tick.fence}{aside}", args)
        with suppress(QueueUnavailableError):
            await self._ticks.ask(wanted, at=at)


class JobQueue:
    """Stores new jobs and asks for their ticks."""

    def __init__(
        self, store: JobStore, ticks: TickQueue, *, clock: Clock, metrics: JobMetrics, job_timeout_s: float
    ) -> None:
        self._store = store
        self._ticks = ticks
        self._webhooks = WebhookTicks(ticks)
        self._clock = clock
        self._metrics = metrics
        self._job_timeout_s = job_timeout_s

    async def waiting(self) -> Mapping[str, Waiting]:
        """Return what each queue holds, by its name; raises QueueUnavailableError."""
        return {"jobs": await self._ticks.waiting(JOBS), "webhooks": await self._ticks.waiting(WEBHOOKS)}

    async def submit(
        self,
        ctx: TenantContext,
        agent: AgentVersion,
        *,
        body: bytes,
        principal: str,
        request_id: str,
        metadata_json: str | None,
        webhook_id: WebhookId | None,
        traceparent: str | None,
        also: Callable[[JobRecord], Sequence[Step]] = lambda _: (),
    ) -> JobRecord:
        """Store a job for `body`, the input's JSON; it is durable once this returns, whatever Redis does.

        `also` says what goes into the job's own transaction. Raises StoreUnavailableError, and ConditionFailedError
        where a step of `also` was refused: then there is no job.
        """
        accepted = records.accepted(
            ctx,
            agent,
            self._clock.now(),
            timeout_s=self._job_timeout_s,
            principal=principal,
            request_id=request_id,
            metadata_json=metadata_json,
            webhook_id=webhook_id,
            traceparent=traceparent,
        )
        job = await self._store.create(accepted, body, also(accepted))
        self._metrics.submitted.inc()
        try:
            await self.enqueue(Tick(job.tenant_id, job.job_id, job.fence), at=job.created_at)
        except QueueUnavailableError as away:
            _log.warning("job.not_enqueued", tenant=job.tenant_id, job=job.job_id, cause=str(away))
        return job

    async def cancel(self, tenant_id: TenantId, job_id: JobId) -> Cancellation | None:
        """Cancel a job; None where there is no such job of this tenant.

        A queued job has ended once this returns. A running one has `cancel_requested_at`, is stopped soon, and ends
        `cancelled` whatever it came to. One that was over before stands as it stood. Raises StoreUnavailableError.
        """
        done = await self._store.cancel(tenant_id, job_id, self._clock.now())
        if done is None or done.was_over:
            return done
        job, now = done.job, self._clock.now()
        if job.status.terminal:
            self._metrics.ended.labels(job.status.value).inc()
            _log.info("job.cancelled_in_queue", tenant=tenant_id, job=job_id)
            await self._webhooks.outbox(tenant_id, event_id_of(job_id), at=now)
        else:
            with suppress(QueueUnavailableError):
                await self.enqueue(Tick(tenant_id, job_id, job.fence), at=now, aside=":cancel")
        return done

    async def fail(self, job: JobRecord, error: Failure, also: Sequence[Step]) -> JobRecord:
        """End a queued job as failed, together with `also`.

        Raises LeaseLostError where it is queued no more, ConditionFailedError where a step of `also` was refused.
        """
        now = self._clock.now()
        ended = await self._store.end(job, records.ended(job, Status.FAILED, now, error=error), also=also)
        self._metrics.ended.labels(ended.status.value).inc()
        await self._webhooks.outbox(job.tenant_id, event_id_of(job.job_id), at=now)
        return ended

    async def enqueue(self, tick: Tick, *, at: datetime, aside: str = "") -> None:
        """Ask for a tick at a time; asking again for the same one changes nothing.

        Raises QueueUnavailableError; the tick is then owed.
        """
        args = (tick.tenant_id, tick.job_id, tick.fence, tick.faults)
        await self._ticks.ask(Wanted(JOBS, TICK, f"{tick.job_id}:{tick.fence}{aside}", args), at=at)

    async def gate(self, tenant_id: TenantId, *, at: datetime, aside: str = "") -> None:
        """Have a tenant's gate looked at; raises QueueUnavailableError; the tick is then owed."""
        await self._ticks.ask(Wanted(JOBS, GATE, f"gate:{tenant_id}{aside}", (tenant_id,)), at=at)
