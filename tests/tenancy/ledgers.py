"""Lines of the ledger for tests, and agents with a price."""

from datetime import datetime, timedelta

from tenancy.data_models import AgentVersion, InvocationRecord, Mode, ReleaseState, Status, UsageRecord
from tenancy.ids import AgentName, TenantId, new_invocation_id, new_session_id
from tenancy.ledger import Used, line_of
from tenancy.prices import Price
from tests.tenancy.samples import NOW


def agent(price: Price | None = None, name: str = "echo-agent") -> AgentVersion:
    """Return an agent version at a price."""
    return AgentVersion(
        name=AgentName(name),
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn="arn:aws:bedrock-agentcore:eu-west-2:000000000000:runtime/echo-0000000000",
        state=ReleaseState.PROMOTED,
        price=price,
        created_at=NOW,
    )


def ended(tenant_id: TenantId, at: datetime, mode: Mode = Mode.STREAM, name: str = "echo-agent") -> InvocationRecord:
    """Return the record of an invocation that began and ended at a time."""
    return InvocationRecord(
        tenant_id=tenant_id,
        invocation_id=new_invocation_id(at),
        agent=AgentName(name),
        agent_version="1.0.0",
        mode=mode,
        status=Status.SUCCEEDED,
        session_id=new_session_id(),
        principal="someone",
        request_id="req",
        created_at=at,
        ended_at=at + timedelta(seconds=1),
        ttl=0,
    )


def line(
    tenant_id: TenantId, at: datetime, cost: int, mode: Mode = Mode.STREAM, name: str = "echo-agent"
) -> UsageRecord:
    """Return the line of an invocation that began at a time and cost this much."""
    price = Price(invocation_microusd=cost)
    return line_of(ended(tenant_id, at, mode, name), price, Used(40, 1000, chunks=2, answer_bytes=80), at)
