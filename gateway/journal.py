"""Records of invocations and sessions, written in shared batches beside the traffic.

Group commit, one lane per tenant: what is put while a batch is on its way joins the next one. What somebody waits for
(the record that must exist before a first byte is sent) goes at once while callers come one by one, and is gathered
for GATHER_S once they come together, so a busy tenant costs one DynamoDB call for many records. What nobody waits for
rides along, or goes after LINGER_S. A lane writes one batch at a time, so that an item's later state never loses to an
earlier one; two states that meet before the first is written are one write. A batch never mixes tenants: it goes
through that tenant's own door.

A caller that waits is told of a failure. What nobody waits for is kept and tried again until it is written; the number
of records held is bounded.

A process that is killed loses what nobody waited for and was put within the last LINGER_S and the time of one write,
longer while the store is away: a stream's end, whose record then stays as it began. It never loses what a caller was
told of: a record is durable before its first byte, a sync answer's record with its end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.errors import JournalFullError
from tenancy.clock import Clock
from tenancy.data_models import Key, TenantItem
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.tables import Table

GATHER_S: Final = 0.01
LINGER_S: Final = 0.1
BATCH: Final = 25
CAPACITY: Final = 20_000
RETRY_S: Final = (0.1, 0.4, 1.5)

T = TypeVar("T", bound=TenantItem)
# Writes at most BATCH items of one tenant; raises StoreUnavailableError.
WriteBatch = Callable[[TenantId, Sequence[TenantItem]], Awaitable[None]]
_log = structlog.get_logger("gateway.journal")


@dataclass(slots=True)
class _Entry:
    """An item's newest state, and who waits for it to be stored; one that is wanted `soon` does not linger."""

    item: TenantItem
    soon: bool = False
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


@dataclass(slots=True)
class _Lane:
    """One tenant's unwritten records, by table and key; those in `flying` are on their way."""

    waiting: dict[tuple[Table, Key], _Entry] = field(default_factory=dict)
    flying: dict[tuple[Table, Key], _Entry] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    # Something is wanted soon; and there is enough for a batch.
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """Takes records to be stored soon, and knows those not stored yet."""

    def __init__(self, write: WriteBatch, clock: Clock, metrics: CollectorRegistry) -> None:
        self._write_batch = write
        self._clock = clock
        self._lanes: dict[TenantId, _Lane] = {}
        self._held = 0
        # Whether the last batch had more than one caller waiting for it: then it is worth gathering them.
        self._crowded = False
        self._batches = Counter(
            "lockgate_journal_batches_total", "Batches written, by outcome", ["outcome"], registry=metrics
        )
        self._records = Counter("lockgate_journal_records_total", "Records written", registry=metrics)
        Gauge("lockgate_journal_held", "Records not written yet", registry=metrics).set_function(lambda: self._held)

    def put(self, item: TenantItem, *, soon: bool = False) -> None:
        """Store the item with one of its tenant's next batches, trying until it is written."""
        self._enter(item, soon=soon)

    def stored(self, item: TenantItem) -> asyncio.Future[None]:
        """Store the item with the next batch; the future is done once it is durable.

        The future raises StoreUnavailableError. Raises JournalFullError at once where too much is held already.
        """
        self.check_room()
        waiter = asyncio.get_running_loop().create_future()
        self._enter(item, soon=True).waiters.append(waiter)
        return waiter

    def check_room(self) -> None:
        """Raise JournalFullError where too much is held already."""
        if self._held >= CAPACITY:
            raise JournalFullError

    @property
    def empty(self) -> bool:
        """Whether nothing is left to write."""
        return self._held == 0

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
                lane.wanted.set()
                lane.full.set()
            await asyncio.wait(tasks)

    def _enter(self, item: TenantItem, *, soon: bool) -> _Entry:
        lane = self._lanes.get(item.tenant_id)
        if lane is None:
            lane = self._lanes[item.tenant_id] = _Lane()
        place = (item.TABLE, item.key())
        entry = lane.waiting.get(place)
        if entry is None:
            entry = lane.waiting[place] = _Entry(item)
            self._held += 1
        entry.item = item
        if soon:
            entry.soon = True
            lane.wanted.set()
        if len(lane.waiting) >= BATCH:
            lane.wanted.set()
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
        """Return once a batch is worth writing."""
        await _set_within(lane.wanted, LINGER_S)
        if self._crowded:
            await _set_within(lane.full, GATHER_S)

    async def _write(self, tenant_id: TenantId, lane: _Lane) -> bool:
        for place in tuple(islice(lane.waiting, BATCH)):
            lane.flying[place] = lane.waiting.pop(place)
        if len(lane.waiting) < BATCH:
            lane.full.clear()
            if not any(entry.soon for entry in lane.waiting.values()):
                lane.wanted.clear()
        self._crowded = sum(len(entry.waiters) for entry in lane.flying.values()) > 1
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


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    if not event.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _settle(waiter: asyncio.Future[None], failure: Exception | None) -> None:
    if failure is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(failure)
        # A caller that has left meanwhile never looks: that is no error of its own.
        waiter.exception()
