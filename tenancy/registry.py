"""The tenants: created and changed by operators, read on every request from a local copy.

Copies are renewed after 30 s, dropped at once by word of a change, and served for at most 5 minutes while the store
is away. Where word of changes does not come through, a copy is looked up anew after 1.5 s: a change is in force on
every process within 2 s either way. Reads are consistent: a copy loaded after word of a change holds that change.
No change is lost to another one: each is stored only upon the very version it was made from.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from boto3.dynamodb.conditions import Attr

from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import Tenant, TenantStatus
from tenancy.errors import (
    ConditionFailedError,
    TenantChangedError,
    TenantDeletedError,
    TenantExistsError,
    TenantStateError,
    TenantSuspendedError,
    TenantUnknownError,
)
from tenancy.ids import TenantId
from tenancy.snapshots import Snapshots
from tenancy.steps import NEW, PutStep
from tenancy.store import TenantStores

FRESH_S: Final = 30.0
STALE_S: Final = 300.0
COPIES: Final = 10_000
# How long what a deleted tenant had is kept, so that it can be restored.
GRACE: Final = timedelta(days=30)
# What a tenant is said to be once its erasure has begun.
ERASING: Final = "erasing"

KIND: Final = "tenant"
# How often a change that names no version is made anew upon what another one left.
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Changed:
    """A tenant before and after a change; the same where there was nothing to change."""

    before: Tenant
    after: Tenant


Write: TypeAlias = Callable[[Tenant | None, Tenant, PutStep], Awaitable[None]]
"""Stores a tenant as `before` and `after` are told, by the step; raises ConditionFailedError where that fails."""


class TenantRegistry:
    """Create, change and read tenants, the latter cached; `aclose` ends the reads under way."""

    def __init__(self, stores: TenantStores, changes: ChangeFeed, *, clock: Clock) -> None:
        self._stores = stores
        self._changes = changes
        self._clock = clock
        self._copies = Snapshots(
            self._load,
            clock=clock,
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            size=COPIES,
            sighted=lambda: changes.current,
        )
        changes.on(KIND, lambda key: self.invalidate(TenantId(key)))
        changes.on_gap(self._copies.clear)

    @property
    def copies(self) -> Snapshots[TenantId, Tenant]:
        """Its copies, for metrics."""
        return self._copies

    def peek(self, tenant_id: TenantId) -> Tenant | None:
        """Return the tenant if a fresh copy is at hand; None says nothing about the tenant."""
        return self._copies.peek(tenant_id)

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Return the tenant, whatever its status; raises TenantUnknownError, StoreUnavailableError."""
        return _known(await self._copies.get(tenant_id))

    async def require_active(self, tenant_id: TenantId) -> None:
        """Raise TenantSuspendedError, TenantDeletedError unless the tenant may be served now.

        Raises TenantUnknownError, StoreUnavailableError too.
        """
        require_served(await self.get(tenant_id))

    async def read(self, tenant_id: TenantId) -> Tenant:
        """Return the tenant as last written, from the store; raises TenantUnknownError, StoreUnavailableError."""
        return _known(await self._load(tenant_id))

    async def create(self, tenant: Tenant, write: Write | None = None) -> None:
        """Store a new tenant, by `write` where told how; raises TenantExistsError, StoreUnavailableError."""
        try:
            await (write or self._put)(None, tenant, PutStep(tenant, NEW))
        except ConditionFailedError:
            raise TenantExistsError from None
        await self._announce(tenant.tenant_id)

    async def update(
        self,
        tenant_id: TenantId,
        edit: Callable[[Tenant], Tenant],
        *,
        version: int | None = None,
        write: Write | None = None,
    ) -> Changed:
        """Store what `edit` makes of the tenant, by `write` where told how; `version` is the one it must still have.

        Raises TenantChangedError where it has another, TenantUnknownError, StoreUnavailableError.
        """
        for _ in range(TRIES):
            before = await self.read(tenant_id)
            if version not in (None, before.version):
                raise TenantChangedError
            after = edit(before)
            if after != before:
                risen = {"version": before.version + 1, "updated_at": self._clock.now()}
                after = after.model_copy(update=risen)
                try:
                    await (write or self._put)(before, after, PutStep(after, Attr("version").eq(before.version)))
                except ConditionFailedError:
                    continue
            # Word of a change made before may be lost with the process that made it: asking again brings it.
            await self._announce(tenant_id)
            return Changed(before, after)
        raise TenantChangedError

    async def suspend(self, tenant_id: TenantId, reason: str, *, write: Write | None = None) -> Changed:
        """Refuse an active tenant from now on; raises TenantStateError for a deleted one, and as `update` does."""
        return await self._turn(tenant_id, TenantStatus.ACTIVE, TenantStatus.SUSPENDED, reason, write)

    async def reinstate(self, tenant_id: TenantId, reason: str, *, write: Write | None = None) -> Changed:
        """Serve a suspended tenant again; raises TenantStateError for a deleted one, and as `update` does."""
        return await self._turn(tenant_id, TenantStatus.SUSPENDED, TenantStatus.ACTIVE, reason, write)

    async def delete(self, tenant_id: TenantId, reason: str, *, write: Write | None = None) -> Changed:
        """Refuse a tenant from now on and have it erased once the grace is over; raises as `update` does."""

        def edit(tenant: Tenant) -> Tenant:
            if tenant.status is TenantStatus.DELETED:
                return tenant
            now = self._clock.now()
            return tenant.model_copy(
                update={
                    "status": TenantStatus.DELETED,
                    "status_reason": reason,
                    "deleted_at": now,
                    "deleted_from": tenant.status,
                    "erase_after_at": now + GRACE,
                }
            )

        return await self.update(tenant_id, edit, write=write)

    async def restore(self, tenant_id: TenantId, reason: str, *, write: Write | None = None) -> Changed:
        """Make a deleted tenant what it was; raises TenantStateError once it is being erased, and as `update` does."""

        def edit(tenant: Tenant) -> Tenant:
            if tenant.erasing_at is not None:
                raise TenantStateError(ERASING)
            if tenant.status is not TenantStatus.DELETED:
                return tenant
            return tenant.model_copy(
                update={
                    "status": tenant.deleted_from or TenantStatus.ACTIVE,
                    "status_reason": reason,
                    "deleted_at": None,
                    "deleted_from": None,
                    "erase_after_at": None,
                }
            )

        return await self.update(tenant_id, edit, write=write)

    async def condemn(self, tenant_id: TenantId) -> Tenant:
        """Have a deleted tenant never come back, and return it; raises TenantStateError, and as `update` does."""

        def edit(tenant: Tenant) -> Tenant:
            if tenant.status is not TenantStatus.DELETED:
                raise TenantStateError(tenant.status)
            return tenant if tenant.erasing_at else tenant.model_copy(update={"erasing_at": self._clock.now()})

        return (await self.update(tenant_id, edit)).after

    async def forget(self, tenant_id: TenantId) -> None:
        """Have every process forget a tenant that is no more."""
        await self._announce(tenant_id)

    def invalidate(self, tenant_id: TenantId) -> None:
        """Forget this process's copy."""
        self._copies.invalidate(tenant_id)

    async def aclose(self) -> None:
        """End the reads under way."""
        await self._copies.aclose()

    async def _turn(
        self, tenant_id: TenantId, old: TenantStatus, new: TenantStatus, reason: str, write: Write | None
    ) -> Changed:
        def edit(tenant: Tenant) -> Tenant:
            if tenant.status is TenantStatus.DELETED:
                raise TenantStateError(tenant.status)
            if tenant.status is not old:
                return tenant
            return tenant.model_copy(update={"status": new, "status_reason": reason})

        return await self.update(tenant_id, edit, write=write)

    async def _put(self, _before: Tenant | None, after: Tenant, step: PutStep) -> None:
        await self._stores.db(after.tenant_id).put(after, condition=step.condition)

    async def _announce(self, tenant_id: TenantId) -> None:
        self.invalidate(tenant_id)
        await self._changes.publish(KIND, tenant_id)

    async def _load(self, tenant_id: TenantId) -> Tenant | None:
        key = Tenant.key_of(tenant_id, "METADATA")
        return await self._stores.db(tenant_id).get(Tenant, key, consistent=True)


def require_served(tenant: Tenant) -> None:
    """Raise TenantDeletedError, TenantSuspendedError unless the tenant is active."""
    match tenant.status:
        case TenantStatus.ACTIVE:
            return
        case TenantStatus.SUSPENDED:
            raise TenantSuspendedError
        case TenantStatus.DELETED:
            raise TenantDeletedError


def _known(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise TenantUnknownError
    return tenant
