"""Invoking an agent, looking at the record, stopping it."""

from dataclasses import dataclass

from aiohttp import web

from gateway.cancel import Cancellations
from gateway.invoke import RequestPath
from gateway.middleware import ORIGIN
from gateway.routes.answers import json_answer
from gateway.schemas import InvocationView
from tenancy.context import TenantContext
from tenancy.ids import parse_agent_name, parse_invocation_id


@dataclass(frozen=True, slots=True)
class InvocationRoutes:
    """`/v1/agents/{agent}/invocations` and `/v1/invocations`."""

    path: RequestPath
    cancellations: Cancellations

    async def create(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Invoke an agent in the mode the caller asked for."""
        return await self.path.invoke(request, ctx, parse_agent_name(request.match_info["agent"]), request[ORIGIN])

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with the record."""
        invocation_id = parse_invocation_id(request.match_info["invocation"])
        return json_answer(InvocationView.of(await self.cancellations.find(ctx.tenant_id, invocation_id)).to_json())

    async def cancel(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Order a stop: 202 with the record, or 200 with it unchanged where it has ended."""
        invocation_id = parse_invocation_id(request.match_info["invocation"])
        record = await self.cancellations.cancel(ctx.tenant_id, invocation_id)
        return json_answer(InvocationView.of(record).to_json(), status=200 if record.status.terminal else 202)
