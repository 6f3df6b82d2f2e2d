"""Which tools a tenant may call: the registry of all tools, and what was granted to or withheld from one tenant.

Read on every call from local copies, which word of a change drops; a change is in force everywhere within 2 s. A
tool withheld from a tenant is withheld whatever its tier, one granted is granted whatever its tier.
"""

from collections.abc import Iterable
from typing import Final

from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import Tenant, Tool, ToolOverride
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.snapshots import Snapshots
from tenancy.store import TenantStores

TOOLS_KIND: Final = "tools"
OVERRIDES_KIND: Final = "tool-overrides"
FRESH_S: Final = 30.0
STALE_S: Final = 300.0
COPIES: Final = 10_000
# A tenant's exceptions; more of them than this are not looked at.
OVERRIDES_LIMIT: Final = 200
_ALL: Final = "all"


class ToolRegistry:
    """The tools; one for a process. Everything raises StoreUnavailableError; `aclose` ends the reads under way."""

    def __init__(self, platform: PlatformStore, stores: TenantStores, changes: ChangeFeed, *, clock: Clock) -> None:
        self._platform = platform
        self._stores = stores
        self._changes = changes
        self._tools: Snapshots[str, dict[str, Tool]] = Snapshots(
            self._load_tools,
            clock=clock,
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            size=1,
            sighted=lambda: changes.current,
        )
        self._overrides: Snapshots[TenantId, dict[str, bool]] = Snapshots(
            self._load_overrides,
            clock=clock,
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            size=COPIES,
            sighted=lambda: changes.current,
        )
        changes.on(TOOLS_KIND, lambda _: self._tools.clear())
        changes.on(OVERRIDES_KIND, lambda key: self._overrides.invalidate(TenantId(key)))
        changes.on_gap(self.clear)

    @property
    def copies(self) -> Snapshots[TenantId, dict[str, bool]]:
        """Its copies of tenants' exceptions, for metrics."""
        return self._overrides

    async def registered(self) -> dict[str, Tool]:
        """Return every tool by its name, as last written."""
        return {tool.name: tool for tool in await self._platform.tools()}

    async def exceptions(self, tenant_id: TenantId) -> dict[str, ToolOverride]:
        """Return what was granted to or withheld from a tenant, by tool, as last written."""
        door, partition = self._stores.db(tenant_id), ToolOverride.key_of(tenant_id, "").partition
        page = await door.query(
            ToolOverride, partition, consistent=True, sort_prefix=ToolOverride.SORT_PREFIX, limit=OVERRIDES_LIMIT
        )
        return {override.tool: override for override in page.items}

    async def announce(self) -> None:
        """Tell every process that a tool has changed."""
        self._tools.clear()
        await self._changes.publish(TOOLS_KIND, _ALL)

    async def announce_exceptions(self, tenant_id: TenantId) -> None:
        """Tell every process that what a tenant may call has changed."""
        self._overrides.invalidate(tenant_id)
        await self._changes.publish(OVERRIDES_KIND, tenant_id)

    async def permitted(self, ctx: TenantContext, named: Iterable[str] | None = None) -> dict[str, Tool]:
        """Return the tools a tenant may call, by name; of those `named`, where the caller may use no others."""
        tools = await self._tools.get(_ALL) or {}
        overrides = await self._overrides.get(ctx.tenant_id) or {}
        names = sorted(tools) if named is None else sorted(tools.keys() & set(named))
        return {name: tools[name] for name in names if may(ctx.tenant, tools[name], overrides.get(name))}

    def clear(self) -> None:
        """Forget every copy."""
        self._tools.clear()
        self._overrides.clear()

    async def aclose(self) -> None:
        """End the loads under way."""
        await self._tools.aclose()
        await self._overrides.aclose()

    async def _load_tools(self, _: str) -> dict[str, Tool]:
        return await self.registered()

    async def _load_overrides(self, tenant_id: TenantId) -> dict[str, bool]:
        return {name: override.allowed for name, override in (await self.exceptions(tenant_id)).items()}


def may(tenant: Tenant, tool: Tool, override: bool | None) -> bool:  # noqa: FBT001 three-valued: an exception or none
    """Tell whether a tenant may call a tool."""
    return tenant.tier.includes(tool.tier_minimum) if override is None else override
