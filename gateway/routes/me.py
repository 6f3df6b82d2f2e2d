"""Who is calling."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.access import Access
from gateway.operations import Operation, answer
from gateway.routes.answers import json_answer
from gateway.routes.usage import standing_of
from gateway.schemas import BudgetView, LimitsView, MeView, TenantView
from tenancy.accounts import Standing
from tenancy.budgets import Budgets
from tenancy.context import Principal, Role
from tenancy.data_models import TenantStatus
from tenancy.tiers import Tier

GET: Final = Operation(
    "GET",
    "/v1/me",
    "getMe",
    "Me",
    "Tell who is calling",
    "The principal behind the token with its tenant, tier, limits and budget. An operator has no tenant.",
    (
        answer(
            200,
            "The caller.",
            MeView(
                principal="0b5f6a52-6f0c-4c1b-9a57-0d1c2f3a4b5c",
                client_id="7d1e2f3a-4b5c-4d6e-8f70-8192a3b4c5d6",
                roles=(Role.AGENT_INVOKE,),
                tenant=TenantView(id="acme", name="Acme", tier=Tier.PREMIUM, status=TenantStatus.ACTIVE),
                limits=LimitsView(
                    requests_per_second=500,
                    burst_requests=1000,
                    invocations_per_day=None,
                    concurrent_streams=500,
                    running_jobs=200,
                    replay_seconds=86_400,
                ),
                budget=BudgetView.of(250_000_000, Standing(budget=250_000_000, spent=5270, held=0)),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class MeRoutes:
    """`/v1/me`."""

    access: Access
    budgets: Budgets

    async def get(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Answer with the principal, its tenant, tier, limits and budget; an operator has no tenant."""
        ctx = None if principal.tenant_id is None else await self.access.context(request, principal)
        standing = None if ctx is None else await standing_of(self.budgets, ctx)
        return json_answer(MeView.of(principal, ctx, standing).to_json())
