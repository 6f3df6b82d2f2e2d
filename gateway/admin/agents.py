"""The agent registry: versions are registered by developers, taken through their states and promoted by operators.

A tenant's developers see and add to what their own tenant registered, and nothing else. What is promoted, rolled back
or disabled is so on every process within 2 s; a conversation stays on the version it began with.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from agents.catalog import Catalog, precedence
from agents.errors import AgentTakenError, AgentVersionExistsError, LastPromotedError, ReleaseIllegalError
from agents.releases import NEXT, require_legal
from gateway.admin.agent_schemas import (
    VERSION_PATTERN,
    NewVersionRequest,
    PriceRequest,
    StepRequest,
    VersionsView,
    VersionView,
)
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.cursors import decode, encode, limit_of
from gateway.errors import NotFoundError
from gateway.fields import read_body
from gateway.operations import AGENT, CURSOR, IDEMPOTENCY_KEY, LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from tenancy.chain import PLATFORM
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import AgentVersion, Mode, ReleaseState
from tenancy.errors import ConditionFailedError
from tenancy.ids import parse_agent_name
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore

_ASKED: Final = NewVersionRequest(
    name="echo-agent",
    version="1.1.0",
    description="Says what it was told, word by word.",
    modes=frozenset({Mode.SYNC}),
    runtime_arn="arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo_agent-0123456789",
    price=PriceRequest(invocation_microusd=200),
    reason="release of May",
)
_BUILT: Final = _ASKED.registered(None, datetime(2025, 6, 1, 12, tzinfo=UTC))


def _example(state: ReleaseState) -> VersionView:
    return VersionView.of(_BUILT.model_copy(update={"state": state}))


_PATH: Final = "/v1/admin/agents"
_ONE: Final = _PATH + "/{agent}/versions/{version}"
_TAG: Final = "Agent registry"
_NUMBER: Final = re.compile(VERSION_PATTERN)
_VERSION: Final = Parameter(
    "version",
    "path",
    "A version's number.",
    {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$", "minLength": 5, "maxLength": 32},
    "1.1.0",
)
_ILLEGAL: Final = ReleaseIllegalError(ReleaseState.BUILT, NEXT[ReleaseState.BUILT])
_CHANGED: Final = (NotFoundError(), _ILLEGAL)
_REASON: Final = Content({"release": ReasonRequest(reason="release of May")})
LIST: Final = Operation(
    "GET",
    _PATH,
    "listAgentVersions",
    _TAG,
    "List every version of every agent",
    "Whatever its state, by name and then the newest first. A tenant's developers see their own tenant's. One "
    "changed a moment ago may still show as it was.",
    (answer(200, "A page of versions.", VersionsView(items=(_example(ReleaseState.PROMOTED),))),),
    parameters=(LIMIT, CURSOR),
)
REGISTER: Final = Operation(
    "POST",
    _PATH,
    "registerAgentVersion",
    _TAG,
    "Register a version of an agent",
    "It begins as `built` and is invoked by nobody until it is promoted. An agent belongs to whose developers "
    "registered it first.",
    (answer(201, "The new version.", _example(ReleaseState.BUILT), headers=("Location",)),),
    parameters=(IDEMPOTENCY_KEY,),
    body=Content({"release": _ASKED}),
    problems=(AgentVersionExistsError(), AgentTakenError()),
)
VERSIONS: Final = Operation(
    "GET",
    _PATH + "/{agent}/versions",
    "listVersionsOfAgent",
    _TAG,
    "List an agent's versions",
    "As they stand in the store, the newest first, on one page.",
    (answer(200, "The versions.", VersionsView(items=(_example(ReleaseState.PROMOTED),))),),
    parameters=(AGENT,),
    problems=(NotFoundError(),),
)
GET: Final = Operation(
    "GET",
    _ONE,
    "getAgentVersion",
    _TAG,
    "Look at a version",
    "The version as it stands in the store.",
    (answer(200, "The version.", _example(ReleaseState.BUILT)),),
    parameters=(AGENT, _VERSION),
    problems=(NotFoundError(),),
)
STEP: Final = Operation(
    "POST",
    _ONE + "/state",
    "moveAgentVersion",
    _TAG,
    "Say how far a version is",
    "From `built` over `deployed`, `verified` and `evaluated` to `approved`, one after the other; or to `failed`.",
    (answer(200, "The version as it stands now.", _example(ReleaseState.DEPLOYED)),),
    parameters=(AGENT, _VERSION, IDEMPOTENCY_KEY),
    body=Content({"deployed": StepRequest(state="deployed", reason="endpoint is up")}),
    problems=_CHANGED,
)
PROMOTE: Final = Operation(
    "POST",
    _ONE + "/promote",
    "promoteAgentVersion",
    _TAG,
    "Promote a version",
    "New conversations get the newest promoted version by number; those that go on keep theirs. A version that was "
    "rolled back can be promoted again.",
    (answer(200, "The version as it stands now.", _example(ReleaseState.PROMOTED)),),
    parameters=(AGENT, _VERSION, IDEMPOTENCY_KEY),
    body=_REASON,
    problems=_CHANGED,
)
ROLL_BACK: Final = Operation(
    "POST",
    _ONE + "/roll-back",
    "rollBackAgentVersion",
    _TAG,
    "Roll a version back",
    "New conversations get the newest version that is still promoted; those that began with this one go on with it. "
    "The last promoted version of an agent is not rolled back: disabling it is what ends the agent.",
    (Answer(200, "The version as it stands now.", (Content({"rolledBack": _example(ReleaseState.ROLLED_BACK)}),)),),
    parameters=(AGENT, _VERSION, IDEMPOTENCY_KEY),
    body=_REASON,
    problems=(*_CHANGED, LastPromotedError()),
)
DISABLE: Final = Operation(
    "POST",
    _ONE + "/disable",
    "disableAgentVersion",
    _TAG,
    "Disable a version",
    "Nobody invokes it any more, conversations that began with it neither: they are refused with 404. It is for good.",
    (answer(200, "The version as it stands now.", _example(ReleaseState.DISABLED)),),
    parameters=(AGENT, _VERSION, IDEMPOTENCY_KEY),
    body=_REASON,
    problems=_CHANGED,
)


@dataclass(frozen=True, slots=True)
class AgentAdmin:
    """`/v1/admin/agents`."""

    platform: PlatformStore
    acts: PlatformActs
    catalog: Catalog
    trail: AdminTrail
    clock: Clock

    async def list(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Answer with a page of all versions the actor may see."""
        limit, owner = limit_of(request), actor.tenant_id or PLATFORM
        after = decode(owner, request.query.get("cursor"), "")
        found = (*await self.platform.promoted_agents(), *await self.platform.registered_agents())
        placed = sorted((_place(one), one) for one in found if _seen_by(actor, one))
        page = [(place, one) for place, one in placed if after is None or place > after][: limit + 1]
        more = encode(owner, page[limit - 1][0]) if len(page) > limit else None
        return _listed((one for _, one in page[:limit]), more)

    async def versions(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Answer with the versions of one agent."""
        found = await self.platform.agent_versions(parse_agent_name(request.match_info["agent"]))
        seen = sorted((one for one in found if _seen_by(actor, one)), key=precedence, reverse=True)
        if not seen:
            raise NotFoundError
        return _listed(seen[:100], None)

    async def get(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Answer with one version."""
        return _shown(await self._version(request, actor))

    async def register(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Register a version."""
        asked = await read_body(NewVersionRequest, request)
        new = asked.registered(actor.tenant_id, self.clock.now())
        known = await self.platform.agent_versions(new.name)
        if any(one.owner != new.owner for one in known) and actor.tenant_id is not None:
            raise AgentTakenError
        act = Act.of(request, actor, "agent.register", asked.reason)
        try:
            await self._store(act, new, seen=None)
        except ConditionFailedError:
            raise AgentVersionExistsError from None
        headers = {"Location": f"{_PATH}/{new.name}/versions/{new.version}"}
        return json_answer(VersionView.of(new).to_json(), status=201, headers=headers)

    async def step(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Move a version on its way to being approved."""
        asked = await read_body(StepRequest, request)
        return await self._move(request, actor, ReleaseState(asked.state), "agent.state", asked.reason)

    async def promote(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Give a version to new conversations."""
        asked = await read_body(ReasonRequest, request)
        return await self._move(request, actor, ReleaseState.PROMOTED, "agent.promote", asked.reason)

    async def roll_back(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Give new conversations the version before it."""
        asked = await read_body(ReasonRequest, request)
        return await self._move(request, actor, ReleaseState.ROLLED_BACK, "agent.roll_back", asked.reason)

    async def disable(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Have nobody invoke a version any more."""
        asked = await read_body(ReasonRequest, request)
        return await self._move(request, actor, ReleaseState.DISABLED, "agent.disable", asked.reason)

    async def _move(
        self, request: web.Request, actor: Principal, state: ReleaseState, operation: str, reason: str
    ) -> web.StreamResponse:
        seen = await self._version(request, actor)
        require_legal(seen.state, state)
        if state is ReleaseState.ROLLED_BACK:
            await self._require_another(seen)
        new = seen.model_copy(update={"state": state})
        try:
            await self._store(Act.of(request, actor, operation, reason), new, seen=seen)
        except ConditionFailedError:
            # Somebody was faster: what it is now says what may follow.
            now = await self._version(request, actor)
            raise ReleaseIllegalError(now.state, NEXT[now.state]) from None
        return _shown(new)

    async def _store(self, act: Act, new: AgentVersion, *, seen: AgentVersion | None) -> None:
        commit = partial(self.acts.store_agent_version, new, seen=seen)
        before = None if seen is None else {"state": seen.state.value}
        target = f"{new.name} {new.version}"
        await self.trail.tell(act, new.owner, commit, target=target, before=before, after={"state": new.state.value})
        await self.catalog.announce(new.name)

    async def _require_another(self, version: AgentVersion) -> None:
        found = await self.platform.agent_versions(version.name)
        if not any(one.state is ReleaseState.PROMOTED and one.version != version.version for one in found):
            raise LastPromotedError

    async def _version(self, request: web.Request, actor: Principal) -> AgentVersion:
        name = parse_agent_name(request.match_info["agent"])
        version = request.match_info["version"]
        found = await self.platform.agent_version(name, version) if _NUMBER.fullmatch(version) else None
        if found is None or not _seen_by(actor, found):
            raise NotFoundError
        return found


def _seen_by(actor: Principal, version: AgentVersion) -> bool:
    return actor.tenant_id is None or version.owner == actor.tenant_id


def _place(version: AgentVersion) -> str:
    """Return the text that sorts a version by its name, then the newest first."""
    # As many digits as a number may have, counted down from the largest.
    return f"{version.name}#" + ".".join(f"{999_999_999 - part:09d}" for part in precedence(version))


def _listed(versions: Iterable[AgentVersion], cursor: str | None) -> web.Response:
    return json_answer(VersionsView(items=tuple(map(VersionView.of, versions)), next_cursor=cursor).to_json())


def _shown(version: AgentVersion) -> web.Response:
    return json_answer(VersionView.of(version).to_json())
