"""What operators do to a tenant, told to its audit trail: who, what, why, and what it was before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from pydantic import JsonValue

from gateway.middleware import ORIGIN
from tenancy.audit import AuditTrail
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import AuditedChange, AuditEvent, Tenant
from tenancy.ids import TenantId, new_audit_id

# What follows from other fields, or is said as the event's reason.
_UNTOLD: Final = {"tenant_id", "version", "created_at", "updated_at", "status_reason"}


@dataclass(frozen=True, slots=True)
class AdminTrail:
    """Records what was done; a change that was refused, or that changed nothing, is not one."""

    audit: AuditTrail
    clock: Clock

    def changed(
        self,
        request: web.Request,
        actor: Principal,
        operation: str,
        reason: str,
        *,
        before: Tenant | None,
        after: Tenant,
    ) -> None:
        """Record a tenant's change; `before` is None where it was created."""
        changes = tuple(changes_between(before, after))
        if changes:
            self._record(request, actor, after.tenant_id, operation, reason, changes=changes)

    def done(
        self, request: web.Request, actor: Principal, tenant_id: TenantId, operation: str, reason: str, *, target: str
    ) -> None:
        """Record what was done to something of a tenant's."""
        self._record(request, actor, tenant_id, operation, reason, target=target)

    def _record(
        self,
        request: web.Request,
        actor: Principal,
        tenant_id: TenantId,
        operation: str,
        reason: str,
        *,
        target: str | None = None,
        changes: tuple[AuditedChange, ...] = (),
    ) -> None:
        now = self.clock.now()
        self.audit.record(
            AuditEvent(
                tenant_id=tenant_id,
                audit_id=new_audit_id(now),
                actor=actor.subject,
                operation=operation,
                outcome="allowed",
                reason=reason,
                request_id=request[ORIGIN].request_id,
                target=target,
                changes=changes,
                at=now,
            )
        )


def changes_between(before: Tenant | None, after: Tenant) -> Iterator[AuditedChange]:
    """Yield each field that differs."""
    old, new = ({} if before is None else _told(before)), _told(after)
    for field, value in new.items():
        if old.get(field) != value:
            yield AuditedChange(field=field, before=_text(old.get(field)), after=_text(value))


def _told(tenant: Tenant) -> Mapping[str, JsonValue]:
    told: dict[str, JsonValue] = tenant.model_dump(mode="json", exclude=_UNTOLD | {"limits"})
    return told | {f"limits.{name}": value for name, value in tenant.limits.model_dump().items()}


def _text(value: JsonValue) -> str:
    return orjson.dumps(value).decode()
