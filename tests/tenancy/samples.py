"""Small valid items and doors for tests of the tenancy floor."""

from datetime import UTC, datetime

from tenancy.data_models import AgentVersion, AuditEvent, IdentityBinding, JobRecord, Mode, ReleaseState, Tenant
from tenancy.errors import TenantAccessViolation
from tenancy.ids import AgentName, JobId, TenantId, new_audit_id, new_job_id, new_session_id
from tenancy.store import TenantStores
from tenancy.tiers import Tier
from tests.conftest import Aws

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Violations(list[TenantAccessViolation]):
    """Remembers what it is told of."""

    def __call__(self, violation: TenantAccessViolation) -> None:
        self.append(violation)


def stores(aws: Aws, violations: Violations) -> TenantStores:
    """Return the doors over these clients, guarded or not."""
    return TenantStores(aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=violations)


def job(tenant_id: TenantId, job_id: JobId | None = None, *, text: str = "{}", owed: bool = False) -> JobRecord:
    """Return a job of this tenant, in the sweeper's index where it is owed a tick."""
    return JobRecord(
        tenant_id=tenant_id,
        job_id=job_id or new_job_id(NOW),
        agent=AgentName("echo-agent"),
        agent_version="1.0.0",
        session_id=new_session_id(),
        principal="someone",
        request_id="req",
        input_json=text,
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW,
        next_tick_at=NOW if owed else None,
    )


def tenant(tenant_id: TenantId) -> Tenant:
    """Return a tenant."""
    return Tenant(tenant_id=tenant_id, name="A tenant", tier=Tier.BASIC, created_at=NOW, updated_at=NOW)


def audit_event(tenant_id: TenantId) -> AuditEvent:
    """Return an event of this tenant."""
    return AuditEvent(
        tenant_id=tenant_id,
        audit_id=new_audit_id(NOW),
        actor="someone",
        operation="GetItem",
        outcome="refused",
        reason="because",
        at=NOW,
    )


def version(name: str, number: str = "1.0.0", state: ReleaseState = ReleaseState.PROMOTED) -> AgentVersion:
    """Return a version of an agent."""
    return AgentVersion(
        name=AgentName(name),
        version=number,
        modes=frozenset({Mode.SYNC}),
        runtime_arn="arn:aws:bedrock-agentcore:eu-west-1:000000000000:runtime/echo",
        state=state,
        created_at=NOW,
    )


def binding(issuer: str, directory: str, client_id: str, tenant_id: TenantId | None) -> IdentityBinding:
    """Return a binding of an application to a tenant, or to the platform."""
    return IdentityBinding(issuer=issuer, directory=directory, client_id=client_id, tenant_id=tenant_id, created_at=NOW)
