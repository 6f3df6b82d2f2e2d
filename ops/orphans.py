"""Builds what a gateway does about processes that die: it keeps a lease of its own and takes over what others leave."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from gateway.invoke import RequestPath
from gateway.journal import Journal, WriteBatch
from gateway.orphans import Open, Orphans
from gateway.processes import Standing, Watch
from gateway.replay import Replays
from gateway.takeover import Takeovers
from ops.wiring import Floor
from tenancy.clock import Clock
from tenancy.data_models import TenantItem
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.store import TenantStores

# How long a process that ends waits until the index says that it serves nothing.
LEAVE_S: Final = 2.0
LOOK_AGAIN_S: Final = 0.05

_log = structlog.get_logger("ops.orphans")


def sure_writer(standing: Standing, stores: TenantStores) -> WriteBatch:
    """Return what writes the journal's batches, and holds them back while this process may have been taken for dead.

    What has not come through by then is given up, and not sent again before the process is sure again.
    """

    async def write(tenant_id: TenantId, items: Sequence[TenantItem]) -> None:
        if not standing.sure:
            await standing.settled()
        try:
            async with asyncio.timeout(standing.sure_s):
                await stores.db(tenant_id).put_batch(items)
        except TimeoutError as late:
            raise StoreUnavailableError from late

    return write


async def leave(standing: Standing, journal: Journal, index: Open, clock: Clock) -> None:
    """Give the lease back, unless something is still open on record: then others have to close it."""
    with suppress(StoreUnavailableError, TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            # The index may lag behind what was just written.
            while not journal.empty or await index.open_invocations(standing.process, limit=1):
                await clock.sleep(LOOK_AGAIN_S)
            await standing.leave()
            return
    _log.warning("lease left for others", process=standing.process)


def orphans(base: Floor, path: RequestPath, replays: Replays) -> Orphans:
    """Return what takes over, with the parts that serve this process's own invocations."""
    takeovers = Takeovers(
        catalog=path.catalog,
        tenants=path.tenants,
        stores=path.stores,
        turns=path.turns,
        slots=path.admission.slots,
        journal=path.journal,
        live=path.live,
        logs=path.logs,
        replays=replays,
        interceptors=path.interceptors,
        meters=path.meters,
        attach=base.runtime.attach,
        stopper=path.stopper,
        clock=path.clock,
        durations=path.durations,
        report=path.report,
    )
    return Orphans(
        Watch(base.platform, path.clock, path.standing.process),
        base.platform,
        path.stores,
        takeovers.carry,
        process=path.standing.process,
        clock=path.clock,
        resting=lambda: path.live.draining,
        metrics=base.metrics,
    )
