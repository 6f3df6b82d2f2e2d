"""The northbound API: every operation with its handler, in one table."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from aiohttp import web

from agents.catalog import Catalog
from gateway.access import Access, Handler, PrincipalHandler, TenantHandler
from gateway.admin.table import ADMIN_ROUTES, Admin, AdminRoute
from gateway.cancel import Cancellations
from gateway.follow import Followers
from gateway.invoke import RequestPath
from gateway.middleware import Edge
from gateway.operations import IDEMPOTENCY_KEY, Operation
from gateway.repeats import Repeats
from gateway.replay import Replays
from gateway.routes import (
    agents,
    deliveries,
    health,
    invocation_events,
    invocations,
    job_events,
    jobs,
    mcp,
    me,
    openapi,
    tool_tokens,
    usage,
    webhooks,
)
from gateway.routes.agents import AgentRoutes
from gateway.routes.deliveries import DeliveryRoutes
from gateway.routes.invocation_events import InvocationEvents
from gateway.routes.invocations import InvocationRoutes
from gateway.routes.job_events import JobEvents
from gateway.routes.jobs import JobRoutes
from gateway.routes.mcp import McpRoutes
from gateway.routes.me import MeRoutes
from gateway.routes.tool_tokens import ToolTokenRoutes
from gateway.routes.usage import UsageRoutes
from gateway.routes.webhooks import WebhookRoutes
from gateway.tool_access import CallerHandler, ClaimsHandler, ToolAccess
from gateway.tools.door import ToolDoor
from jobs.store import JobStore
from tenancy.budgets import Budgets
from tenancy.clock import Clock
from tenancy.context import Role
from tenancy.ledger import Ledger
from webhooks.deliveries import Deliveries
from webhooks.endpoints import Endpoints


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes are made of."""

    access: Access
    edge: Edge
    path: RequestPath
    cancellations: Cancellations
    catalog: Catalog
    jobs: JobStore
    endpoints: Endpoints
    deliveries: Deliveries
    admin: Admin
    repeats: Repeats
    replays: Replays
    clock: Clock
    tool_access: ToolAccess
    tool_door: ToolDoor
    ledger: Ledger
    budgets: Budgets

    @property
    def usage_routes(self) -> UsageRoutes:
        """The routes of the ledger."""
        return UsageRoutes(self.ledger, self.budgets, self.clock)

    @property
    def job_routes(self) -> JobRoutes:
        """The routes of jobs, but for their events."""
        return JobRoutes(self.jobs, self.path.submissions.jobs, self.path.clock)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API and how its guarded handler is made."""

    operation: Operation
    handler: Callable[[Parts], Handler]


def public(operation: Operation, handler: Callable[[Parts], Handler]) -> Route:
    """Return a route that anybody may reach."""
    return Route(operation, handler)


def principal(operation: Operation, handler: Callable[[Parts], PrincipalHandler]) -> Route:
    """Return a route that whoever has a good token may reach."""
    return Route(replace(operation, guard="principal"), lambda parts: parts.access.principal(handler(parts)))


def tenant(role: Role, operation: Operation, handler: Callable[[Parts], TenantHandler]) -> Route:
    """Return a route for who has `role` and acts for its own, active tenant."""
    guarded = replace(operation, guard="tenant", role=role)
    if IDEMPOTENCY_KEY in operation.parameters:
        return Route(guarded, lambda parts: parts.access.tenant(role, parts.repeats.tenant(operation, handler(parts))))
    return Route(guarded, lambda parts: parts.access.tenant(role, handler(parts)))


def platform(role: Role, operation: Operation, handler: Callable[[Parts], PrincipalHandler]) -> Route:
    """Return a route for the platform's own operators with `role`."""
    guarded = replace(operation, guard="platform", role=role)
    if IDEMPOTENCY_KEY in operation.parameters:
        return Route(
            guarded, lambda parts: parts.access.platform(role, parts.repeats.platform(operation, handler(parts)))
        )
    return Route(guarded, lambda parts: parts.access.platform(role, handler(parts)))


def _tools(parts: Parts) -> ToolTokenRoutes:
    return ToolTokenRoutes(parts.tool_access.tokens)


def tools(operation: Operation, handler: Callable[[Parts], CallerHandler]) -> Route:
    """Return a route for agents that act for a tenant, and for who may invoke agents for it."""
    guarded = replace(operation, guard="tools", role=Role.AGENT_INVOKE)
    return Route(guarded, lambda parts: parts.tool_access.caller(handler(parts)))


def agent(operation: Operation, handler: Callable[[Parts], ClaimsHandler]) -> Route:
    """Return a route for agents that act for a tenant."""
    return Route(replace(operation, guard="agent"), lambda parts: parts.tool_access.agent(handler(parts)))


def _webhooks(parts: Parts) -> WebhookRoutes:
    return WebhookRoutes(parts.endpoints, parts.clock)


def developer(operation: Operation, handler: Callable[[Parts], PrincipalHandler]) -> Route:
    """Return a route for developers, a tenant's among them, and for the platform's own operators."""
    guarded = replace(operation, guard="principal", role=Role.AGENT_DEVELOPER)
    if IDEMPOTENCY_KEY in operation.parameters:
        return Route(guarded, lambda parts: parts.access.developer(parts.repeats.platform(operation, handler(parts))))
    return Route(guarded, lambda parts: parts.access.developer(handler(parts)))


def _admin(route: AdminRoute) -> Route:
    if route.role is Role.AGENT_DEVELOPER:
        return developer(route.operation, lambda parts: route.handler(parts.admin))
    return platform(route.role, route.operation, lambda parts: route.handler(parts.admin))


@cache
def _papers() -> openapi.Papers:
    return openapi.Papers.of(operations())


ROUTES: Final[tuple[Route, ...]] = (
    public(health.GET, lambda _: health.get_health),
    principal(me.GET, lambda parts: MeRoutes(parts.access, parts.budgets).get),
    tenant(Role.AGENT_INVOKE, agents.LIST, lambda parts: AgentRoutes(parts.catalog).list),
    tenant(Role.AGENT_INVOKE, agents.GET, lambda parts: AgentRoutes(parts.catalog).get),
    tenant(
        Role.AGENT_INVOKE,
        invocations.CREATE,
        lambda parts: InvocationRoutes(parts.path, parts.cancellations).create,
    ),
    tenant(Role.AGENT_INVOKE, invocations.GET, lambda parts: InvocationRoutes(parts.path, parts.cancellations).get),
    tenant(
        Role.AGENT_INVOKE,
        invocation_events.EVENTS,
        lambda parts: InvocationEvents(parts.cancellations, parts.replays, parts.path).get,
    ),
    tenant(
        Role.AGENT_INVOKE,
        invocations.CANCEL,
        lambda parts: InvocationRoutes(parts.path, parts.cancellations).cancel,
    ),
    tenant(Role.AGENT_INVOKE, jobs.LIST, lambda parts: parts.job_routes.list),
    tenant(Role.AGENT_INVOKE, jobs.GET, lambda parts: parts.job_routes.get),
    tenant(Role.AGENT_INVOKE, jobs.CANCEL, lambda parts: parts.job_routes.cancel),
    tenant(
        Role.AGENT_INVOKE,
        job_events.EVENTS,
        lambda parts: JobEvents(parts.jobs, Followers(parts.jobs, parts.path.clock), parts.path).get,
    ),
    tenant(Role.AGENT_INVOKE, usage.GET, lambda parts: parts.usage_routes.get),
    tenant(Role.AGENT_INVOKE, usage.EXPORT, lambda parts: parts.usage_routes.export),
    tenant(Role.AGENT_INVOKE, webhooks.LIST, lambda parts: _webhooks(parts).list),
    tenant(Role.AGENT_INVOKE, webhooks.CREATE, lambda parts: _webhooks(parts).create),
    tenant(Role.AGENT_INVOKE, webhooks.GET, lambda parts: _webhooks(parts).get),
    tenant(Role.AGENT_INVOKE, webhooks.PATCH, lambda parts: _webhooks(parts).patch),
    tenant(Role.AGENT_INVOKE, webhooks.DELETE, lambda parts: _webhooks(parts).delete),
    tenant(Role.AGENT_INVOKE, webhooks.ROTATE, lambda parts: _webhooks(parts).rotate),
    tenant(Role.AGENT_INVOKE, deliveries.TEST, lambda parts: DeliveryRoutes(parts.deliveries).test),
    tenant(Role.AGENT_INVOKE, deliveries.LIST, lambda parts: DeliveryRoutes(parts.deliveries).list),
    tenant(Role.AGENT_INVOKE, deliveries.GET, lambda parts: DeliveryRoutes(parts.deliveries).get),
    tenant(Role.AGENT_INVOKE, deliveries.REDELIVER, lambda parts: DeliveryRoutes(parts.deliveries).redeliver),
    tenant(Role.AGENT_INVOKE, deliveries.RECOVER, lambda parts: DeliveryRoutes(parts.deliveries).recover),
    tools(mcp.POST, lambda parts: McpRoutes(parts.tool_door, parts.edge.origins).post),
    agent(tool_tokens.RENEW, lambda parts: _tools(parts).renew),
    public(tool_tokens.KEYS, lambda parts: _tools(parts).keys),
    *map(_admin, ADMIN_ROUTES),
    public(openapi.DOCUMENT, lambda _: _papers().document.get),
    public(openapi.PAGE, lambda _: _papers().page.get),
)


def operations() -> tuple[Operation, ...]:
    """Return the description of every operation of the API."""
    return tuple(route.operation for route in ROUTES)


def build(parts: Parts) -> web.Application:
    """Return the application that serves the API."""
    app = web.Application()
    parts.edge.install(app)
    app.add_routes([web.route(route.operation.method, route.operation.path, route.handler(parts)) for route in ROUTES])
    return app
