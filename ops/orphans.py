"""Builds what a gateway does about processes that die: it keeps a lease of its own and takes over what others leave."""

from collections.abc import Sequence

from gateway.invoke import RequestPath
from gateway.journal import Journal, WriteBatch
from gateway.orphans import Orphans
from gateway.processes import Standing, Watch
from gateway.replay import Replays
from gateway.takeover import Takeovers
from ops.wiring import Floor
from tenancy.data_models import TenantItem
from tenancy.ids import TenantId
from tenancy.store import TenantStores


def sure_writer(standing: Standing, stores: TenantStores) -> WriteBatch:
    """Return what writes the journal's batches, and holds them back while this process may have been taken for dead."""

    async def write(tenant_id: TenantId, items: Sequence[TenantItem]) -> None:
        if not standing.sure:
            await standing.settled()
        await stores.db(tenant_id).put_batch(items)

    return write


async def leave(standing: Standing, journal: Journal) -> None:
    """Give the lease back, unless something could not be written: then others have to close what is open."""
    if journal.empty:
        await standing.leave()


def orphans(base: Floor, path: RequestPath, replays: Replays) -> Orphans:
    """Return what takes over, with the parts that serve this process's own invocations."""
    takeovers = Takeovers(
        catalog=path.catalog,
        tenants=path.tenants,
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
        metrics=base.metrics,
    )
