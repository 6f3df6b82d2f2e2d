"""What operators do, told on the audit chain: who, what, why, what it was before and what it is now.

A change of stored items is handed to `tell` (or, for tenants, to `writing`) and stored together with its event: there
is no change without one. What is no change of stored items, such as ending what runs, is done inside `around`: an
event `begun` stands before it, and one says how it ended; where that is missing, nobody knows.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from pydantic import JsonValue

from gateway.middleware import ORIGIN
from tenancy.chain import PLATFORM, AuditChain, Commit
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import AuditedChange, AuditEvent, Outcome, Tenant
from tenancy.ids import TenantId, new_audit_id
from tenancy.registry import Write
from tenancy.steps import PutStep

# What follows from other fields, or is said as the event's reason.
_UNTOLD: Final = {"tenant_id", "version", "created_at", "updated_at", "status_reason", "deleted_at", "deleted_from"}

Fields = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that an operator does, and why."""

    actor: Principal
    operation: str
    reason: str
    request_id: str

    @classmethod
    def of(cls, request: web.Request, actor: Principal, operation: str, reason: str) -> "Act":
        """Return the act of a request."""
        return cls(actor, operation, reason, request[ORIGIN].request_id)


@dataclass(frozen=True, slots=True)
class AdminTrail:
    """Tells acts; `tenant_id` is whom one is done to, None where that is the platform."""

    chain: AuditChain
    clock: Clock

    async def tell(
        self,
        act: Act,
        tenant_id: TenantId | None,
        commit: Commit | None = None,
        *,
        target: str | None = None,
        before: Fields | None = None,
        after: Fields | None = None,
        outcome: Outcome = "allowed",
    ) -> None:
        """Store an act's event, together with the change that `commit` makes.

        Raises ConditionFailedError where the change's condition failed, StoreUnavailableError; neither is stored then.
        """
        now = self.clock.now()
        event = AuditEvent(
            tenant_id=tenant_id or PLATFORM,
            audit_id=new_audit_id(now),
            actor=act.actor.subject,
            acting_tenant=act.actor.tenant_id,
            operation=act.operation,
            outcome=outcome,
            reason=act.reason,
            request_id=act.request_id,
            target=target,
            changes=tuple(_differing(before or {}, after or {})),
            at=now,
        )
        await self.chain.append(event, commit)

    def writing(self, act: Act) -> Write:
        """Return what stores a changed tenant."""

        async def write(before: Tenant | None, after: Tenant, step: PutStep) -> None:
            told = None if before is None else _told(before)
            commit = self.chain.within(after.tenant_id, step)
            await self.tell(act, after.tenant_id, commit, before=told, after=_told(after))

        return write

    @asynccontextmanager
    async def around(self, act: Act, tenant_id: TenantId | None, *, target: str) -> AsyncIterator[None]:
        """Do inside what cannot be stored together with its event."""
        await self.tell(act, tenant_id, target=target, outcome="begun")
        try:
            yield
        except Exception:
            await self.tell(act, tenant_id, target=target, outcome="failed")
            raise
        await self.tell(act, tenant_id, target=target)


def _differing(before: Fields, after: Fields) -> Iterator[AuditedChange]:
    """Yield each field that differs."""
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield AuditedChange(field=field, before=_text(before.get(field)), after=_text(after.get(field)))


def _told(tenant: Tenant) -> Fields:
    told: dict[str, JsonValue] = tenant.model_dump(mode="json", exclude=_UNTOLD | {"limits"})
    return told | {f"limits.{name}": value for name, value in tenant.limits.model_dump().items()}


def _text(value: JsonValue) -> str:
    return orjson.dumps(value).decode()
