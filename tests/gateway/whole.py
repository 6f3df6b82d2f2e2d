"""A whole gateway in the test's own process: everything real but the runtime, which plays a script."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from aiohttp import ClientSession, ClientTimeout
from aiohttp.client import _RequestContextManager
from aiohttp.web import AppRunner, TCPSite

from gateway.app import build
from ops.gateway_process import GatewayProcess, gateway
from ops.settings import Settings
from tenancy.clock import SystemClock
from tenancy.data_models import (
    AgentVersion,
    IdentityBinding,
    InvocationRecord,
    Mode,
    Redaction,
    RedactionPattern,
    ReleaseState,
    Tenant,
)
from tenancy.ids import AgentName, TenantId
from tenancy.platform_store import PlatformStore
from tenancy.prices import Price
from tenancy.store import TenantStores
from tenancy.tiers import LimitOverrides, Tier
from tests.conftest import REGION, Aws
from tests.flows.events import Event, events_of
from tests.gateway.signing import AUDIENCE, DIRECTORY, Forge, running_authority

OK = 200


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, read whole."""

    status: int
    headers: dict[str, str]
    body: dict[str, object]

    @property
    def code(self) -> object:
        """The problem's code."""
        return self.body.get("code")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a tenant and its agent are to be like."""

    kit: bool = True
    tier: Tier = Tier.STANDARD
    limits: LimitOverrides | None = None
    price: Price | None = None
    budget: int | None = None
    redaction: Redaction = "off"
    patterns: tuple[RedactionPattern, ...] = ()
    input_schema: str | None = None
    prompt_guard: bool = False


@dataclass(frozen=True, slots=True)
class Ground:
    """Where tenants and agents are stored, and whose tokens are taken."""

    stores: TenantStores
    platform: PlatformStore
    authority: str

    async def bind(self, client_id: str, tenant_id: TenantId | None) -> None:
        """Let an application speak for a tenant, or for the platform."""
        issuer, now = f"{self.authority}/{DIRECTORY}/v2.0", SystemClock().now()
        await self.platform.put_binding(
            IdentityBinding(
                issuer=issuer, directory=DIRECTORY, client_id=client_id, tenant_id=tenant_id, created_at=now
            )
        )

    async def plant(self, tag: str, wanted: Wanted) -> None:
        """Store a tenant, who speaks for it, and an agent."""
        now, tenant_id = SystemClock().now(), tenant_of(tag)
        tenant = Tenant(
            tenant_id=tenant_id,
            name=tag,
            tier=wanted.tier,
            limits=wanted.limits or LimitOverrides(),
            monthly_budget_microusd=wanted.budget,
            redaction=wanted.redaction,
            redaction_patterns=wanted.patterns,
            created_at=now,
            updated_at=now,
        )
        await self.stores.db(tenant_id).put(tenant)
        await self.bind(tag, tenant_id)
        await self.platform.put_agent_version(
            AgentVersion(
                name=agent_of(tag),
                version="1.0.0",
                modes=frozenset(Mode),
                runtime_arn=f"arn:aws:bedrock-agentcore:{REGION}:000000000000:runtime/{tag}-0000000000",
                kit=wanted.kit,
                state=ReleaseState.PROMOTED,
                price=wanted.price,
                input_schema_json=wanted.input_schema,
                prompt_guard=wanted.prompt_guard,
                created_at=now,
            )
        )

    def calling(self, client_id: str, roles: tuple[str, ...] = ()) -> ClientSession:
        """Return a client of an application; close it."""
        claims: dict[str, object] = {"azp": client_id} | ({"roles": list(roles)} if roles else {})
        token = Forge(self.authority, SystemClock().now()).token(None, **claims)
        return ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=ClientTimeout(total=30))


def tenant_of(tag: str) -> TenantId:
    """Return what a tag's tenant is called."""
    return TenantId(f"t{tag}")


def agent_of(tag: str) -> AgentName:
    """Return what a tag's agent is called."""
    return AgentName(f"agent-{tag}")


def path_of(tag: str) -> str:
    """Return where a tag's agent is invoked."""
    return f"/v1/agents/{agent_of(tag)}/invocations"


@dataclass(frozen=True, slots=True)
class Whole:
    """A running gateway, and one tenant with a token for it."""

    url: str
    session: ClientSession
    process: GatewayProcess
    tenant_id: TenantId
    stores: TenantStores
    path: str
    # Of the platform itself, with both of its roles.
    operator: ClientSession
    ground: Ground

    @property
    def authority(self) -> str:
        """Where the authority is."""
        return self.ground.authority

    @asynccontextmanager
    async def another(self, tag: str, wanted: Wanted) -> AsyncIterator["Whole"]:
        """Yield the same gateway with another tenant and another agent."""
        await self.ground.plant(tag, wanted)
        await self.process.parts.catalog.announce(agent_of(tag))
        async with self.ground.calling(tag) as session:
            yield replace(self, session=session, tenant_id=tenant_of(tag), path=path_of(tag))

    async def act(self, method: str, path: str, body: object = None, **query: str) -> Answered:
        """Call the Admin API as an operator."""
        url = f"{self.url}/v1/admin{path}"
        async with self.operator.request(method, url, json=body, params=query) as answer:
            return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

    async def listed(self, path: str, limit: int = 100) -> list[dict[str, object]]:
        """Return all that a list of the Admin API holds, page by page."""
        found: list[dict[str, object]] = []
        query: dict[str, str] | None = {"limit": str(limit)}
        while query is not None:
            body = (await self.act("GET", path, None, **query)).body
            found += body["items"]  # type: ignore[arg-type]
            query = query | {"cursor": str(body["nextCursor"])} if "nextCursor" in body else None
        return found

    @asynccontextmanager
    async def bearing(self, token: str) -> AsyncIterator[ClientSession]:
        """Yield a client with this token."""
        headers = {"Authorization": f"Bearer {token}"}
        async with ClientSession(self.url, headers=headers, timeout=ClientTimeout(total=30)) as session:
            yield session

    async def sync(self, **fields: object) -> Answered:
        """Invoke and wait for the answer."""
        async with self.session.post(self.url + self.path, json={"input": {}} | fields) as answer:
            return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

    async def stream(self, **fields: object) -> tuple[Answered | None, list[Event]]:
        """Invoke and read the events, or the problem that came instead."""
        async with self._post(fields) as answer:
            if answer.status != OK:
                return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None)), []
            return None, [event async for event in events_of(answer.content)]

    @asynccontextmanager
    async def streaming(self, **fields: object) -> AsyncIterator[AsyncIterator[Event]]:
        """Invoke and yield the events as they come; leaving closes the connection."""
        async with self._post(fields) as answer:
            assert answer.status == OK, await answer.text()
            yield events_of(answer.content)

    def _post(self, fields: dict[str, object]) -> _RequestContextManager:
        headers = {"Accept": "text/event-stream"}
        return self.session.post(self.url + self.path, json={"input": {}} | fields, headers=headers)

    async def get(self, path: str) -> Answered:
        """GET a path."""
        async with self.session.get(self.url + path) as answer:
            return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

    async def records(self) -> list[InvocationRecord]:
        """Return the tenant's stored records once nothing is left to write."""
        await self.process.parts.path.journal.flush()
        partition = InvocationRecord.key_of(self.tenant_id, "").partition
        page = await self.stores.db(self.tenant_id).query(
            InvocationRecord, partition, sort_prefix=InvocationRecord.SORT_PREFIX, limit=100
        )
        return list(page.items)


@asynccontextmanager
async def whole_gateway(
    aws: Aws,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    runtime_url: str,
    *,
    kit: bool = True,
    tier: Tier = Tier.STANDARD,
    limits: LimitOverrides | None = None,
    overrides: Mapping[str, object] | None = None,
    price: Price | None = None,
    budget: int | None = None,
    redaction: Redaction = "off",
    patterns: tuple[RedactionPattern, ...] = (),
    input_schema: str | None = None,
    prompt_guard: bool = False,
) -> AsyncIterator[Whole]:
    """Run a gateway whose runtime is at `runtime_url`, with a tenant and an agent of its own."""
    for service in ("DYNAMODB", "S3"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", aws.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    tag = secrets.token_hex(6)
    wanted = Wanted(kit, tier, limits, price, budget, redaction, patterns, input_schema, prompt_guard)
    async with AsyncExitStack() as stack:
        authority = await stack.enter_async_context(running_authority())
        stores = TenantStores(
            aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=lambda _: None
        )
        platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None)
        ground = Ground(stores, platform, authority.url)
        await ground.plant(tag, wanted)
        await ground.bind(f"o{tag}", None)
        given = Settings(
            redis_url=redis_url,
            table_prefix=aws.table_prefix,
            bucket=aws.bucket,
            home_region=REGION,
            authority=authority.url,
            audience=AUDIENCE,
            AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=runtime_url,
        ).model_copy(update=overrides)
        process = await stack.enter_async_context(gateway(given))
        runner = AppRunner(build(process.parts), handler_cancellation=True, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        session = await stack.enter_async_context(ground.calling(tag))
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        operator = ground.calling(f"o{tag}", roles=("Platform.Operator", "Platform.Admin"))
        await stack.enter_async_context(operator)
        yield Whole(url, session, process, tenant_of(tag), stores, path_of(tag), operator, ground)
