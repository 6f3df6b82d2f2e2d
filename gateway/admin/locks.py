"""Locks that keep operators out of each other's way, and the sweeper's, which a worker holds, to look at.

A lock is acquired, renewed while it is needed, and released, each time under its fence. One whose holder is gone frees
itself, or is stolen with a reason.
"""

import math
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.admin.region import TAG
from gateway.admin.region_schemas import FenceRequest, LocksView, LockView, ReleaseRequest
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.errors import NotFoundError
from gateway.fields import read_body
from gateway.operations import IDEMPOTENCY_KEY, Content, Operation, Parameter, Schema, answer
from gateway.routes.answers import json_answer
from jobs import election
from tenancy.context import Principal
from tenancy.data_models import OpsLock
from tenancy.errors import LockHeldError, LockLostError
from tenancy.failover_lock import FAILOVER, OperatorLocks
from tenancy.region_flag import RegionSwitch

SHOWN: Final = (FAILOVER, election.LOCK)
_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z]+$", "minLength": 1, "maxLength": 32}
LOCK: Final = Parameter("lock", "path", "A lock's name.", _NAME, FAILOVER)
_OPERATOR: Final = "6f1d2c3b-0000-4000-8000-00000000000a"
_HELD: Final = LockView(
    name=FAILOVER,
    holder=_OPERATOR,
    fence=5,
    lease_seconds=30,
    free_in_seconds=30,
    reason="Dublin does not answer",
)
_FREE: Final = _HELD.model_copy(update={"holder": None, "free_in_seconds": 0})
_TAKEN: Final = LockHeldError("6f1d2c3b-0000-4000-8000-00000000000b", 4, 17)
_PATH: Final = "/v1/admin/locks/{lock}"
LIST: Final = Operation(
    "GET",
    "/v1/admin/locks",
    "listLocks",
    TAG,
    "List the locks",
    "Who holds what operators take before they act, and who sweeps.",
    (answer(200, "The locks.", LocksView(items=(_FREE,))),),
)
GET: Final = Operation(
    "GET",
    _PATH,
    "getLock",
    TAG,
    "Look at a lock",
    "Who holds it, under which fence. Looking also begins to watch it: see `freeInSeconds`.",
    (answer(200, "The lock.", _HELD),),
    parameters=(LOCK,),
    problems=(NotFoundError(),),
)
ACQUIRE: Final = Operation(
    "POST",
    _PATH + "/acquire",
    "acquireLock",
    TAG,
    "Acquire a lock",
    "Takes a lock that is free, or that this process has seen unrenewed for a whole lease. Its fence goes with what is "
    "done under it; renew it before the lease is over.",
    (answer(200, "It is held.", _HELD),),
    parameters=(LOCK, IDEMPOTENCY_KEY),
    body=Content({"down": ReasonRequest(reason="Dublin does not answer")}),
    problems=(NotFoundError(), _TAKEN, LockLostError()),
)
RENEW: Final = Operation(
    "POST",
    _PATH + "/renew",
    "renewLock",
    TAG,
    "Go on holding a lock",
    "For one more lease from now.",
    (answer(200, "It is held.", _HELD),),
    parameters=(LOCK,),
    body=Content({"held": FenceRequest(fence=5)}),
    problems=(NotFoundError(), LockLostError()),
)
RELEASE: Final = Operation(
    "POST",
    _PATH + "/release",
    "releaseLock",
    TAG,
    "Give a lock back",
    "Whoever wants it next need not wait.",
    (answer(200, "It is free.", _FREE),),
    parameters=(LOCK, IDEMPOTENCY_KEY),
    body=Content({"done": ReleaseRequest(reason="switched", fence=5)}),
    problems=(NotFoundError(), LockLostError()),
)
STEAL: Final = Operation(
    "POST",
    _PATH + "/steal",
    "stealLock",
    TAG,
    "Take a lock from its holder",
    "For a holder that is known to be gone. Nothing it still does under its fence is accepted from then on.",
    (answer(200, "It is held.", _HELD),),
    parameters=(LOCK, IDEMPOTENCY_KEY),
    body=Content({"gone": ReasonRequest(reason="her laptop is gone")}),
    problems=(NotFoundError(), _TAKEN, LockLostError()),
)


@dataclass(frozen=True, slots=True)
class LockAdmin:
    """`/v1/admin/locks`."""

    locks: OperatorLocks
    switch: RegionSwitch
    trail: AdminTrail

    async def list(self, _request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with every lock."""
        return json_answer(LocksView(items=tuple([await self._view(name) for name in SHOWN])).to_json())

    async def get(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with one lock."""
        name = request.match_info["lock"]
        if name not in SHOWN:
            raise NotFoundError
        return json_answer((await self._view(name)).to_json())

    async def acquire(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Take a lock, and shut out who held it before."""
        asked = await read_body(ReasonRequest, request)
        name = _operators(request)
        async with self.trail.around(Act.of(request, actor, "lock.acquire", asked.reason), None, target=name):
            lock = await self.locks.acquire(name, actor.subject, asked.reason)
            await self.switch.guard(lock)
        return _answered(lock)

    async def steal(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Take a lock from its holder, and shut that one out."""
        asked = await read_body(ReasonRequest, request)
        name = _operators(request)
        async with self.trail.around(Act.of(request, actor, "lock.steal", asked.reason), None, target=name):
            lock = await self.locks.steal(name, actor.subject, asked.reason)
            await self.switch.guard(lock)
        return _answered(lock)

    async def renew(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Go on holding a lock."""
        asked = await read_body(FenceRequest, request)
        return _answered(await self.locks.renew(_operators(request), actor.subject, asked.fence))

    async def release(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Give a lock back."""
        asked = await read_body(ReleaseRequest, request)
        name = _operators(request)
        async with self.trail.around(Act.of(request, actor, "lock.release", asked.reason), None, target=name):
            lock = await self.locks.release(name, actor.subject, asked.fence)
        return _answered(lock)

    async def _view(self, name: str) -> LockView:
        lock, left_s = await self.locks.read(name)
        return LockView.never_held(name) if lock is None else LockView.of(lock, left_s)


def _operators(request: web.Request) -> str:
    """Return the lock that the path names; raises NotFoundError for one that is no operator's to take."""
    if request.match_info["lock"] != FAILOVER:
        raise NotFoundError
    return FAILOVER


def _answered(lock: OpsLock) -> web.StreamResponse:
    left_s = 0 if lock.holder is None else math.ceil(lock.lease_s)
    return json_answer(LockView.of(lock, left_s).to_json())
