"""What a worker holds its agents' answers to: the tenant's policy as it stands, and nothing passes where that fails."""

import pytest
from prometheus_client import CollectorRegistry

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.decisions import Decisions
from ops.guarding import job_guard
from tenancy.data_models import Failure, Redaction, RedactionPattern, Tenant
from tenancy.errors import TenantUnknownError
from tenancy.ids import TenantId
from tenancy.tiers import Tier
from tests.jobs.parts import NOON, make_job

SAID = b'"mail ada@acme.example"'


class Tenants:
    """Knows one tenant, or none."""

    def __init__(self, redaction: Redaction | None, *patterns: RedactionPattern) -> None:
        self._redaction = redaction
        self._patterns = patterns

    async def get(self, tenant_id: TenantId) -> Tenant:
        if self._redaction is None:
            raise TenantUnknownError
        return Tenant(
            tenant_id=tenant_id,
            name="Acme",
            tier=Tier.BASIC,
            redaction=self._redaction,
            redaction_patterns=self._patterns,
            created_at=NOON,
            updated_at=NOON,
        )


async def kept(tenants: Tenants) -> bytes | str:
    """Return what is kept of an answer, or the code of why nothing is."""
    guard = job_guard(Interceptors(Decisions(CollectorRegistry())), tenants)
    answer = await guard(make_job(), SAID)
    return answer.code if isinstance(answer, Failure) else answer


@pytest.mark.parametrize(
    ("tenants", "expected"),
    [
        (Tenants("off"), SAID),
        (Tenants("redact"), b'"mail [REDACTED:email]"'),
        (Tenants("block"), "redaction_blocked"),
        (Tenants("redact", RedactionPattern(name="forever", pattern="a+")), "interceptor_failed"),
        (Tenants(None), "interceptor_failed"),
    ],
    ids=["off", "redact", "block", "unusable", "unknown tenant"],
)
async def test_a_job_s_answer_is_kept_as_its_tenant_wants_it(tenants: Tenants, expected: bytes | str) -> None:
    assert await kept(tenants) == expected
