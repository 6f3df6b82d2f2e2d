"""Ends what this process serves for tenants that may not be served any more.

Whatever may have changed a tenant's standing puts it in doubt: word of a change, a gap in such word, and every tick
without sight of it. A tenant in doubt is looked up, and if it is not active all of its invocations here are ended.
What could not be looked up stays in doubt.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from gateway.live import EndedEarlyError, InvocationDisownedError, InvocationSuspendedError, LiveInvocations
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.errors import StoreUnavailableError, TenantDeletedError, TenantSuspendedError, TenantUnknownError
from tenancy.ids import TenantId
from tenancy.registry import KIND, TenantRegistry

LOOK_AGAIN_S: Final = 0.5
PATIENCE_S: Final = 1.0

_log = structlog.get_logger("gateway.suspensions")


class Suspensions:
    """Follows the standing of the tenants that are being served, while `run` runs."""

    def __init__(self, registry: TenantRegistry, live: LiveInvocations, changes: ChangeFeed, *, clock: Clock) -> None:
        self._registry = registry
        self._live = live
        self._changes = changes
        self._clock = clock
        self._doubted: set[TenantId] = set()
        self._unanswered: set[TenantId] = set()
        self._doubt = asyncio.Event()
        # The registry listens since before: by now its copy is gone.
        changes.on(KIND, lambda key: self._look_at((TenantId(key),)))
        changes.on_gap(lambda: self._look_at(live.tenants()))

    async def run(self) -> None:
        """Look tenants up as they come in doubt, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._remind())

    def _look_at(self, tenants: Iterable[TenantId]) -> None:
        self._doubted.update(tenants)
        self._doubt.set()

    async def _follow(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            tenants = self._doubted & self._live.tenants()
            self._doubted.clear()
            await asyncio.gather(*(self._check(tenant_id) for tenant_id in tenants))

    async def _remind(self) -> None:
        while True:
            await self._clock.sleep(LOOK_AGAIN_S)
            unseen = frozenset[TenantId]() if self._changes.current else self._live.tenants()
            self._look_at(unseen | self._unanswered)
            self._unanswered.clear()

    async def _check(self, tenant_id: TenantId) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._registry.require_active(tenant_id)
        except TenantDeletedError:
            self._end(tenant_id, InvocationDisownedError)
        except (TenantSuspendedError, TenantUnknownError):
            self._end(tenant_id, InvocationSuspendedError)
        except (StoreUnavailableError, TimeoutError):
            self._unanswered.add(tenant_id)

    def _end(self, tenant_id: TenantId, ending: type[EndedEarlyError]) -> None:
        ended = self._live.end_tenant(tenant_id, ending)
        _log.warning("invocations of a tenant that is served no more ended", tenant=tenant_id, count=ended)
