"""Builds what operators' routes are made of."""

from datetime import timedelta

from gateway.admin.agents import AgentAdmin
from gateway.admin.api_keys import ApiKeyAdmin
from gateway.admin.audit import AuditAdmin
from gateway.admin.billing import BillingAdmin
from gateway.admin.bindings import BindingAdmin
from gateway.admin.erasure import ErasureAdmin
from gateway.admin.export import ExportAdmin
from gateway.admin.health import Checks, HealthAdmin
from gateway.admin.jobs import JobAdmin
from gateway.admin.locks import LockAdmin
from gateway.admin.quota import QuotaAdmin
from gateway.admin.region import RegionAdmin
from gateway.admin.sessions import SessionAdmin
from gateway.admin.table import Admin
from gateway.admin.tenants import TenantAdmin
from gateway.admin.tools import ToolAdmin
from gateway.admin.trail import AdminTrail
from gateway.admin.webhooks import WebhookAdmin
from gateway.admin.work import WorkAdmin
from gateway.cancel import Cancellations
from gateway.invoke import RequestPath
from gateway.routes.deliveries import DeliveryRoutes
from gateway.routes.invocations import InvocationRoutes
from gateway.routes.jobs import JobRoutes
from gateway.routes.usage import UsageRoutes
from gateway.routes.webhooks import WebhookRoutes
from gateway.tokens import TokenRules
from ops.metering import Metering
from ops.wiring import Floor
from tenancy.erasure import Eraser
from tenancy.errors import StoreUnavailableError
from tenancy.failover_lock import OperatorLocks
from tenancy.ids import TenantId
from tenancy.region_flag import RegionSwitch
from tenancy.registry import TenantRegistry
from tenancy.tools import ToolRegistry
from tenancy.trips import RedisAwayError


def admin(
    base: Floor,
    registry: TenantRegistry,
    tools: ToolRegistry,
    path: RequestPath,
    cancellations: Cancellations,
    *,
    checks: Checks,
    meter: Metering,
) -> Admin:
    """Return what operators do, one part for each noun; `checks` are those of this process's readiness."""
    clock, settings, trail = base.clock, base.settings, AdminTrail(base.chain, base.clock)
    rules = TokenRules(settings.authority, settings.audience)
    bindings = BindingAdmin(registry, base.platform, base.acts, base.changes, rules, trail, clock)
    locks = OperatorLocks(base.platform, clock)
    switch = RegionSwitch(base.platform, clock, home=settings.runtime_region)
    return Admin(
        tenants=TenantAdmin(registry, base.platform, bindings, trail, clock, settings.home_region),
        erasure=ErasureAdmin(_eraser(base, registry), base.platform, base.acts, trail),
        export=ExportAdmin(base.estate, registry, base.platform, trail),
        billing=BillingAdmin(base.platform, registry, meter.budgets, meter.ledger, clock),
        api_keys=ApiKeyAdmin(registry, base.stores, base.acts, base.changes, trail, clock),
        agents=AgentAdmin(base.platform, base.acts, base.catalog, trail, clock),
        work=WorkAdmin(
            registry,
            trail,
            InvocationRoutes(path, cancellations),
            JobRoutes(base.jobs, base.queue, clock),
            WebhookRoutes(base.webhooks.endpoints, clock),
            DeliveryRoutes(base.webhooks.deliveries),
            UsageRoutes(meter.ledger, meter.budgets, clock),
        ),
        sessions=SessionAdmin(registry, base.stores, base.platform, base.runtime, trail),
        jobs=JobAdmin(registry, base.platform, base.catalog, base.jobs, base.queue, trail),
        webhooks=WebhookAdmin(base.webhooks.endpoints, trail, clock),
        region=RegionAdmin(base.platform, locks, switch, base.changes, trail, settings.failover_region),
        locks=LockAdmin(locks, switch, trail),
        tools=ToolAdmin(registry, tools, base.acts, trail, clock),
        quota=QuotaAdmin(
            base.census, settings.runtime_sessions, registry, base.catalog, base.runtime, trail, base.region.regions
        ),
        health=HealthAdmin(
            checks, base.platform, locks, switch, base.queue, base.census, settings.runtime_sessions, clock
        ),
        audit=AuditAdmin(base.platform, base.chain),
    )


def _eraser(base: Floor, registry: TenantRegistry) -> Eraser:
    async def forget_sessions(tenant_id: TenantId) -> None:
        try:
            for session in await base.census.sessions(tenant_id):
                base.census.stopped(session.id)
        except RedisAwayError:
            raise StoreUnavailableError from None

    quiet = timedelta(seconds=base.settings.erase_quiet_s)
    return Eraser(base.estate, registry, base.platform, base.chain, forget_sessions, base.clock, quiet)
