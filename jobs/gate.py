"""How many of a tenant's jobs run at once, and which goes next.

A tenant's running jobs are counted in one item, in the transactions that begin and end them, so the count is exact
whoever dies. A job that finds no room waits without a tick of its own: when there is room again, as many of those
that came first are given one. So a tenant's thousandth job costs other tenants nothing.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from jobs import records
from jobs.errors import GateFullError, QueueUnavailableError
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.queue import JobQueue
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.data_models import JobRecord
from tenancy.errors import ConditionFailedError, StoreBusyError
from tenancy.ids import TenantId

# How soon a gate at which jobs wait is looked at again, should everybody who ought to have opened it have died.
LOOK_AGAIN_S: Final = 15.0
# At one look, no more than this many are let in.
_OPENED_AT_ONCE: Final = 100
_DECISIONS: Final = 8

CapOf = Callable[[TenantId], Awaitable[int]]
"""Returns how many jobs of a tenant may run at once; 0 for one that is not served now."""


class Gates:
    """Lets jobs run, tenant by tenant."""

    def __init__(self, store: JobStore, queue: JobQueue, cap_of: CapOf, *, clock: Clock, metrics: JobMetrics) -> None:
        self._store = store
        self._queue = queue
        self._cap_of = cap_of
        self._clock = clock
        self._metrics = metrics

    async def enter(self, job: JobRecord, region: str) -> JobRecord | None:
        """Return a queued job started in a region, or None where it now waits and is out of the worker's hands.

        Raises LeaseLostError, CancelRequestedError.
        """
        cap = await self._cap_of(job.tenant_id)
        for _ in range(_DECISIONS):
            gate, now = await self._store.gate(job.tenant_id, job), self._clock.now()
            # Those who wait came first.
            queues = gate.next_tick_at is not None and job.waiting_since_at is None
            if gate.running < cap and not queues:
                with suppress(GateFullError):
                    started = await self._store.start(job, records.started(job, now, region), cap=cap)
                    self._metrics.started.inc()
                    return started
                continue
            with suppress(ConditionFailedError):
                await self._store.wait(job, records.waiting(job, now), gate, look_at=self._look_at())
                self._metrics.waited.inc()
                if queues:
                    await self.open(job.tenant_id)
                return None
        raise StoreBusyError

    async def open(self, tenant_id: TenantId, aside: str = "") -> str:
        """Give a tick to as many waiting jobs as there is room for, those that came first; say what was found."""
        gate = await self._store.gate(tenant_id)
        if gate.next_tick_at is None:
            return "idle"
        room = min(_OPENED_AT_ONCE, await self._cap_of(tenant_id) - gate.running)
        if room > 0:
            waiting = await self._store.waiting(tenant_id, limit=room)
            if not waiting:
                await self._store.look_again(gate, None)
                return "emptied"
            now = self._clock.now()
            with suppress(QueueUnavailableError):
                for job in waiting:
                    await self._queue.enqueue(Tick(tenant_id, job.job_id, job.fence), at=now, aside=aside)
        if gate.next_tick_at <= self._clock.now():
            await self._store.look_again(gate, self._look_at())
        return "opened" if room > 0 else "full"

    def _look_at(self) -> datetime:
        return self._clock.now() + timedelta(seconds=LOOK_AGAIN_S)
