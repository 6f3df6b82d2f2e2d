import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.control import ControlPlane
from ops.devstack import echo
from ops.devstack.aws import control_client, store_clients
from ops.devstack.environment import BUCKET, REGION, TABLE_PREFIX, lockgate_variables
from ops.devstack.issuer import read_clients
from ops.devstack.layout import DevKeys, Layout
from ops.devstack.people import APPLICATIONS, TENANTS
from ops.devstack.plan import Plan
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError, stop
from ops.devstack.seed import Seed
from ops.settings import DevSettings
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, Mode, ReleaseState, Tenant, TenantStatus
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tenancy.tiers import Tier

pytestmark = pytest.mark.stack

ACME = TenantId("acme")
CLOCK = SystemClock()


def _fail(violation: TenantAccessViolation) -> None:
    raise violation


@dataclass(frozen=True)
class Seeded:
    """A seed that was planted once, on a real store and a real local AgentCore."""

    seed: Seed
    layout: Layout
    ports: Ports
    keys: DevKeys
    platform: PlatformStore
    stores: TenantStores

    async def tenant(self, tenant_id: TenantId) -> Tenant:
        found = await self.stores.db(tenant_id).get(Tenant, Tenant.key_of(tenant_id, "METADATA"), consistent=True)
        assert found is not None
        return found

    async def agent(self) -> AgentVersion:
        wanted = echo.version("arn", CLOCK.now())
        found = await self.platform.agent_version(wanted.name, wanted.version)
        assert found is not None
        return found

    async def runtime_version(self) -> str:
        async with control_client(self.ports.url("runtime_control"), REGION, self.keys) as client:
            wanted = echo.runtime(self.keys.access_key)
            return (await ControlPlane(client, clock=CLOCK).ensure_runtime(wanted)).version


@pytest.fixture
async def seeded(tmp_path: Path) -> AsyncIterator[Seeded]:
    layout = Layout(tmp_path / "state")
    layout.make()
    keys, ports = layout.keys(), Ports.free()
    plan = Plan(layout, ports, keys, lockgate_variables(ports, keys, webhook_allow=""), DevSettings().inherited)
    seed = Seed(layout, ports, keys, clock=CLOCK)
    parts = [
        part
        for part in plan.parts(prepare=seed.prepare, seed=seed.plant, register=seed.plant)
        if part.name in ("store", "runtime", "runtime-failover")
    ]
    async with AsyncExitStack() as stack:
        for process in await asyncio.gather(*(part.start() for part in parts)):
            assert process is not None
            stack.push_async_callback(stop, process)
        aws = await stack.enter_async_context(store_clients(ports, keys))
        platform = PlatformStore(aws.dynamodb, table_prefix=TABLE_PREFIX, on_violation=_fail)
        stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=TABLE_PREFIX, bucket=BUCKET, on_violation=_fail)
        await seed.prepare()
        await seed.plant()
        yield Seeded(seed, layout, ports, keys, platform, stores)


async def test_a_new_stack_has_two_tenants_an_operator_and_the_reference_agent(seeded: Seeded) -> None:
    assert {name: (await seeded.tenant(name)).tier for name in TENANTS} == {
        TenantId("acme"): Tier.PREMIUM,
        TenantId("globex"): Tier.BASIC,
    }
    bound = {}
    for application in APPLICATIONS:
        issuer = f"{seeded.ports.url('issuer')}/{application.directory}/v2.0"
        binding = await seeded.platform.binding(issuer, application.directory, application.client_id)
        assert binding is not None
        bound[application.client_id] = binding.tenant_id
    assert list(bound.values()) == ["acme", "globex", None]
    agent = await seeded.agent()
    assert (agent.state, agent.modes, agent.kit) == (ReleaseState.PROMOTED, frozenset(Mode), True)


async def test_a_second_start_undoes_nothing_that_was_done_since_and_mints_new_tokens(seeded: Seeded) -> None:
    acme = seeded.stores.db(ACME)
    await acme.put((await seeded.tenant(ACME)).model_copy(update={"status": TenantStatus.SUSPENDED}))
    disabled = (await seeded.agent()).model_copy(update={"state": ReleaseState.DISABLED})
    await seeded.platform.put_agent_version(disabled)
    clients = read_clients(seeded.layout.data("issuer"))
    tokens, operator = seeded.seed.tenants, seeded.seed.operator

    await seeded.seed.prepare()
    await seeded.seed.plant()

    assert (await seeded.tenant(ACME)).status is TenantStatus.SUSPENDED
    assert await seeded.agent() == disabled
    assert await seeded.runtime_version() == "1"
    assert read_clients(seeded.layout.data("issuer")) == clients
    assert seeded.seed.tenants.keys() == tokens.keys()
    assert seeded.seed.tenants[ACME].token != tokens[ACME].token
    assert seeded.seed.operator != operator


async def test_a_seed_that_finds_no_store_fails_with_the_reason_in_its_log(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.make()
    seed = Seed(layout, Ports.free(), layout.keys(), clock=CLOCK)
    with pytest.raises(PartFailedError) as failed:
        await seed.prepare()
    assert failed.value.part == "tables"
    assert "EndpointConnectionError" in layout.log("tables").read_text()
