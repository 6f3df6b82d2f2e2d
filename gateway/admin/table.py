"""The Admin API: every operation with its handler and the role it needs, in one table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.access import PrincipalHandler, TenantHandler
from gateway.admin import (
    agents,
    api_keys,
    audit,
    billing,
    bindings,
    erasure,
    export,
    health,
    jobs,
    locks,
    quota,
    region,
    sessions,
    tenants,
    tools,
    webhooks,
    work,
)
from gateway.admin.agents import AgentAdmin
from gateway.admin.api_keys import ApiKeyAdmin
from gateway.admin.audit import AuditAdmin
from gateway.admin.billing import BillingAdmin
from gateway.admin.erasure import ErasureAdmin
from gateway.admin.export import ExportAdmin
from gateway.admin.health import HealthAdmin
from gateway.admin.jobs import JobAdmin
from gateway.admin.locks import LockAdmin
from gateway.admin.quota import QuotaAdmin
from gateway.admin.region import RegionAdmin
from gateway.admin.sessions import SessionAdmin
from gateway.admin.tenants import TenantAdmin
from gateway.admin.tools import ToolAdmin
from gateway.admin.webhooks import WebhookAdmin
from gateway.admin.work import WorkAdmin
from gateway.operations import Operation
from tenancy.context import Role

_OPERATOR: Final = Role.PLATFORM_OPERATOR
_ADMIN: Final = Role.PLATFORM_ADMIN
_DEVELOPER: Final = Role.AGENT_DEVELOPER


@dataclass(frozen=True, slots=True)
class Admin:
    """What operators' routes are made of, one part for each noun."""

    tenants: TenantAdmin
    erasure: ErasureAdmin
    export: ExportAdmin
    billing: BillingAdmin
    audit: AuditAdmin
    api_keys: ApiKeyAdmin
    agents: AgentAdmin
    work: WorkAdmin
    sessions: SessionAdmin
    jobs: JobAdmin
    webhooks: WebhookAdmin
    region: RegionAdmin
    locks: LockAdmin
    tools: ToolAdmin
    quota: QuotaAdmin
    health: HealthAdmin


def _read(operation: Operation, handler: Callable[[WorkAdmin], TenantHandler]) -> "AdminRoute":
    """Return the route of what a tenant looks at, for operators."""
    return AdminRoute(_OPERATOR, operation, lambda admin: admin.work.reading(handler(admin.work)))


def _do(operation: Operation, name: str, target: str, handler: Callable[[WorkAdmin], TenantHandler]) -> "AdminRoute":
    """Return the route of what a tenant does, for operators."""
    return AdminRoute(_OPERATOR, operation, lambda admin: admin.work.acting(name, target, handler(admin.work)))


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """One operation for the platform's own operators with `role`; a developer's is a tenant's developers' too."""

    role: Role
    operation: Operation
    handler: Callable[[Admin], PrincipalHandler]


ADMIN_ROUTES: Final = (
    AdminRoute(_OPERATOR, tenants.LIST, lambda admin: admin.tenants.list),
    AdminRoute(_ADMIN, tenants.CREATE, lambda admin: admin.tenants.create),
    AdminRoute(_OPERATOR, tenants.GET, lambda admin: admin.tenants.get),
    AdminRoute(_ADMIN, tenants.PATCH, lambda admin: admin.tenants.patch),
    AdminRoute(_OPERATOR, tenants.SUSPEND, lambda admin: admin.tenants.suspend),
    AdminRoute(_OPERATOR, tenants.REINSTATE, lambda admin: admin.tenants.reinstate),
    AdminRoute(_ADMIN, tenants.DELETE, lambda admin: admin.tenants.delete),
    AdminRoute(_ADMIN, tenants.RESTORE, lambda admin: admin.tenants.restore),
    AdminRoute(_ADMIN, export.EXPORT, lambda admin: admin.export.get),
    AdminRoute(_OPERATOR, billing.LIST, lambda admin: admin.billing.list),
    AdminRoute(_OPERATOR, billing.GET, lambda admin: admin.billing.get),
    _read(work.USAGE, lambda mine: mine.usage.get),
    AdminRoute(_OPERATOR, erasure.PLAN, lambda admin: admin.erasure.plan),
    AdminRoute(_ADMIN, erasure.ERASE, lambda admin: admin.erasure.erase),
    AdminRoute(_OPERATOR, erasure.CERTIFICATE, lambda admin: admin.erasure.certificate),
    AdminRoute(_OPERATOR, bindings.LIST, lambda admin: admin.tenants.bindings.list),
    AdminRoute(_ADMIN, bindings.BIND, lambda admin: admin.tenants.bindings.post),
    AdminRoute(_ADMIN, bindings.UNBIND, lambda admin: admin.tenants.bindings.delete),
    AdminRoute(_OPERATOR, api_keys.LIST, lambda admin: admin.api_keys.list),
    AdminRoute(_ADMIN, api_keys.CREATE, lambda admin: admin.api_keys.create),
    AdminRoute(_OPERATOR, api_keys.GET, lambda admin: admin.api_keys.get),
    AdminRoute(_ADMIN, api_keys.ROTATE, lambda admin: admin.api_keys.rotate),
    AdminRoute(_OPERATOR, api_keys.REVOKE, lambda admin: admin.api_keys.revoke),
    AdminRoute(_DEVELOPER, agents.LIST, lambda admin: admin.agents.list),
    AdminRoute(_DEVELOPER, agents.REGISTER, lambda admin: admin.agents.register),
    AdminRoute(_DEVELOPER, agents.VERSIONS, lambda admin: admin.agents.versions),
    AdminRoute(_DEVELOPER, agents.GET, lambda admin: admin.agents.get),
    AdminRoute(_OPERATOR, agents.STEP, lambda admin: admin.agents.step),
    AdminRoute(_ADMIN, agents.PROMOTE, lambda admin: admin.agents.promote),
    AdminRoute(_OPERATOR, agents.ROLL_BACK, lambda admin: admin.agents.roll_back),
    AdminRoute(_ADMIN, agents.DISABLE, lambda admin: admin.agents.disable),
    AdminRoute(_OPERATOR, sessions.INVOCATIONS, lambda admin: admin.sessions.invocations),
    _read(work.INVOCATION, lambda mine: mine.invocations.get),
    _do(work.STOP_INVOCATION, "invocation.cancel", "invocation", lambda mine: mine.invocations.cancel),
    AdminRoute(_OPERATOR, sessions.SESSIONS, lambda admin: admin.sessions.sessions),
    AdminRoute(_OPERATOR, sessions.STOP, lambda admin: admin.sessions.stop),
    _read(work.JOBS, lambda mine: mine.jobs.list),
    _read(work.JOB, lambda mine: mine.jobs.get),
    _do(work.CANCEL_JOB, "job.cancel", "job", lambda mine: mine.jobs.cancel),
    AdminRoute(_ADMIN, jobs.FAIL, lambda admin: admin.jobs.fail),
    AdminRoute(_OPERATOR, jobs.LIST, lambda admin: admin.jobs.list),
    AdminRoute(_OPERATOR, jobs.REDRIVE, lambda admin: admin.jobs.redrive),
    AdminRoute(_ADMIN, jobs.PURGE, lambda admin: admin.jobs.purge),
    _read(work.WEBHOOKS, lambda mine: mine.webhooks.list),
    _read(work.WEBHOOK, lambda mine: mine.webhooks.get),
    AdminRoute(_OPERATOR, webhooks.DISABLE, lambda admin: admin.webhooks.disable),
    _read(work.DELIVERIES, lambda mine: mine.deliveries.list),
    _do(work.REDELIVER, "delivery.redeliver", "delivery", lambda mine: mine.deliveries.redeliver),
    AdminRoute(_OPERATOR, region.GET, lambda admin: admin.region.get),
    AdminRoute(_ADMIN, region.FAIL_OVER, lambda admin: admin.region.fail_over),
    AdminRoute(_ADMIN, region.FAIL_BACK, lambda admin: admin.region.fail_back),
    AdminRoute(_OPERATOR, locks.LIST, lambda admin: admin.locks.list),
    AdminRoute(_OPERATOR, locks.GET, lambda admin: admin.locks.get),
    AdminRoute(_ADMIN, locks.ACQUIRE, lambda admin: admin.locks.acquire),
    AdminRoute(_ADMIN, locks.RENEW, lambda admin: admin.locks.renew),
    AdminRoute(_ADMIN, locks.RELEASE, lambda admin: admin.locks.release),
    AdminRoute(_ADMIN, locks.STEAL, lambda admin: admin.locks.steal),
    AdminRoute(_OPERATOR, tools.LIST, lambda admin: admin.tools.list),
    AdminRoute(_OPERATOR, tools.GET, lambda admin: admin.tools.get),
    AdminRoute(_ADMIN, tools.PUT, lambda admin: admin.tools.put),
    AdminRoute(_OPERATOR, tools.OF_TENANT, lambda admin: admin.tools.of_tenant),
    AdminRoute(_ADMIN, tools.EXCEPT, lambda admin: admin.tools.exempt),
    AdminRoute(_ADMIN, tools.RESET, lambda admin: admin.tools.reset),
    AdminRoute(_OPERATOR, quota.GET, lambda admin: admin.quota.get),
    AdminRoute(_OPERATOR, quota.STOP, lambda admin: admin.quota.stop),
    AdminRoute(_OPERATOR, health.GET, lambda admin: admin.health.get),
    AdminRoute(_OPERATOR, audit.LIST, lambda admin: admin.audit.list),
    AdminRoute(_OPERATOR, audit.EXPORT, lambda admin: admin.audit.export),
    AdminRoute(_OPERATOR, audit.SECURITY, lambda admin: admin.audit.security),
)
