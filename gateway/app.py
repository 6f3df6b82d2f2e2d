"""The northbound API: every route with who may reach it, in one table."""

from dataclasses import dataclass

from aiohttp import web

from agents.catalog import Catalog
from gateway.access import Access, Handler
from gateway.cancel import Cancellations
from gateway.invoke import RequestPath
from gateway.middleware import Edge
from gateway.routes.agents import AgentRoutes
from gateway.routes.health import get_health
from gateway.routes.invocations import InvocationRoutes
from gateway.routes.jobs import JobRoutes
from gateway.routes.me import MeRoutes
from jobs.store import JobStore
from tenancy.context import Role


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes are made of."""

    access: Access
    edge: Edge
    path: RequestPath
    cancellations: Cancellations
    catalog: Catalog
    jobs: JobStore


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    handler: Handler


def routes(parts: Parts) -> tuple[Route, ...]:
    """Return every route, guarded."""
    access, agents, jobs = parts.access, AgentRoutes(parts.catalog), JobRoutes(parts.jobs)
    invocations = InvocationRoutes(parts.path, parts.cancellations)
    invoke = Role.AGENT_INVOKE
    return (
        Route("GET", "/v1/health", get_health),
        Route("GET", "/v1/me", access.principal(MeRoutes(access).get)),
        Route("GET", "/v1/agents", access.tenant(invoke, agents.list)),
        Route("GET", "/v1/agents/{agent}", access.tenant(invoke, agents.get)),
        Route("POST", "/v1/agents/{agent}/invocations", access.tenant(invoke, invocations.create)),
        Route("GET", "/v1/invocations/{invocation}", access.tenant(invoke, invocations.get)),
        Route("POST", "/v1/invocations/{invocation}/cancel", access.tenant(invoke, invocations.cancel)),
        Route("GET", "/v1/jobs", access.tenant(invoke, jobs.list)),
        Route("GET", "/v1/jobs/{job}", access.tenant(invoke, jobs.get)),
    )


def build(parts: Parts) -> web.Application:
    """Return the application that serves the API."""
    app = web.Application()
    parts.edge.install(app)
    app.add_routes([web.route(route.method, route.path, route.handler) for route in routes(parts)])
    return app
