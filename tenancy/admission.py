"""Whether a request and an invocation may go on: the checks in their one fixed order, and the proof that they passed.

A request: the tenant's status, then its rate. An invocation besides: the agent's tier, the day's count, and a slot
that is held to the last byte of the answer. What was spent for an invocation that is refused after all goes back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion
from tenancy.days import Days
from tenancy.errors import ConcurrencyLimitError, TierTooLowError
from tenancy.held import Held
from tenancy.ids import InvocationId
from tenancy.rates import Rates, RateState
from tenancy.registry import require_served
from tenancy.slots import Slots


@dataclass(frozen=True, slots=True)
class Permit:
    """Proof that an invocation of one agent version was admitted for one tenant; only Admission makes one."""

    ctx: TenantContext
    agent: AgentVersion

    def of_version(self, agent: AgentVersion) -> "Permit":
        """Return the permit for the version a session stays on; raises TierTooLowError."""
        if agent is self.agent:
            return self
        _require_tier(self.ctx, agent)
        return replace(self, agent=agent)


@dataclass(frozen=True, slots=True)
class Admission:
    """Admits by the tenant's status, tier and limits."""

    rates: Rates
    days: Days
    slots: Slots

    async def request(self, ctx: TenantContext) -> RateState:
        """Count one request of an active tenant; raises TenantSuspendedError, TenantDeletedError.

        One over the rate is told by `retry_after_s`, so that its answer can carry the figures all the same.
        """
        require_served(ctx.tenant)
        return await self.rates.take(ctx.tenant_id, ctx.limits)

    def invocation(self, ctx: TenantContext, agent: AgentVersion, invocation_id: InvocationId) -> Held[Permit]:
        """Admit an invocation for the block; raises TierTooLowError, DailyLimitError, ConcurrencyLimitError."""
        return Held(self._invocation(ctx, agent, invocation_id))

    async def _invocation(
        self, ctx: TenantContext, agent: AgentVersion, invocation_id: InvocationId
    ) -> tuple[Permit, Callable[[], None]]:
        limits = ctx.limits
        permit = await self.job(ctx, agent)
        try:
            return permit, await self.slots.take(ctx.tenant_id, limits.concurrent_streams, invocation_id)
        except ConcurrencyLimitError:
            self.days.put_back(ctx.tenant_id, limits.invocations_per_day)
            raise

    async def job(self, ctx: TenantContext, agent: AgentVersion) -> Permit:
        """Admit a job, which runs later and on a slot of another kind; raises TierTooLowError, DailyLimitError."""
        _require_tier(ctx, agent)
        await self.days.take(ctx.tenant_id, ctx.limits.invocations_per_day)
        return Permit(ctx, agent)


def _require_tier(ctx: TenantContext, agent: AgentVersion) -> None:
    if not ctx.tenant.tier.includes(agent.tier_minimum):
        raise TierTooLowError
