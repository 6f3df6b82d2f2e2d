"""What a new stack holds: tables, a bucket, two tenants, an operator, tools and the reference agents, ready to use.

Runs at every start and undoes nothing that was done since: a suspended tenant stays suspended over a restart.
"""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from agents.control import ControlPlane
from agents.errors import RuntimeUnreachableError
from ops.bootstrap import ensure_bucket, ensure_tables
from ops.devstack import echo, toolset
from ops.devstack.aws import StackClients, control_client, store_clients
from ops.devstack.dev_files import DevOperator, DevTenant
from ops.devstack.environment import BUCKET, FAILOVER_REGION, REGION, TABLE_PREFIX
from ops.devstack.issuer import SigningKeys
from ops.devstack.layout import DevKeys, Layout
from ops.devstack.people import APPLICATIONS, OPERATOR, TENANTS, register_applications
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError, listens
from tenancy.clock import Clock
from tenancy.data_models import Tenant
from tenancy.errors import ConditionFailedError, LockgateError, TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.steps import NEW
from tenancy.store import TenantStores


class Seed:
    """Fills one stack's stores; `tenants` and `operator` hold tokens once `plant` has run."""

    def __init__(self, layout: Layout, ports: Ports, keys: DevKeys, *, clock: Clock) -> None:
        self._layout: Final = layout
        self._ports: Final = ports
        self._keys: Final = keys
        self._clock: Final = clock
        self._authority: Final = ports.url("issuer")
        self.tenants: dict[TenantId, DevTenant] = {}
        self.operator = DevOperator(token="")

    async def prepare(self) -> None:
        """Make the tables and the bucket where they are missing; raises PartFailedError."""
        async with self._clients("tables") as aws:
            await ensure_tables(aws.dynamodb, TABLE_PREFIX)
            await ensure_bucket(aws.s3, BUCKET, REGION)

    async def plant(self) -> None:
        """Store tenants, bindings and the agent where they are missing, and mint tokens; raises PartFailedError."""
        async with self._clients("seed") as aws:
            platform = PlatformStore(aws.dynamodb, table_prefix=TABLE_PREFIX, on_violation=_ignore)
            await self._plant_tenants(aws)
            await self._bind(platform)
            await self._plant_tools(platform)
            await self._plant_agent(platform)
            await self._plant_agent(platform, toolset.AGENT, toolset.NAMES)
            self._mint()

    async def _plant_tenants(self, aws: StackClients) -> None:
        stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=TABLE_PREFIX, bucket=BUCKET, on_violation=_ignore)
        for tenant_id, tenant in TENANTS.items():
            try:
                await stores.db(tenant_id).put(tenant.record(tenant_id, self._clock.now()), condition=NEW)
            except ConditionFailedError:
                await self._list(stores, tenant_id)

    async def _list(self, stores: TenantStores, tenant_id: TenantId) -> None:
        """Leave a tenant of an earlier start as it is, but let it stand in the directory."""
        door, key = stores.db(tenant_id), Tenant.key_of(tenant_id, "METADATA")
        found = await door.get(Tenant, key, consistent=True)
        if found is not None:
            await door.update(Tenant, key, {**found.index_keys(), "version": found.version})

    async def _bind(self, platform: PlatformStore) -> None:
        register_applications(self._layout.data("issuer"))
        for application in APPLICATIONS:
            wanted = application.binding(self._authority, self._clock.now())
            if await platform.binding(wanted.issuer, wanted.directory, wanted.client_id) is None:
                await platform.put_binding(wanted)

    async def _plant_tools(self, platform: PlatformStore) -> None:
        # Where they are is this stack's own affair, and may be another port than at the last start.
        for tool in toolset.tools(self._ports.url("tools")):
            await platform.put_tool(tool)

    async def _plant_agent(
        self, platform: PlatformStore, folder: str = echo.FOLDER, tools: tuple[str, ...] = ()
    ) -> None:
        home = await self._runtime("runtime_control", REGION, folder)
        elsewhere = await self._runtime("runtime_failover_control", FAILOVER_REGION, folder)
        wanted = echo.version(home or "", self._clock.now(), folder, tools)
        found = await platform.agent_version(wanted.name, wanted.version)
        if found is None and home is None:
            raise RuntimeUnreachableError("the runtime does not listen")
        # A region that is away keeps what it had.
        arn, others = (home, ()) if found is None else (home or found.runtime_arn, found.runtime_arns)
        others = others if elsewhere is None else (elsewhere,)
        if found is None or (found.runtime_arn, found.runtime_arns, found.price) != (arn, others, wanted.price):
            await platform.put_agent_version(wanted.model_copy(update={"runtime_arn": arn, "runtime_arns": others}))

    async def _runtime(self, part: str, region: str, folder: str) -> str | None:
        """Return the ARN of an agent's runtime in a region, made where it is missing; None if the region is away."""
        if not await listens(getattr(self._ports, part)):
            return None
        async with control_client(self._ports.url(part), region, self._keys) as client:
            control = ControlPlane(client, clock=self._clock)
            return (await control.ensure_runtime(echo.runtime(self._keys.access_key, folder))).arn

    def _mint(self) -> None:
        keys, now = SigningKeys.open(self._layout.data("issuer")), self._clock.now()
        self.tenants = {
            tenant_id: DevTenant(tier=tenant.tier, token=tenant.application.token(keys, self._authority, now))
            for tenant_id, tenant in TENANTS.items()
        }
        self.operator = DevOperator(token=OPERATOR.token(keys, self._authority, now))

    @asynccontextmanager
    async def _clients(self, step: str) -> AsyncIterator[StackClients]:
        """Open clients for a step; what goes wrong there is in its log."""
        log = self._layout.log(step)
        try:
            async with store_clients(self._ports, self._keys) as aws:
                yield aws
        except (BotoCoreError, ClientError, LockgateError, aiohttp.ClientError, ExceptionGroup, OSError) as error:
            log.write_text("".join(traceback.format_exception(error)))
            fix = "look at store.log and runtime.log beside it; `make dev-reset` starts from nothing"
            raise PartFailedError(step, log, fix) from error


def _ignore(_: TenantAccessViolation) -> None:
    """Do nothing more: the violation is raised, and ends the start."""
