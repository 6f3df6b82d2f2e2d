"""What a tenant may invoke."""

from dataclasses import dataclass

from aiohttp import web

from agents.catalog import Catalog
from agents.errors import AgentUnknownError
from gateway.routes.answers import json_answer
from gateway.schemas import AgentView, PageView
from tenancy.context import TenantContext
from tenancy.ids import parse_agent_name


@dataclass(frozen=True, slots=True)
class AgentRoutes:
    """`/v1/agents`: an agent above the tenant's tier is as good as none."""

    catalog: Catalog

    async def list(self, _request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with every agent this tenant may invoke, by name."""
        agents = [agent for agent in await self.catalog.list() if ctx.tenant.tier.includes(agent.tier_minimum)]
        views = tuple(AgentView.of(agent) for agent in sorted(agents, key=lambda agent: agent.name))
        return json_answer(PageView[AgentView](items=views).to_json())

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with one agent."""
        agent = await self.catalog.get(parse_agent_name(request.match_info["agent"]))
        if not ctx.tenant.tier.includes(agent.tier_minimum):
            raise AgentUnknownError
        return json_answer(AgentView.of(agent).to_json())
