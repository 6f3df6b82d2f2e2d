"""An admitted invocation, and the client under test."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from agents.answer import AnswerLimits
from agents.authorize import Authorizer, SigV4Authorizer
from agents.breaker import Breakers
from agents.invocation import AgentEvent, Answer, Invocation, TraceHeaders
from agents.region_health import RegionHealth
from agents.regions import Regions, Way
from agents.retries import RetryBudget
from agents.runtime import AgentCore, RuntimeTimeouts
from agents.sigv4 import SigV4Signer, StaticCredentials
from agents.upstream import open_upstream
from tenancy.admission import Permit
from tenancy.clock import Clock
from tenancy.context import Principal, Role, TenantContext
from tenancy.data_models import AgentVersion, Mode, ReleaseState, Tenant
from tenancy.ids import AgentName, InvocationId, SessionId, TenantId
from tenancy.tiers import Tier
from tests.clock import FakeClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION = SessionId("ses_" + "5" * 48)
INVOCATION = InvocationId("inv_" + "1" * 26)
CREDENTIALS = StaticCredentials("AKID", "secret", "token")
REGION = "eu-west-2"
TIMEOUTS = RuntimeTimeouts(sync_s=20, stream_s=20)
LIMITS = AnswerLimits(answer_bytes=1000, event_bytes=1000)


def agent(
    *, kit: bool = True, arn: str = "arn:aws:bedrock-agentcore:eu-west-2:123456789012:runtime/echo-a"
) -> AgentVersion:
    return AgentVersion(
        name=AgentName("echo-agent"),
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn=arn,
        qualifier="prod",
        kit=kit,
        state=ReleaseState.PROMOTED,
        created_at=NOW,
    )


def context(tenant_id: str = "acme") -> TenantContext:
    tenant = Tenant(tenant_id=TenantId(tenant_id), name=tenant_id, tier=Tier.BASIC, created_at=NOW, updated_at=NOW)
    return TenantContext(tenant, Principal("someone", "app", frozenset({Role.AGENT_INVOKE}), tenant.tenant_id))


def invocation(
    mode: Mode = Mode.SYNC, *, body: bytes = b'{"prompt": "hi"}', of: AgentVersion | None = None
) -> Invocation:
    trace = TraceHeaders("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "vendor=1")
    return Invocation(INVOCATION, context(), of or agent(), mode, SESSION, body, trace)


def permit(for_: Invocation) -> Permit:
    return Permit(for_.ctx, for_.agent)


def signed(clock: Clock) -> Authorizer:
    return SigV4Authorizer(SigV4Signer(REGION), CREDENTIALS, clock)


@asynccontextmanager
async def agentcore(
    endpoint: str,
    clock: Clock | None = None,
    *,
    authorizer: Callable[[Clock], Authorizer] = signed,
    timeouts: RuntimeTimeouts = TIMEOUTS,
    limits: AnswerLimits = LIMITS,
) -> AsyncIterator[AgentCore]:
    clock, metrics = clock or FakeClock(), CollectorRegistry()
    async with open_upstream(endpoint, clock=clock) as upstream:
        yield AgentCore(
            Regions([Way(REGION, upstream, authorizer(clock))]),
            clock=clock,
            timeouts=timeouts,
            limits=limits,
            breakers=Breakers(clock, metrics),
            health=RegionHealth(clock, metrics),
            repeats=RetryBudget(metrics),
            jitter=lambda: 1.0,
        )


async def one_by_one(answer: Answer) -> AsyncGenerator[AgentEvent, None]:
    """Yield an answer's events, however they came."""
    async with aclosing(answer.events()) as arrivals:
        async for events in arrivals:
            for event in events:
                yield event
