"""The tenants: created once, read on every request from a local copy.

Copies are renewed after 30 s, dropped at once by word of a change, and served for at most 5 minutes while the store
is away. Reads are consistent: a copy loaded after word of a change holds that change.
"""

from typing import Final

from boto3.dynamodb.conditions import Attr

from tenancy import tables
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import Tenant
from tenancy.errors import TenantUnknownError
from tenancy.ids import TenantId
from tenancy.snapshots import Snapshots
from tenancy.store import TenantStores

FRESH_S: Final = 30.0
STALE_S: Final = 300.0
COPIES: Final = 10_000

KIND: Final = "tenant"


class TenantRegistry:
    """Create tenants and read them, cached; `aclose` ends the reads under way."""

    def __init__(self, stores: TenantStores, changes: ChangeFeed, *, clock: Clock) -> None:
        self._stores = stores
        self._changes = changes
        self._copies = Snapshots(self._load, clock=clock, fresh_s=FRESH_S, stale_s=STALE_S, size=COPIES)
        changes.on(KIND, lambda key: self.invalidate(TenantId(key)))
        changes.on_gap(self._copies.clear)

    def peek(self, tenant_id: TenantId) -> Tenant | None:
        """Return the tenant if a fresh copy is at hand; None says nothing about the tenant."""
        return self._copies.peek(tenant_id)

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Return the tenant, whatever its status; raises TenantUnknownError, StoreUnavailableError."""
        tenant = await self._copies.get(tenant_id)
        if tenant is None:
            raise TenantUnknownError
        return tenant

    async def create(self, tenant: Tenant) -> None:
        """Store a new tenant; raises ConditionFailedError if the id is taken, StoreUnavailableError."""
        door = self._stores.db(tenant.tenant_id)
        await door.put(tenant, condition=Attr(tables.PARTITION_KEY).not_exists())
        self.invalidate(tenant.tenant_id)
        await self._changes.publish(KIND, tenant.tenant_id)

    def invalidate(self, tenant_id: TenantId) -> None:
        """Forget this process's copy."""
        self._copies.invalidate(tenant_id)

    async def aclose(self) -> None:
        """End the reads under way."""
        await self._copies.aclose()

    async def _load(self, tenant_id: TenantId) -> Tenant | None:
        key = Tenant.key_of(tenant_id, "METADATA")
        return await self._stores.db(tenant_id).get(Tenant, key, consistent=True)
