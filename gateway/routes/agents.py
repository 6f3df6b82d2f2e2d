"""What a tenant may invoke."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from agents.catalog import Catalog
from agents.errors import AgentUnknownError
from gateway.operations import AGENT, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import AgentView, PageView
from tenancy.context import TenantContext
from tenancy.data_models import Mode
from tenancy.ids import parse_agent_name
from tenancy.tiers import Tier

_EXAMPLE: Final = AgentView(
    name="echo-agent",
    version="1.0.0",
    description="Says what it was told, word by word.",
    modes=(Mode.SYNC, Mode.STREAM, Mode.ASYNC),
    tier_minimum=Tier.BASIC,
    body_limit_bytes=1_048_576,
)
LIST: Final = Operation(
    "GET",
    "/v1/agents",
    "listAgents",
    "Agents",
    "List what the tenant may invoke",
    "Every agent the tenant's tier reaches, by name, in its newest version, on one page.",
    (answer(200, "The agents.", PageView[AgentView](items=(_EXAMPLE,))),),
)
GET: Final = Operation(
    "GET",
    "/v1/agents/{agent}",
    "getAgent",
    "Agents",
    "Look at one agent",
    "One agent with the modes it declares. One that the tenant's tier does not reach is as good as none.",
    (answer(200, "The agent.", _EXAMPLE),),
    parameters=(AGENT,),
    problems=(AgentUnknownError(),),
)


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
