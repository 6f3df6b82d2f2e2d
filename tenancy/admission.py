"""Whether an invocation may run: the checks in their one fixed order, and the proof that they passed."""

from dataclasses import dataclass

from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, TenantStatus
from tenancy.errors import TenantSuspendedError, TierTooLowError


@dataclass(frozen=True, slots=True)
class Permit:
    """Proof of admission for one tenant and one agent version; only `admit` makes one."""

    ctx: TenantContext
    agent: AgentVersion


def admit(ctx: TenantContext, agent: AgentVersion) -> Permit:
    """Admit an invocation of `agent`, or raise TenantSuspendedError or TierTooLowError, in that order."""
    if ctx.tenant.status is not TenantStatus.ACTIVE:
        raise TenantSuspendedError
    if not ctx.tenant.tier.includes(agent.tier_minimum):
        raise TierTooLowError
    return Permit(ctx, agent)
