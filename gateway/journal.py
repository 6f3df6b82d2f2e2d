"""Records of invocations and sessions, written in small shared batches beside the traffic.

Group commit, one lane per tenant: what is put while a batch is on its way joins the next one, so a busy tenant
costs one DynamoDB call per 25 records and a quiet one waits LINGER_S at most. A lane writes one batch at a time,
so that an item's later state never loses to an earlier one. A batch never mixes tenants: it goes through that
tenant's own door.

A caller that waits for its record (the one that must exist before a first byte is sent) is told of a failure. What
nobody waits for is kept and tried again until it is written; the number of records held is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.errors import JournalFullError
from tenancy.clock import Clock
from tenancy.data_models import Key, TenantItem
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.tables import Table

LINGER_S: Final = 0.005
BATCH: Final = 25
CAPACITY: Final = 20_000
RETRY_S: Final = (0.1, 0.4, 1.5)

T = TypeVar("T", bound=TenantItem)
# Writes at most BATCH items of one tenant; raises StoreUnavailableError.
WriteBatch = Callable[[TenantId, Sequence[TenantItem]], Awaitable[None]]
_log = structlog.get_logger("gateway.journal")


@dataclass(slots=True)
class _Entry:
    """An item's newest state, and who waits for it to be stored."""

    item: TenantItem
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


@dataclass(slots=True)
class _Lane:
    """One tenant's unwritten records, by table and key; those in `flying` are on their way."""

    waiting: dict[tuple[Table, Key], _Entry] = field(default_factory=dict)
    flying: dict[tuple[Table, Key], _Entry] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """Takes records to be stored soon, and knows those not stored yet."""

    def __init__(self, write: WriteBatch, clock: Clock, metrics: CollectorRegistry) -> None:
        self._write_batch = write
        self._clock = clock
        self._lanes: dict[TenantId, _Lane] = {}
        self._held = 0
        self._batches = Counter(
            "lockgate_journal_batches_total", "Batches written, by outcome", ["outcome"], registry=metrics
        )
        self._records = Counter("lockgate_journal_records_total", "Records written", registry=metrics)
        Gauge("lockgate_journal_held", "Records not written yet", registry=metrics).set_function(lambda: self._held)

    def put(self, item: TenantItem) -> None:
        """Store the item with its tenant's next batch, trying until it is written."""
        self._enter(item)

    def stored(self, item: TenantItem) -> asyncio.Future[None]:
        """Store the item with the next batch; the future is done once it is durable.

        The future raises StoreUnavailableError. Raises JournalFullError at once where too much is held already.
        """
        if self._held >= CAPACITY:
            raise JournalFullError
        waiter = asyncio.get_running_loop().create_future()
        self._enter(item).waiters.append(waiter)
        return waiter

    def pending(self, model: type[T], tenant_id: TenantId, record_id: str) -> T | None:
        """Return a tenant's record in its newest state where that is not stored yet."""
        lane = self._lanes.get(tenant_id)
        if lane is None:
            return None
        place = (model.TABLE, model.key_of(tenant_id, record_id))
        entry = lane.waiting.get(place) or lane.flying.get(place)
        return entry.item if entry is not None and isinstance(entry.item, model) else None

    async def flush(self) -> None:
        """Return once nothing is left to write; the caller bounds the wait, for the store may be away."""
        while tasks := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            for lane in self._lanes.values():
                lane.full.set()
            await asyncio.wait(tasks)

    def _enter(self, item: TenantItem) -> _Entry:
        lane = self._lanes.setdefault(item.tenant_id, _Lane())
        place = (item.TABLE, item.key())
        entry = lane.waiting.get(place)
        if entry is None:
            entry = lane.waiting[place] = _Entry(item)
            self._held += 1
        entry.item = item
        if len(lane.waiting) >= BATCH:
            lane.full.set()
        if lane.task is None:
            # The lane outlives the request that opens it: it must not inherit that request's scope.
            lane.task = asyncio.get_running_loop().create_task(self._run(item.tenant_id, lane), context=Context())
        return entry

    async def _run(self, tenant_id: TenantId, lane: _Lane) -> None:
        failures = 0
        try:
            while lane.waiting:
                await self._linger(lane)
                if await self._write(tenant_id, lane):
                    failures = 0
                    continue
                await self._clock.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
        finally:
            del self._lanes[tenant_id]

    async def _linger(self, lane: _Lane) -> None:
        if len(lane.waiting) < BATCH:
            lane.full.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(lane.full.wait(), LINGER_S)

    async def _write(self, tenant_id: TenantId, lane: _Lane) -> bool:
        for place in list(lane.waiting)[:BATCH]:
            lane.flying[place] = lane.waiting.pop(place)
        try:
            await self._write_batch(tenant_id, [entry.item for entry in lane.flying.values()])
        except StoreUnavailableError as failure:
            self._batches.labels("failed").inc()
            _log.warning("journal batch failed", tenant=tenant_id, records=len(lane.flying))
            self._land(lane, failure, again=True)
            return False
        except Exception as failure:
            # A batch the store can never take must not stop the lane, nor leave anyone waiting for it.
            self._batches.labels("refused").inc()
            _log.exception("journal batch refused", tenant=tenant_id, records=len(lane.flying))
            self._land(lane, failure)
            return True
        self._batches.labels("written").inc()
        self._records.inc(len(lane.flying))
        self._land(lane, None)
        return True

    def _land(self, lane: _Lane, failure: Exception | None, *, again: bool = False) -> None:
        """Settle the batch that was flying; to be tried `again`, what nobody waits for goes back to the queue."""
        for place, entry in lane.flying.items():
            for waiter in entry.waiters:
                if not waiter.done():
                    _settle(waiter, failure)
            newer = lane.waiting.get(place)
            if again and not entry.waiters and newer is None:
                lane.waiting[place] = entry
            else:
                self._held -= 1
        lane.flying = {}


def _settle(waiter: asyncio.Future[None], failure: Exception | None) -> None:
    if failure is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(failure)
        # A caller that has left meanwhile never looks: that is no error of its own.
        waiter.exception()
