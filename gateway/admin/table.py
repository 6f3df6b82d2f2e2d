"""The Admin API: every operation with its handler and the role it needs, in one table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.access import PrincipalHandler
from gateway.admin import agents, api_keys, audit, bindings, tenants
from gateway.admin.agents import AgentAdmin
from gateway.admin.api_keys import ApiKeyAdmin
from gateway.admin.audit import AuditAdmin
from gateway.admin.tenants import TenantAdmin
from gateway.operations import Operation
from tenancy.context import Role

_OPERATOR: Final = Role.PLATFORM_OPERATOR
_ADMIN: Final = Role.PLATFORM_ADMIN
_DEVELOPER: Final = Role.AGENT_DEVELOPER


@dataclass(frozen=True, slots=True)
class Admin:
    """What operators' routes are made of, one part for each noun."""

    tenants: TenantAdmin
    audit: AuditAdmin
    api_keys: ApiKeyAdmin
    agents: AgentAdmin


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
    AdminRoute(_OPERATOR, audit.LIST, lambda admin: admin.audit.list),
    AdminRoute(_OPERATOR, audit.EXPORT, lambda admin: admin.audit.export),
    AdminRoute(_OPERATOR, audit.SECURITY, lambda admin: admin.audit.security),
)
