"""Who may work on a job: a short lease and a fence that rises with every claim.

Each tick names the fence it follows. It may claim the job if nobody has since (then the lease is free), or if
whoever did has let its lease run out (then that worker is dead or cut off). The store compares the fence on every
later write, so a worker that lost its lease cannot be heard, however late it wakes.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from boto3.dynamodb.conditions import Attr

from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.data_models import JobRecord, Status
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.ids import JobId, TenantId

LEASE_S: Final = 30
# Two renewals may fail before the lease is lost.
HEARTBEAT_S: Final = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at one job, due after its fence-th claim; `faults` upstream faults in a row came before it."""

    tenant_id: TenantId
    job_id: JobId
    fence: int
    faults: int = 0


class Leases:
    """Claims jobs for one worker."""

    def __init__(self, store: JobStore, clock: Clock, *, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner

    async def claim(self, tick: Tick) -> JobRecord | None:
        """Return the job under a new fence; None where the tick is stale, the job is held, gone, or has ended."""
        free = Attr("lease_until_at").not_exists() & Attr("fence").eq(tick.fence)
        run_out = Attr("lease_until_at").lt(_text(self._clock.now()))
        standing = Attr("status").is_in([Status.QUEUED.value, Status.RUNNING.value])
        claimant = f"{self._owner}#{secrets.token_hex(4)}"
        lease = {"lease_owner": claimant, "lease_until_at": _text(self._until())}
        try:
            return await self._store.claim(tick.tenant_id, tick.job_id, lease=lease, when=standing & (free | run_out))
        except (ConditionFailedError, StoreUnavailableError) as refused:
            # It may have been done and its answer lost; a repeat then ran into it.
            job = await self._store.get(tick.tenant_id, tick.job_id, consistent=True)
            if job is not None and job.lease_owner == claimant:
                return job
            if isinstance(refused, StoreUnavailableError):
                raise
            return None

    async def while_held(self, job: JobRecord, work: Coroutine[None, None, T]) -> T:
        """Return what `work` returns, renewing the lease meanwhile; raises LeaseLostError once it cannot be."""
        working = asyncio.ensure_future(work)
        beating = asyncio.ensure_future(self._beat(job))
        try:
            await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                beating.result()
            return await working
        finally:
            working.cancel()
            beating.cancel()
            await asyncio.gather(working, beating, return_exceptions=True)

    async def _beat(self, job: JobRecord) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_S)
            # A store that is away for a moment is asked again at the next beat; the fence guards what it misses.
            with suppress(StoreUnavailableError):
                await self._store.save(job, job.model_copy(update={"lease_until_at": self._until()}))

    def _until(self) -> datetime:
        return self._clock.now().replace(microsecond=0) + timedelta(seconds=LEASE_S)


def _text(moment: datetime) -> str:
    # Whole seconds, as the models write them: of one width, so that the store's comparison of text is one of time.
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
