"""Erasing a tenant: everything it has, in steps that can be cut off anywhere, until nothing that is stored names it.

Begun only once nothing of the tenant runs and nobody lets it in any more, so what is gone does not come back. What is
there when it begins is counted once. Then all is removed, the tenant itself last; and everything that is stored, of
all tenants and of the platform, is searched for its name. Whatever is found is removed and the search begun anew:
only a search that finds nothing from its first place to its last is an end, and only then is there a certificate.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson
from pydantic import JsonValue

from tenancy import tables
from tenancy.chain import AuditChain, digest, moment_text
from tenancy.clock import Clock
from tenancy.data_models import ErasedPart, Erasure, Key, ReleaseState, Tenant, TenantStatus
from tenancy.errors import TenantBusyError, TenantKeptError, TenantStateError
from tenancy.estate import BATCH, PLACES, Estate, Place
from tenancy.ids import AgentName, TenantId
from tenancy.platform_store import PlatformStore
from tenancy.registry import TenantRegistry
from tenancy.tables import Table

OBJECTS: Final = "objects"
REDIS: Final = "redis"
# The tenant itself goes last: until then every process finds that it is deleted.
_ORDER: Final = (*(table for table in tables.TENANT_TABLES if table != tables.TENANTS), None, tables.TENANTS)
_NAMED: Final = (tables.IDENTITY_BINDINGS, tables.KEY_HASHES, tables.AGENTS)
# A version that was invoked is the platform's history; it stays without saying whose developers registered it.
_RELEASED: Final = frozenset({ReleaseState.PROMOTED, ReleaseState.ROLLED_BACK, ReleaseState.DISABLED})

ForgetSessions = Callable[[TenantId], Awaitable[None]]
"""Has a tenant's runtime sessions counted no more. Raises StoreUnavailableError."""


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases tenants. Every method raises StoreUnavailableError: ask again, it goes on where it was."""

    estate: Estate
    registry: TenantRegistry
    platform: PlatformStore
    chain: AuditChain
    forget_sessions: ForgetSessions
    clock: Clock
    # Longer than anything that has let the tenant in may go on without looking again.
    quiet: timedelta

    async def inventory(self, tenant_id: TenantId) -> tuple[ErasedPart, ...]:
        """Count what a tenant has, place by place; nothing is changed."""
        parts = [(table.name, await self.estate.count(tenant_id, table)) for table in tables.TENANT_TABLES]
        parts += [(table.name, await self._named(tenant_id, Place(table))) for table in _NAMED]
        parts.append((OBJECTS, sum([len(page) async for page in self.estate.objects(tenant_id)])))
        parts.append((REDIS, len(await self.estate.remembered(tenant_id))))
        return tuple(ErasedPart(place=place, items=items) for place, items in parts)

    async def require_erasable(self, tenant: Tenant, *, force: bool) -> None:
        """Raise TenantStateError, TenantKeptError, TenantBusyError unless its erasure may begin now."""
        now, deleted_at, kept_until = self.clock.now(), tenant.deleted_at, tenant.erase_after_at
        if tenant.status is not TenantStatus.DELETED or deleted_at is None or kept_until is None:
            raise TenantStateError(tenant.status)
        if now < kept_until and not force:
            raise TenantKeptError(moment_text(kept_until))
        if now < deleted_at + self.quiet or await self.estate.running(tenant.tenant_id):
            raise TenantBusyError

    async def begun(self, tenant_id: TenantId, actor: str, reason: str, request_id: str, *, force: bool) -> Erasure:
        """Return a new erasure of a tenant that from now on cannot be restored; raises as `require_erasable`."""
        tenant = await self.registry.read(tenant_id)
        await self.require_erasable(tenant, force=force)
        tenant = await self.registry.condemn(tenant_id)
        head, now = await self.chain.head(tenant_id), self.clock.now()
        return Erasure(
            tenant_id=tenant_id,
            actor=actor,
            reason=reason,
            request_id=request_id,
            forced=tenant.erase_after_at is None or now < tenant.erase_after_at,
            deleted_at=tenant.deleted_at or now,
            began_at=now,
            found=await self.inventory(tenant_id),
            chain_seq=0 if head is None else head.seq,
            chain_sha256=None if head is None else head.sha256,
        )

    async def advance(self, erasure: Erasure, *, until_s: float) -> tuple[Erasure, bool]:
        """Remove and search until the clock says `until_s`; tells how far it came, and whether nothing was left.

        How far the search has come is stored, and one that was over is begun anew. Raises ConditionFailedError where
        another one has gone on meanwhile.
        """
        tenant_id = erasure.tenant_id
        if not await self._cleared(tenant_id, until_s):
            return erasure, False
        number, start = erasure.surveyed % len(PLACES), _read(erasure.surveyed_to)
        while number < len(PLACES):
            found, start = await self.estate.survey(tenant_id, PLACES[number], start)
            if found:
                await self._remove(tenant_id, PLACES[number].table, found)
                number, start = 0, None
            elif start is None:
                number += 1
            if number < len(PLACES) and self.clock.monotonic() >= until_s:
                return await self._noted(erasure, number, start), False
        # Neither has a partition that could be searched beside the tenant's own.
        if await self._objects(tenant_id, until_s) and not await self.estate.remembered(tenant_id):
            return await self._noted(erasure, number, None), True
        return await self._noted(erasure, 0, None), False

    async def _cleared(self, tenant_id: TenantId, until_s: float) -> bool:
        """Remove what a tenant has; tells whether that was all before the time was over."""
        for table in _ORDER:
            if table is None:
                if not await self._objects(tenant_id, until_s):
                    return False
                await self.estate.forget(await self.estate.remembered(tenant_id))
                await self.forget_sessions(tenant_id)
            elif not await self._items(tenant_id, table, until_s):
                return False
        return True

    async def _items(self, tenant_id: TenantId, table: Table, until_s: float) -> bool:
        removed = False
        async for page in self.estate.items(tenant_id, table):
            keys = [Key(item[tables.PARTITION_KEY]["S"], item[tables.SORT_KEY]["S"]) for item in page]
            for first in range(0, len(keys), BATCH):
                await self.estate.remove(tenant_id, table, keys[first : first + BATCH])
                removed = True
                if self.clock.monotonic() >= until_s:
                    return False
        if removed and table == tables.TENANTS:
            await self.registry.forget(tenant_id)
        return True

    async def _objects(self, tenant_id: TenantId, until_s: float) -> bool:
        async for held in self.estate.objects(tenant_id):
            await self.estate.remove_objects(tenant_id, held)
            if self.clock.monotonic() >= until_s:
                return False
        return True

    async def _named(self, tenant_id: TenantId, place: Place) -> int:
        """Count what names a tenant in one place."""
        counted, start = 0, None
        while True:
            found, start = await self.estate.survey(tenant_id, place, start)
            counted += len(found)
            if start is None:
                return counted

    async def _remove(self, tenant_id: TenantId, table: Table, found: Sequence[Key]) -> None:
        own = tables.tenant_partition(tenant_id)
        mine = [key for key in found if key.partition == own]
        for first in range(0, len(mine), BATCH):
            await self.estate.remove(tenant_id, table, mine[first : first + BATCH])
        for key in found:
            if key.partition != own and not (table == tables.AGENTS and await self._disowned(key)):
                await self.estate.remove_named(tenant_id, table, key)

    async def _disowned(self, key: Key) -> bool:
        """Have a version that was released say no more whose it was; tells whether it is such a one."""
        name, version = key.partition.removeprefix("AGENT#"), key.sort.removeprefix("VERSION#")
        found = await self.platform.agent_version(AgentName(name), version)
        if found is None or found.state not in _RELEASED:
            return False
        await self.platform.put_agent_version(found.model_copy(update={"owner": None}))
        return True

    async def _noted(self, erasure: Erasure, number: int, start: Key | None) -> Erasure:
        place = None if start is None else orjson.dumps(tuple(start)).decode()
        if (number, place) == (erasure.surveyed, erasure.surveyed_to):
            return erasure
        now = erasure.model_copy(update={"surveyed": number, "surveyed_to": place, "version": erasure.version + 1})
        await self.platform.put_erasure(now, seen=erasure)
        return now


def certified(erasure: Erasure, now: datetime) -> Erasure:
    """Return an erasure after which nothing was left as it stays, with its certificate's hash."""
    over = erasure.model_copy(update={"state": "erased", "erased_at": now, "version": erasure.version + 1})
    return over.model_copy(update={"sha256": digest(certificate(over))})


def certificate(erasure: Erasure) -> dict[str, JsonValue]:
    """Return what a deletion certificate says; its `sha256` is of all the other members."""
    return {
        "tenant": erasure.tenant_id,
        "deletedAt": moment_text(erasure.deleted_at),
        "beganAt": moment_text(erasure.began_at),
        "erasedAt": None if erasure.erased_at is None else moment_text(erasure.erased_at),
        "actor": erasure.actor,
        "reason": erasure.reason,
        "requestId": erasure.request_id,
        "forced": erasure.forced,
        "found": [{"place": part.place, "items": part.items} for part in erasure.found],
        "searched": [*map(str, PLACES), OBJECTS, REDIS],
        "remaining": 0,
        "auditChain": {"events": erasure.chain_seq, "sha256": erasure.chain_sha256},
        "sha256": erasure.sha256,
    }


def _read(place: str | None) -> Key | None:
    return None if place is None else Key(*orjson.loads(place))
