"""The region in which agents run, as operators look at it and switch it.

A switch is written under the failover lock and no older fence. What comes of it is seen by looking: every gateway
process says within seconds which region it serves.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.admin.region_schemas import ProcessView, RegionView, SwitchRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.fields import read_body
from gateway.operations import IDEMPOTENCY_KEY, Content, Operation, answer
from gateway.routes.answers import json_answer
from tenancy.changes import ChangeFeed
from tenancy.context import Principal
from tenancy.data_models import OpsLock, ProcessLease
from tenancy.errors import LockHeldError, LockLostError
from tenancy.failover_lock import FAILOVER, OperatorLocks
from tenancy.platform_store import PlatformStore
from tenancy.region_flag import KIND, RegionSwitch

TAG: Final = "Regions"
_HOME: Final = RegionView(
    serving="eu-west-1",
    home="eu-west-1",
    failover="eu-central-1",
    fence=0,
    changed_by="nobody",
    changed_at=None,
    reason="nobody has switched yet",
    settled=True,
    advice="stay",
    processes=(ProcessView.of(ProcessLease(process="0" * 16, record_version="1", lease_s=10, region="eu-west-1")),),
)
_AWAY: Final = _HOME.model_copy(
    update={
        "serving": "eu-central-1",
        "fence": 1,
        "changed_by": "6f1d2c3b-0000-4000-8000-00000000000a",
        "changed_at": datetime(2025, 6, 1, 12, tzinfo=UTC),
        "reason": "Dublin does not answer",
        "settled": False,
    }
)
_HELD: Final = LockHeldError("6f1d2c3b-0000-4000-8000-00000000000b", 4, 17)
GET: Final = Operation(
    "GET",
    "/v1/admin/region",
    "getRegion",
    TAG,
    "Look which region serves",
    "The region agents run in, and for each gateway process which one it serves and how that answers it.",
    (answer(200, "The region and the processes.", _HOME),),
)
FAIL_OVER: Final = Operation(
    "POST",
    "/v1/admin/region/fail-over",
    "failOver",
    TAG,
    "Have the failover region serve",
    "From now on agents run there, on every process within 5 s. What runs over a connection ends with "
    "`region_failover`; jobs are begun anew where they may be. Failing over twice changes nothing.",
    (answer(200, "The switch is written; `settled` says whether all serve it.", _AWAY),),
    parameters=(IDEMPOTENCY_KEY,),
    body=Content({"down": SwitchRequest(reason="Dublin does not answer", fence=1)}),
    problems=(_HELD, LockLostError()),
)
FAIL_BACK: Final = Operation(
    "POST",
    "/v1/admin/region/fail-back",
    "failBack",
    TAG,
    "Have the home region serve again",
    "The way back: as failing over, to the region that serves by default.",
    (answer(200, "The switch is written; `settled` says whether all serve it.", _HOME),),
    parameters=(IDEMPOTENCY_KEY,),
    body=Content({"up": SwitchRequest(reason="Dublin is back", fence=3)}),
    problems=(_HELD, LockLostError()),
)


@dataclass(frozen=True, slots=True)
class RegionAdmin:
    """`/v1/admin/region`."""

    platform: PlatformStore
    locks: OperatorLocks
    switch: RegionSwitch
    changes: ChangeFeed
    trail: AdminTrail
    failover: str

    async def get(self, _request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with the region that serves."""
        return await self._shown()

    async def fail_over(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Switch to the failover region."""
        return await self._switch(request, actor, "region.fail_over", self.failover)

    async def fail_back(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Switch to the home region."""
        return await self._switch(request, actor, "region.fail_back", self.switch.home)

    async def _switch(self, request: web.Request, actor: Principal, operation: str, region: str) -> web.StreamResponse:
        asked = await read_body(SwitchRequest, request)
        act = Act.of(request, actor, operation, asked.reason)
        async with self._holding(actor.subject, asked) as lock, self.trail.around(act, None, target=region):
            flag = await self.switch.read()
            if (self.switch.home if flag is None else flag.region) != region:
                await self.switch.switch(region, lock, by=actor.subject, reason=asked.reason)
        await self.changes.publish(KIND, region)
        return await self._shown()

    @asynccontextmanager
    async def _holding(self, holder: str, asked: SwitchRequest) -> AsyncIterator[OpsLock]:
        """Hold the lock for the block: the caller's own, or one taken for it and given back."""
        if asked.fence is not None:
            yield await self.locks.held(FAILOVER, holder, asked.fence)
            return
        lock = await self.locks.acquire(FAILOVER, holder, asked.reason)
        try:
            await self.switch.guard(lock)
            yield lock
        finally:
            await self.locks.release(FAILOVER, holder, lock.fence)

    async def _shown(self) -> web.StreamResponse:
        flag, leases = await self.switch.read(), await self.platform.processes()
        return json_answer(RegionView.of(flag, leases, home=self.switch.home, failover=self.failover).to_json())
