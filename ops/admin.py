"""Builds what operators' routes are made of."""

from gateway.admin.agents import AgentAdmin
from gateway.admin.api_keys import ApiKeyAdmin
from gateway.admin.audit import AuditAdmin
from gateway.admin.bindings import BindingAdmin
from gateway.admin.table import Admin
from gateway.admin.tenants import TenantAdmin
from gateway.admin.trail import AdminTrail
from gateway.tokens import TokenRules
from ops.wiring import Floor
from tenancy.registry import TenantRegistry


def admin(base: Floor, registry: TenantRegistry) -> Admin:
    """Return what operators do, one part for each noun."""
    clock, settings, trail = base.clock, base.settings, AdminTrail(base.chain, base.clock)
    rules = TokenRules(settings.authority, settings.audience)
    bindings = BindingAdmin(registry, base.platform, base.acts, base.changes, rules, trail, clock)
    return Admin(
        tenants=TenantAdmin(registry, base.platform, bindings, trail, clock),
        api_keys=ApiKeyAdmin(registry, base.stores, base.acts, base.changes, trail, clock),
        agents=AgentAdmin(base.platform, base.acts, base.catalog, trail, clock),
        audit=AuditAdmin(base.platform, base.chain),
    )
