"""Who is calling."""

from dataclasses import dataclass

from aiohttp import web

from gateway.access import Access
from gateway.routes.answers import json_answer
from gateway.schemas import MeView
from tenancy.context import Principal


@dataclass(frozen=True, slots=True)
class MeRoutes:
    """`/v1/me`."""

    access: Access

    async def get(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Answer with the principal, its tenant, tier, limits and budget; an operator has no tenant."""
        ctx = None if principal.tenant_id is None else await self.access.context(request, principal)
        return json_answer(MeView.of(principal, ctx).to_json())
