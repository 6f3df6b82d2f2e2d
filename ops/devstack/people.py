"""Who exists in a seeded stack: two tenants and an operator, each an application in a directory of its own."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ops.devstack.issuer import DevClient, SigningKeys, mint, read_clients, write_clients
from tenancy.context import Role
from tenancy.data_models import IdentityBinding, Tenant
from tenancy.ids import TenantId
from tenancy.tiers import Tier


@dataclass(frozen=True, slots=True)
class Application:
    """An application registered in a directory, with the app roles it was given; `tenant_id` None is an operator's."""

    tenant_id: TenantId | None
    directory: str
    client_id: str
    roles: tuple[Role, ...]

    def token(self, keys: SigningKeys, authority: str, now: datetime) -> str:
        """Return a token of this application, good for 12 h."""
        return mint(keys, authority=authority, tid=self.directory, client_id=self.client_id, roles=self.roles, now=now)

    def binding(self, authority: str, now: datetime) -> IdentityBinding:
        """Return the server-side proof of whom this application speaks for."""
        return IdentityBinding(
            issuer=f"{authority}/{self.directory}/v2.0",
            directory=self.directory,
            client_id=self.client_id,
            tenant_id=self.tenant_id,
            created_at=now,
        )


@dataclass(frozen=True, slots=True)
class SeededTenant:
    """A tenant and its one application."""

    name: str
    tier: Tier
    application: Application

    def record(self, tenant_id: TenantId, now: datetime) -> Tenant:
        """Return the tenant as it is stored at the first start."""
        return Tenant(tenant_id=tenant_id, name=self.name, tier=self.tier, created_at=now, updated_at=now)


_TENANT_ROLES: Final = (Role.AGENT_INVOKE, Role.AGENT_DEVELOPER)

TENANTS: Final = {
    TenantId("acme"): SeededTenant(
        "Acme",
        Tier.PREMIUM,
        Application(
            TenantId("acme"),
            "ac3e0000-0000-4000-8000-000000000001",
            "ac3e0000-0000-4000-8000-0000000000c1",
            _TENANT_ROLES,
        ),
    ),
    TenantId("globex"): SeededTenant(
        "Globex",
        Tier.BASIC,
        Application(
            TenantId("globex"),
            "910be000-0000-4000-8000-000000000002",
            "910be000-0000-4000-8000-0000000000c2",
            _TENANT_ROLES,
        ),
    ),
}
OPERATOR: Final = Application(
    None,
    "0be7a700-0000-4000-8000-000000000003",
    "0be7a700-0000-4000-8000-0000000000c3",
    (Role.PLATFORM_OPERATOR, Role.PLATFORM_ADMIN),
)
APPLICATIONS: Final = (*(tenant.application for tenant in TENANTS.values()), OPERATOR)


def register_applications(state: Path) -> None:
    """Make the identity provider know every seeded application, with a secret of its own; others stay as they are."""
    known = {(client.tid, client.client_id): client for client in read_clients(state)}
    for each in APPLICATIONS:
        place = (each.directory, each.client_id)
        secret = known[place].secret if place in known else secrets.token_urlsafe(24)
        known[place] = DevClient(tid=each.directory, client_id=each.client_id, secret=secret, roles=each.roles)
    write_clients(state, known.values())
