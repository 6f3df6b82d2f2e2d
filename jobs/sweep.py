"""Asks again for what is overdue: Redis may have lost it, or whoever had it may have died.

One process at a time sweeps (see jobs.election); two at once only double ticks. What is owed stands in sparse
indexes, sharded, so nothing is ever scanned. A sweep decides nothing about a job: it only has it looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from jobs.election import Election
from jobs.errors import QueueUnavailableError
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.queue import JobQueue, WebhookTicks
from jobs.store import JobStore
from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import JobGate
from tenancy.errors import InvalidIdError, StoreUnavailableError
from tenancy.ids import parse_delivery_id, parse_event_id, parse_job_id, parse_webhook_id
from tenancy.platform_store import Owed
from tenancy.tables import Table
from webhooks.ticks import DeliveryTick

LOOK_S: Final = 5.0
SWEEP_S: Final = 15.0
# A tick is not overdue while it may still be waiting its turn.
MARGIN_S: Final = 5.0
# What was asked for again and still is overdue after this long is asked for under another id.
ANEW_S: Final = 60.0
# Of one shard of one table, no more than this many are asked for in one sweep.
_LIMIT: Final = 1000
_AT_ONCE: Final = 20
_TABLES: Final = (tables.JOBS, tables.OUTBOX, tables.DELIVERIES)

_log = structlog.get_logger("jobs.sweep")


Ask = Callable[[Owed, datetime, str], Awaitable[str | None]]


class Owing(Protocol):
    """The indexes of what is owed, which span tenants."""

    async def owed(self, table: Table, shard: int, *, before: datetime, limit: int) -> tuple[Owed, ...]:
        """Return what of a shard was owed before a time, the longest owed first."""
        ...


class Sweeper:
    """Sweeps, while this process is the one that does."""

    def __init__(
        self,
        owing: Owing,
        election: Election,
        store: JobStore,
        queue: JobQueue,
        webhooks: WebhookTicks,
        *,
        clock: Clock,
        metrics: JobMetrics,
    ) -> None:
        self._owing = owing
        self._election = election
        self._store = store
        self._queue = queue
        self._webhooks = webhooks
        self._clock = clock
        self._metrics = metrics
        self._swept_at_s: float | None = None
        self._asks: dict[Table, Ask] = {
            tables.JOBS: self._ask_job,
            tables.OUTBOX: self._ask_event,
            tables.DELIVERIES: self._ask_delivery,
        }

    async def run(self) -> None:
        """Look every LOOK_S, sweep every SWEEP_S if elected, until cancelled; then give the lease back."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(LOOK_S)
        finally:
            with suppress(StoreUnavailableError):
                await self._election.resign()

    async def look(self) -> None:
        """Stand for election and, elected and due, sweep once."""
        try:
            elected = await self._election.won()
            self._metrics.leading.set(elected)
            if elected and self._due():
                self._swept_at_s = self._clock.monotonic()
                await self.sweep()
                self._metrics.sweeps.labels("done").inc()
        except (StoreUnavailableError, QueueUnavailableError) as away:
            self._metrics.sweeps.labels(away.code).inc()
            _log.warning("sweep.failed", cause=away.code)
        except Exception:
            # The boundary of a sweep: the next one comes whatever became of this one.
            self._metrics.sweeps.labels("crashed").inc()
            _log.exception("sweep.crashed")

    async def sweep(self) -> int:
        """Ask for the tick of everything overdue; return how much that was."""
        now = self._clock.now()
        found, oldest_s = 0, 0.0
        for table in _TABLES:
            overdue = await self._overdue(table, now - timedelta(seconds=MARGIN_S))
            self._metrics.overdue.labels(table.name).set(len(overdue))
            found += len(overdue)
            oldest_s = max([oldest_s, *((now - owed.at).total_seconds() for owed in overdue)])
            await self._ask_all(table, overdue, now)
        self._metrics.oldest_overdue_s.set(oldest_s)
        if found:
            _log.info("sweep.done", overdue=found, oldest_s=round(oldest_s, 1))
        return found

    def _due(self) -> bool:
        return self._swept_at_s is None or self._clock.monotonic() - self._swept_at_s >= SWEEP_S

    async def _overdue(self, table: Table, before: datetime) -> list[Owed]:
        shards = range(tables.SWEEP_SHARDS)
        found = await asyncio.gather(*(self._owing.owed(table, shard, before=before, limit=_LIMIT) for shard in shards))
        return [owed for shard in found for owed in shard]

    async def _ask_all(self, table: Table, overdue: list[Owed], now: datetime) -> None:
        ask = self._asks[table]
        for start in range(0, len(overdue), _AT_ONCE):
            some = overdue[start : start + _AT_ONCE]
            kinds = await asyncio.gather(*(self._asked(ask, owed, now) for owed in some))
            for kind in kinds:
                if kind is not None:
                    self._metrics.swept.labels(kind).inc()

    async def _asked(self, ask: Ask, owed: Owed, now: datetime) -> str | None:
        aside = f":sweep:{int((now - owed.at).total_seconds() // ANEW_S)}"
        try:
            return await ask(owed, now, aside)
        except InvalidIdError:
            _log.exception("sweep.malformed", tenant=owed.tenant_id)
            return None

    async def _ask_job(self, owed: Owed, now: datetime, aside: str) -> str | None:
        if owed.record_id == JobGate.RECORD_ID:
            await self._queue.gate(owed.tenant_id, at=now, aside=aside)
            return "gate"
        job = await self._store.get(owed.tenant_id, parse_job_id(owed.record_id), consistent=True)
        if job is None or job.next_tick_at is None:
            return None
        if job.lease_until_at is not None and job.lease_until_at >= now:
            # Somebody is at it.
            return None
        await self._queue.enqueue(Tick(job.tenant_id, job.job_id, job.fence), at=now, aside=aside)
        return "job"

    async def _ask_event(self, owed: Owed, now: datetime, aside: str) -> str:
        await self._webhooks.outbox(owed.tenant_id, parse_event_id(owed.record_id), at=now, aside=aside)
        return "event"

    async def _ask_delivery(self, owed: Owed, now: datetime, aside: str) -> str:
        webhook_id, _, delivery_id = owed.record_id.partition("#")
        tick = DeliveryTick(owed.tenant_id, parse_webhook_id(webhook_id), parse_delivery_id(delivery_id))
        await self._webhooks.delivery(tick, at=now, aside=aside)
        return "delivery"
