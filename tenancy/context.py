"""On whose behalf something is done: settled once per request, then passed as a value."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tenancy.data_models import Tenant
from tenancy.ids import TenantId
from tenancy.tiers import Limits, limits_of


class Role(StrEnum):
    """What a principal may do; Entra app roles carry exactly these names."""

    AGENT_INVOKE = "Agent.Invoke"
    AGENT_DEVELOPER = "Agent.Developer"
    PLATFORM_OPERATOR = "Platform.Operator"
    PLATFORM_ADMIN = "Platform.Admin"


# A tenant's own administrators hand out the app's roles in their directory, the platform's among them.
TENANT_ROLES: Final = frozenset({Role.AGENT_INVOKE, Role.AGENT_DEVELOPER})


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: `subject` inside `tenant_id`, or of the platform itself where that is None."""

    subject: str
    client_id: str
    roles: frozenset[Role]
    tenant_id: TenantId | None


@dataclass(frozen=True, slots=True)
class TenantContext:
    """A principal acting for its own tenant, as the tenant stood when the request came in."""

    tenant: Tenant
    principal: Principal

    @property
    def tenant_id(self) -> TenantId:
        """The acting tenant."""
        return self.tenant.tenant_id

    @property
    def limits(self) -> Limits:
        """The tenant's ceilings, its overrides included."""
        return limits_of(self.tenant.tier, self.tenant.limits)
