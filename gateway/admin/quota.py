"""How near the runtime sessions in use are to AgentCore's quota, who uses them, and ending all that a tenant has.

AgentCore lists no sessions: what is told is Lockgate's own count of what its processes used.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from agents.catalog import Catalog
from agents.census import Census, UsedSession
from agents.census import Count as SessionCount
from agents.errors import AgentUnknownError, RuntimeFaultError
from agents.regions import Regions
from gateway.admin.paths import TENANT, tenant_in, tenant_of
from gateway.admin.region_schemas import RegionText
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.errors import NotFoundError
from gateway.fields import read_body
from gateway.invoke import Stopper
from gateway.operations import Content, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import Count, TenantText, Timestamp, WireModel
from tenancy.context import Principal
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.registry import TenantRegistry
from tenancy.trips import RedisAwayError

MARKS: Final = (95, 90, 80, 70)
# A tenant with more than this part of what is in use is said to run away, once that is this part of the quota.
RUNAWAY_PERCENT: Final = 40
NOT_FEW_PERCENT: Final = 20
_SHOWN: Final = 100
_AT_ONCE: Final = 10


class TenantSessionsView(WireModel):
    """What one tenant has in use."""

    tenant: TenantText
    sessions: Count
    percent: Count = Field(description="Of those in use.")
    runaway: bool = Field(description="Whether it has more than its fair part of what is no longer little.")


class QuotaView(WireModel):
    """The runtime sessions in use, and the tenants that have the most of them."""

    counted_at: Timestamp
    sessions: Count
    limit: Count
    percent: Count
    mark: Literal[0, 70, 80, 90, 95] = Field(description="The highest of the marks that it has reached.")
    headroom: Count = Field(description="How many more may begin.")
    region: RegionText = Field(description="Where new ones begin. AgentCore has a quota for each region.")
    tenants: Annotated[tuple[TenantSessionsView, ...], Field(json_schema_extra={"maxItems": _SHOWN})]

    @classmethod
    def of(cls, count: SessionCount, limit: int, now: datetime, region: str) -> "QuotaView":
        """Show a count."""
        percent = 100 * count.total // limit
        few = percent < NOT_FEW_PERCENT
        return cls(
            counted_at=count.at or now,
            sessions=count.total,
            limit=limit,
            percent=percent,
            mark=next((mark for mark in MARKS if percent >= mark), 0),
            headroom=max(0, limit - count.total),
            region=region,
            tenants=tuple(
                TenantSessionsView(
                    tenant=tenant,
                    sessions=sessions,
                    percent=100 * sessions // max(1, count.total),
                    runaway=not few and 100 * sessions > RUNAWAY_PERCENT * count.total,
                )
                for tenant, sessions in list((count.by_tenant or {}).items())[:_SHOWN]
            ),
        )


class StoppedView(WireModel):
    """How many sessions were ended, and how many AgentCore did not end."""

    stopped: Count
    failed: Count


_AT: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_TAG: Final = "Quota"
GET: Final = Operation(
    "GET",
    "/v1/admin/quota",
    "getQuota",
    _TAG,
    "Look at AgentCore's quota",
    "How many runtime sessions are in use, of how many, and by whom: those used in the last 15 minutes or in use now, "
    "counted by Lockgate itself. After Redis was emptied the count is whole again within 15 minutes.",
    (
        answer(
            200,
            "The quota as it stands.",
            QuotaView.of(
                SessionCount(1800, {TenantId("globex"): 1100, TenantId("acme"): 700}, _AT), 2500, _AT, "eu-west-1"
            ),
        ),
    ),
)
STOP: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/stop-sessions",
    "stopTenantSessions",
    _TAG,
    "End all runtime sessions of a tenant",
    "Ends every session the tenant has in use, and what runs in it: streams end with an error, jobs are begun again "
    "where their agent allows it, conversations lose what their agent held in memory. A tenant that is not suspended "
    "may begin new ones at once. What AgentCore did not end is counted as failed: ask again.",
    (answer(200, "How many were ended.", StoppedView(stopped=1100, failed=0)),),
    parameters=(TENANT,),
    body=Content({"runaway": ReasonRequest(reason="runaway, suspended")}),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class QuotaAdmin:
    """`/v1/admin/quota`, and ending a tenant's sessions."""

    census: Census
    limit: int
    registry: TenantRegistry
    catalog: Catalog
    stopper: Stopper
    trail: AdminTrail
    regions: Regions

    async def get(self, _request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with the count of this moment."""
        try:
            count = await self.census.count()
        except RedisAwayError:
            raise StoreUnavailableError from None
        return json_answer(QuotaView.of(count, self.limit, self.trail.clock.now(), self.regions.serving).to_json())

    async def stop(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """End what a tenant has in use."""
        tenant_id, asked = tenant_of(request), await read_body(ReasonRequest, request)
        await tenant_in(request, self.registry)
        try:
            sessions = await self.census.sessions(tenant_id)
        except RedisAwayError:
            raise StoreUnavailableError from None
        act = Act.of(request, actor, "tenant.stop_sessions", asked.reason)
        async with self.trail.around(act, tenant_id, target=f"{len(sessions)} sessions"):
            room = asyncio.Semaphore(_AT_ONCE)
            ended = await asyncio.gather(*(self._stop(session, room) for session in sessions))
        return json_answer(StoppedView(stopped=sum(ended), failed=len(ended) - sum(ended)).to_json())

    async def _stop(self, session: UsedSession, room: asyncio.Semaphore) -> bool:
        async with room:
            try:
                agent = await self.catalog.get(session.agent, session.version)
                await self.stopper.stop(agent, session.id)
            except (AgentUnknownError, RuntimeFaultError):
                return False
        return True
