"""Tenants as operators create, look at and change them.

What is answered is what the store holds, never a copy. Every change is in force on all processes within 2 s.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from aiohttp import web

from gateway.admin.bindings import BindingAdmin
from gateway.admin.paths import REASON, TENANT, TENANTS_CURSOR, cursor_after, known, tenant_before, tenant_in, tenant_of
from gateway.admin.redaction import require_usable
from gateway.admin.schemas import (
    EXAMPLE_REGION,
    AdminTenantView,
    BindingRequest,
    LimitsRequest,
    NewTenantRequest,
    ReasonRequest,
    TenantPatchRequest,
    TenantsView,
)
from gateway.admin.trail import Act, AdminTrail
from gateway.cursors import limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read, read_body
from gateway.operations import IDEMPOTENCY_KEY, LIMIT, Answer, Content, Operation, answer
from gateway.routes.answers import json_answer
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import Contacts, Tenant, TenantStatus
from tenancy.errors import BindingTakenError, TenantChangedError, TenantExistsError, TenantStateError
from tenancy.ids import TenantId, parse_tenant_id
from tenancy.platform_store import PlatformStore
from tenancy.registry import GRACE, Changed, TenantRegistry, Write
from tenancy.tiers import LimitOverrides, Tier

_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_TENANT: Final = Tenant(
    tenant_id=TenantId("globex"), name="Globex", tier=Tier.BASIC, version=0, created_at=_NOW, updated_at=_NOW
)
_ACTIVE: Final = AdminTenantView.of(_TENANT, EXAMPLE_REGION)
_CHANGED: Final = AdminTenantView.of(
    _TENANT.model_copy(update={"limits": LimitOverrides(requests_per_s=20, burst_requests=40), "version": 1}),
    EXAMPLE_REGION,
)
_SUSPENDED: Final = AdminTenantView.of(
    _TENANT.model_copy(update={"status": TenantStatus.SUSPENDED, "status_reason": "invoice overdue", "version": 2}),
    EXAMPLE_REGION,
)
_REINSTATED: Final = AdminTenantView.of(
    _TENANT.model_copy(update={"status_reason": "invoice paid", "version": 3}), EXAMPLE_REGION
)
_DELETED: Final = AdminTenantView.of(
    _TENANT.model_copy(
        update={
            "status": TenantStatus.DELETED,
            "status_reason": "contract ended",
            "deleted_at": _NOW,
            "erase_after_at": _NOW + GRACE,
            "version": 4,
        }
    ),
    EXAMPLE_REGION,
)
_RESTORED: Final = AdminTenantView.of(
    _TENANT.model_copy(update={"status_reason": "deleted by mistake", "version": 5}), EXAMPLE_REGION
)
_TAG: Final = "Tenants"
LIST: Final = Operation(
    "GET",
    "/v1/admin/tenants",
    "listTenants",
    _TAG,
    "List all tenants",
    "Every tenant by id, page by page. One just created may not be listed yet.",
    (answer(200, "A page of tenants.", TenantsView(items=(_ACTIVE,), next_cursor=str(TENANTS_CURSOR.example))),),
    parameters=(LIMIT, TENANTS_CURSOR),
    problems=(FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]),),
)
CREATE: Final = Operation(
    "POST",
    "/v1/admin/tenants",
    "createTenant",
    _TAG,
    "Create a tenant",
    "Creates a tenant and binds applications to it. Should a binding be taken by somebody else at that very moment, "
    "the tenant exists without it.",
    (answer(201, "The new tenant.", _ACTIVE, headers=("Location",)),),
    parameters=(IDEMPOTENCY_KEY,),
    body=Content(
        {
            "globex": NewTenantRequest(
                id="globex",
                name="Globex",
                tier=Tier.BASIC,
                bindings=(
                    BindingRequest(
                        issuer="https://login.microsoftonline.com/910be000-0000-4000-8000-000000000002/v2.0",
                        directory="910be000-0000-4000-8000-000000000002",
                        client_id="910be000-0000-4000-8000-0000000000c2",
                    ),
                ),
                reason="contract signed",
            )
        }
    ),
    problems=(TenantExistsError(), BindingTakenError()),
)
GET: Final = Operation(
    "GET",
    "/v1/admin/tenants/{tenant}",
    "getTenant",
    _TAG,
    "Look at a tenant",
    "The tenant as it stands in the store.",
    (Answer(200, "The tenant.", (Content({"active": _ACTIVE, "suspended": _SUSPENDED}),)),),
    parameters=(TENANT,),
    problems=(NotFoundError(),),
)
PATCH: Final = Operation(
    "PATCH",
    "/v1/admin/tenants/{tenant}",
    "updateTenant",
    _TAG,
    "Change a tenant's tier, limits, budget, redaction or contacts",
    "Changes what is named and leaves the rest. With `version`, only what was looked at is changed.",
    (answer(200, "The tenant as it stands now.", _CHANGED),),
    parameters=(TENANT,),
    body=Content(
        {
            "limits": TenantPatchRequest(
                limits=LimitsRequest(requests_per_second=20, burst_requests=40), version=0, reason="load test"
            )
        }
    ),
    problems=(NotFoundError(), TenantChangedError()),
)
SUSPEND: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/suspend",
    "suspendTenant",
    _TAG,
    "Suspend a tenant",
    "From now on the tenant is refused with 403 `tenant_suspended`, and what runs for it over a connection is ended "
    "with the same code, on every process. Suspending a suspended tenant changes nothing.",
    (answer(200, "The tenant as it stands now.", _SUSPENDED),),
    parameters=(TENANT, IDEMPOTENCY_KEY),
    body=Content({"overdue": ReasonRequest(reason="invoice overdue")}),
    problems=(NotFoundError(), TenantChangedError(), TenantStateError(TenantStatus.DELETED)),
)
REINSTATE: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/reinstate",
    "reinstateTenant",
    _TAG,
    "Reinstate a suspended tenant",
    "The tenant is served again. Reinstating an active tenant changes nothing.",
    (answer(200, "The tenant as it stands now.", _REINSTATED),),
    parameters=(TENANT, IDEMPOTENCY_KEY),
    body=Content({"paid": ReasonRequest(reason="invoice paid")}),
    problems=(NotFoundError(), TenantChangedError(), TenantStateError(TenantStatus.DELETED)),
)
DELETE: Final = Operation(
    "DELETE",
    "/v1/admin/tenants/{tenant}",
    "deleteTenant",
    _TAG,
    "Delete a tenant",
    "From now on the tenant is refused with 403 `tenant_deleted`, and what runs for it over a connection is ended with "
    "the same code, on every process; its jobs are cancelled, and what webhooks are owed is held. Nothing is erased: "
    "until `eraseAfter` it is only refused, and can be restored. Deleting a deleted tenant changes nothing.",
    (answer(200, "The tenant as it stands now.", _DELETED),),
    parameters=(TENANT, REASON),
    problems=(NotFoundError(), TenantChangedError(), FieldsInvalidError([FieldFault("/reason", "Field required")])),
)
RESTORE: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/restore",
    "restoreTenant",
    _TAG,
    "Restore a deleted tenant",
    "The tenant is what it was before, active or suspended, with all it had; jobs that were cancelled stay so. It can "
    "be restored for as long as nothing was erased. Restoring one that is not deleted changes nothing.",
    (answer(200, "The tenant as it stands now.", _RESTORED),),
    parameters=(TENANT, IDEMPOTENCY_KEY),
    body=Content({"mistake": ReasonRequest(reason="deleted by mistake")}),
    problems=(NotFoundError(), TenantChangedError()),
)


class _Turn(Protocol):
    """How the registry changes whether a tenant is served."""

    async def __call__(self, tenant_id: TenantId, reason: str, *, write: Write) -> Changed: ...


@dataclass(frozen=True, slots=True)
class TenantAdmin:
    """`/v1/admin/tenants`."""

    registry: TenantRegistry
    platform: PlatformStore
    bindings: BindingAdmin
    trail: AdminTrail
    clock: Clock
    # The platform's own region, where all data is.
    home: str

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of tenants."""
        page = await self.platform.tenants(limit=limit_of(request), after=tenant_before(request.query.get("cursor")))
        views = tuple(AdminTenantView.of(tenant, self.home) for tenant in page.items)
        return json_answer(TenantsView(items=views, next_cursor=cursor_after(page.after)).to_json())

    async def create(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Create a tenant, then bind its applications."""
        asked = await read_body(NewTenantRequest, request)
        self._require_home(asked.region)
        if await self.platform.erasure(parse_tenant_id(asked.id)) is not None:
            # What may still speak of the one before would speak of another.
            raise TenantExistsError
        now = self.clock.now()
        tenant = Tenant(
            tenant_id=parse_tenant_id(asked.id),
            name=asked.name,
            tier=asked.tier,
            limits=asked.limits.over(LimitOverrides()),
            monthly_budget_microusd=asked.monthly_budget_microusd,
            redaction=asked.redaction,
            redaction_patterns=tuple(pattern.stored() for pattern in asked.redaction_patterns),
            contacts=asked.contacts.over(Contacts()),
            region=self.home,
            created_at=now,
            updated_at=now,
        )
        await require_usable(tenant.redaction_patterns)
        await self.bindings.require_free(asked.bindings)
        await self.registry.create(tenant, self._writing(request, actor, "tenant.create", asked.reason))
        for binding in asked.bindings:
            await self.bindings.bind(request, actor, tenant.tenant_id, binding, asked.reason)
        headers = {"Location": f"/v1/admin/tenants/{tenant.tenant_id}"}
        return json_answer(AdminTenantView.of(tenant, self.home).to_json(), status=201, headers=headers)

    async def get(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with one tenant."""
        return self._shown(await tenant_in(request, self.registry))

    async def patch(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Change what is named of a tenant."""
        tenant_id = tenant_of(request)
        asked = await read_body(TenantPatchRequest, request)
        self._require_home(asked.region)
        await require_usable([pattern.stored() for pattern in asked.redaction_patterns or ()])
        write = self._writing(request, actor, "tenant.update", asked.reason)
        with known():
            changed = await self.registry.update(tenant_id, asked.applied, version=asked.version, write=write)
        return self._shown(changed.after)

    async def suspend(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Refuse a tenant from now on."""
        return await self._turn(request, actor, "suspend", self.registry.suspend)

    async def reinstate(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Serve a tenant again."""
        return await self._turn(request, actor, "reinstate", self.registry.reinstate)

    async def delete(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Refuse a tenant from now on, for good unless it is restored."""
        return await self._turn(request, actor, "delete", self.registry.delete)

    async def restore(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Make a deleted tenant what it was."""
        return await self._turn(request, actor, "restore", self.registry.restore)

    async def _turn(self, request: web.Request, actor: Principal, verb: str, turn: _Turn) -> web.StreamResponse:
        tenant_id = tenant_of(request)
        # A DELETE has no body: its query says why.
        by_query = request.method == "DELETE"
        asked = read(ReasonRequest, dict(request.query)) if by_query else await read_body(ReasonRequest, request)
        write = self._writing(request, actor, f"tenant.{verb}", asked.reason)
        with known():
            changed = await turn(tenant_id, asked.reason, write=write)
        return self._shown(changed.after)

    def _writing(self, request: web.Request, actor: Principal, operation: str, reason: str) -> Write:
        return self.trail.writing(Act.of(request, actor, operation, reason))

    def _require_home(self, region: str | None) -> None:
        if region not in {None, self.home}:
            raise FieldsInvalidError([FieldFault("/region", f"must be {self.home}: tenants' data is nowhere else")])

    def _shown(self, tenant: Tenant) -> web.Response:
        return json_answer(AdminTenantView.of(tenant, self.home).to_json())
