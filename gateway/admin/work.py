"""A tenant's work as operators look at it and stop it: by the tenant's own routes, entered in the tenant's name.

What a tenant may look at, an operator may, and sees the same. What an operator does there needs a reason and stands on
the tenant's audit chain: an event before it, for it is no change of stored items alone, and one that says how it ended.
"""

from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from gateway.access import PrincipalHandler, TenantHandler
from gateway.admin.paths import TENANT, tenant_in
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.fields import read_body
from gateway.operations import IDEMPOTENCY_KEY, Content, Operation
from gateway.routes import deliveries, invocations, jobs, usage, webhooks
from gateway.routes.deliveries import DeliveryRoutes
from gateway.routes.invocations import InvocationRoutes
from gateway.routes.jobs import JobRoutes
from gateway.routes.usage import UsageRoutes
from gateway.routes.webhooks import WebhookRoutes
from tenancy.context import Principal, TenantContext
from tenancy.registry import TenantRegistry

TAG: Final = "Tenants' work"
_WHY: Final = Content({"why": ReasonRequest(reason="runs away")})


def _of(operation: Operation, name: str, summary: str) -> Operation:
    """Return a tenant's operation as an operator has it."""
    path = operation.path.replace("/v1/", "/v1/admin/tenants/{tenant}/", 1)
    return replace(operation, path=path, id=name, tag=TAG, summary=summary, parameters=(TENANT, *operation.parameters))


def _act(operation: Operation, name: str, summary: str) -> Operation:
    """Return what a tenant does as an operator does it, with a reason."""
    mine = _of(operation, name, summary)
    keyed = tuple(one for one in mine.parameters if one is not IDEMPOTENCY_KEY)
    said = mine.description.replace(" Takes no body.", "")
    return replace(mine, parameters=(*keyed, IDEMPOTENCY_KEY), body=_WHY, description=said)


INVOCATION: Final = _of(invocations.GET, "getTenantInvocation", "Look at an invocation")
STOP_INVOCATION: Final = _act(invocations.CANCEL, "cancelTenantInvocation", "Stop an invocation")
JOBS: Final = _of(jobs.LIST, "listTenantJobs", "List a tenant's jobs")
JOB: Final = _of(jobs.GET, "getTenantJob", "Look at a job")
CANCEL_JOB: Final = _act(jobs.CANCEL, "cancelTenantJob", "Cancel a job")
WEBHOOKS: Final = _of(webhooks.LIST, "listTenantWebhooks", "List a tenant's webhooks")
WEBHOOK: Final = _of(webhooks.GET, "getTenantWebhook", "Look at a webhook")
DELIVERIES: Final = _of(deliveries.LIST, "listTenantDeliveries", "List what a webhook was sent")
USAGE: Final = _of(usage.GET, "getTenantUsage", "Look at what a tenant used and what it cost")
REDELIVER: Final = _act(deliveries.REDELIVER, "redeliverForTenant", "Send a delivery again")


@dataclass(frozen=True, slots=True)
class WorkAdmin:
    """`/v1/admin/tenants/{tenant}/…` of what tenants have routes for themselves."""

    registry: TenantRegistry
    trail: AdminTrail
    invocations: InvocationRoutes
    jobs: JobRoutes
    webhooks: WebhookRoutes
    deliveries: DeliveryRoutes
    usage: UsageRoutes

    def reading(self, handler: TenantHandler) -> PrincipalHandler:
        """Return a tenant's handler that shows something, for operators."""

        async def read(request: web.Request, actor: Principal) -> web.StreamResponse:
            return await handler(request, await self._context(request, actor))

        return read

    def acting(self, operation: str, target: str, handler: TenantHandler) -> PrincipalHandler:
        """Return a tenant's handler that does something to what the path's `target` names, for operators."""

        async def act(request: web.Request, actor: Principal) -> web.StreamResponse:
            asked = await read_body(ReasonRequest, request)
            ctx = await self._context(request, actor)
            told = Act.of(request, actor, operation, asked.reason)
            async with self.trail.around(told, ctx.tenant_id, target=request.match_info[target]):
                return await handler(request, ctx)

        return act

    async def _context(self, request: web.Request, actor: Principal) -> TenantContext:
        return TenantContext(await tenant_in(request, self.registry), actor)
