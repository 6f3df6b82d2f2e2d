"""How tenants' months stand: what each used and holds, of what budget, and whether that is much.

With a budget the figures are the very count that decides whether an invocation may go on; without one, and while Redis
is away, they are the ledger's. Each is read when it is asked for, and says when and where.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

from aiohttp import web
from pydantic import Field

from gateway.admin.paths import TENANT, TENANTS_CURSOR, cursor_after, tenant_before, tenant_in
from gateway.cursors import limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.operations import LIMIT, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import PAGE_MAX, Count, CursorText, TenantText, Timestamp, WireModel
from gateway.usage_schemas import MonthText
from tenancy.budgets import WARN_PERCENT, Budgets
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import Tenant, TenantStatus
from tenancy.ids import TenantId
from tenancy.ledger import Ledger
from tenancy.platform_store import PlatformStore
from tenancy.registry import TenantRegistry
from tenancy.tiers import Tier
from tenancy.trips import RedisAwayError

_AT_ONCE: Final = 8
_WHOLE: Final = 100
BillingState: TypeAlias = Literal["ok", "warn", "over"]
Source: TypeAlias = Literal["enforcer", "ledger"]


class BillingView(WireModel):
    """How a tenant's month stands; money in millionths of a US dollar."""

    tenant: TenantText
    tier: Tier
    status: TenantStatus
    month: MonthText
    used_microusd: Count = Field(description="What has ended came to.")
    reserved_microusd: Count | None = Field(description="What still runs has drawn; null where the ledger tells.")
    budget_microusd: Count | None
    percent: Count | None = Field(description="Used and reserved, of the budget; null without one.")
    state: BillingState = Field(description=f"`warn` from {WARN_PERCENT} %, `over` from {_WHOLE} %, else `ok`.")
    source: Source = Field(description="`enforcer` is the count that decides, `ledger` the sum of what has ended.")
    as_of: Timestamp

    @classmethod
    def of(cls, tenant: Tenant, month: str, used: int, reserved: int | None, as_of: datetime) -> "BillingView":
        """Show a month."""
        budget = tenant.monthly_budget_microusd
        percent = None if budget is None else _percent(used + (reserved or 0), budget)
        return cls(
            tenant=tenant.tenant_id,
            tier=tenant.tier,
            status=tenant.status,
            month=month,
            used_microusd=used,
            reserved_microusd=reserved,
            budget_microusd=budget,
            percent=percent,
            state=_state(percent),
            source="ledger" if reserved is None else "enforcer",
            as_of=as_of,
        )

    def to_json(self) -> bytes:
        """Keep nulls: here they say something."""
        return self.model_dump_json(by_alias=True).encode()


class BillingsView(WireModel):
    """One page of all tenants' months, by tenant; `nextCursor` is absent on the last."""

    items: Annotated[tuple[BillingView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None

    def to_json(self) -> bytes:
        """Keep the months' nulls."""
        last = {"next_cursor"} if self.next_cursor is None else set[str]()
        return self.model_dump_json(by_alias=True, exclude=last).encode()


def _percent(spent: int, budget: int) -> int:
    return spent * _WHOLE // budget if budget else _WHOLE


def _state(percent: int | None) -> BillingState:
    if percent is None or percent < WARN_PERCENT:
        return "ok"
    return "warn" if percent < _WHOLE else "over"


_AT: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_TENANT: Final = Tenant(
    tenant_id=TenantId("globex"),
    name="Globex",
    tier=Tier.BASIC,
    monthly_budget_microusd=250_000_000,
    created_at=_AT,
    updated_at=_AT,
)
_ONE: Final = BillingView.of(_TENANT, "2025-06", 210_000_000, 4_200_000, _AT)
_TAG: Final = "Tenants"
LIST: Final = Operation(
    "GET",
    "/v1/admin/billing",
    "listBilling",
    _TAG,
    "List how tenants' months stand",
    "What every tenant used this month and what still runs has reserved, of its budget, page by page, by tenant.",
    (answer(200, "A page of months.", BillingsView(items=(_ONE,), next_cursor=str(TENANTS_CURSOR.example))),),
    parameters=(LIMIT, TENANTS_CURSOR),
    problems=(FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]),),
)
GET: Final = Operation(
    "GET",
    "/v1/admin/tenants/{tenant}/billing",
    "getBilling",
    _TAG,
    "Look at how a tenant's month stands",
    "What it used this month and what still runs has reserved, of its budget.",
    (answer(200, "The month.", _ONE),),
    parameters=(TENANT,),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class BillingAdmin:
    """`/v1/admin/billing`."""

    platform: PlatformStore
    registry: TenantRegistry
    budgets: Budgets
    ledger: Ledger
    clock: Clock

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of months."""
        page = await self.platform.tenants(limit=limit_of(request), after=tenant_before(request.query.get("cursor")))
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(tenant: Tenant) -> BillingView:
            async with room:
                return await self._of(tenant)

        views = tuple(await asyncio.gather(*map(one, page.items)))
        return json_answer(BillingsView(items=views, next_cursor=cursor_after(page.after)).to_json())

    async def get(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with one tenant's month."""
        return json_answer((await self._of(await tenant_in(request, self.registry))).to_json())

    async def _of(self, tenant: Tenant) -> BillingView:
        month = self.budgets.month
        try:
            standing = await self.budgets.standing(tenant)
        except RedisAwayError:
            standing = None
        if standing is not None:
            return BillingView.of(tenant, month, standing.spent, standing.held, self.clock.now())
        used = await self.ledger.spent(tenant.tenant_id, month)
        return BillingView.of(tenant, month, used, None, self.clock.now())
