"""Cancelling an invocation, whichever process serves it.

The order is stored first, then announced: the process that serves the invocation ends it. Should that process be
gone, or not hear, the runtime session is stopped here. Whoever serves it sees its answer break and finds the order;
who takes it over from a process that has died finds it as well. So there is one who writes how it ended.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Final

import structlog
from boto3.dynamodb.conditions import Attr

from agents.catalog import Catalog
from agents.errors import AgentUnknownError, RuntimeFaultError
from gateway.errors import NotFoundError
from gateway.invoke import Stopper
from gateway.journal import Journal
from gateway.live import LiveInvocations
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import InvocationRecord, Status
from tenancy.errors import ConditionFailedError, InvalidIdError, StoreUnavailableError
from tenancy.ids import InvocationId, TenantId, parse_invocation_id, parse_tenant_id
from tenancy.store import TenantStores

CHANGE: Final = "cancel"
# How long the serving process has to carry the order out before another one does.
PATIENCE_S: Final = 2.0
_RUNNING: Final = Attr("status").eq(Status.RUNNING.value)

_log = structlog.get_logger("gateway.cancel")


class Cancellations:
    """Finds invocations and cancels them."""

    def __init__(
        self,
        *,
        stores: TenantStores,
        journal: Journal,
        live: LiveInvocations,
        changes: ChangeFeed,
        catalog: Catalog,
        stopper: Stopper,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._journal = journal
        self._live = live
        self._changes = changes
        self._catalog = catalog
        self._stopper = stopper
        self._clock = clock
        self._following: set[asyncio.Task[None]] = set()
        changes.on(CHANGE, self._heard)

    async def find(self, tenant_id: TenantId, invocation_id: InvocationId) -> InvocationRecord:
        """Return a tenant's record in its newest state; raises NotFoundError."""
        pending = self._journal.pending(InvocationRecord, tenant_id, invocation_id)
        if pending is not None:
            return pending
        key = InvocationRecord.key_of(tenant_id, invocation_id)
        record = await self._stores.db(tenant_id).get(InvocationRecord, key, consistent=True)
        if record is None:
            raise NotFoundError
        return record

    async def cancel(self, tenant_id: TenantId, invocation_id: InvocationId) -> InvocationRecord:
        """Order a stop and return the record, unchanged where it is terminal; raises NotFoundError."""
        record = await self.find(tenant_id, invocation_id)
        if record.status.terminal:
            return record
        now = self._clock.now()
        if self._live.cancel(tenant_id, invocation_id):
            return record.model_copy(update={"cancel_requested_at": now})
        try:
            ordered = await self._stores.db(tenant_id).update(
                InvocationRecord, record.key(), {"cancel_requested_at": now.isoformat()}, condition=_RUNNING
            )
        except ConditionFailedError:
            return await self.find(tenant_id, invocation_id)
        await self._changes.publish(CHANGE, f"{tenant_id}/{invocation_id}")
        following = asyncio.get_running_loop().create_task(self._follow(ordered), context=Context())
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return ordered

    async def aclose(self) -> None:
        """Wait for the orders that are being followed up."""
        await asyncio.gather(*self._following, return_exceptions=True)

    def _heard(self, key: str) -> None:
        tenant, _, invocation = key.partition("/")
        with suppress(InvalidIdError):
            self._live.cancel(parse_tenant_id(tenant), parse_invocation_id(invocation))

    async def _follow(self, ordered: InvocationRecord) -> None:
        """Stop the agent here if nobody else did."""
        await self._clock.sleep(PATIENCE_S)
        with suppress(AgentUnknownError, RuntimeFaultError, StoreUnavailableError):
            record = await self.find(ordered.tenant_id, ordered.invocation_id)
            if record.status.terminal:
                return
            _log.warning("cancel carried out for another process", tenant=record.tenant_id, id=record.invocation_id)
            await self._stopper.stop(await self._catalog.get(record.agent, record.agent_version), record.session_id)
