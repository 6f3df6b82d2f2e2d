"""Tools as operators register them, and what is granted to or withheld from one tenant whatever its tier.

A change is stored together with the event that tells of it, and is in force on every process within 2 s.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import orjson
from aiohttp import web
from boto3.dynamodb.conditions import Attr, ConditionBase
from pydantic import JsonValue

from gateway.admin.paths import REASON, TENANT, tenant_in
from gateway.admin.schemas import ReasonRequest
from gateway.admin.tool_schemas import (
    TOOL_PATTERN,
    TenantToolsView,
    TenantToolView,
    ToolExceptionRequest,
    ToolRequest,
    ToolsView,
    ToolView,
)
from gateway.admin.trail import Act, AdminTrail
from gateway.cursors import decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read, read_body
from gateway.operations import CURSOR, LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from tenancy.chain import PLATFORM
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import Tenant, Tool, ToolOverride
from tenancy.errors import ConditionFailedError, ToolChangedError
from tenancy.ids import TenantId
from tenancy.platform_acts import PlatformActs
from tenancy.registry import TenantRegistry
from tenancy.steps import NEW, DeleteStep, PutStep
from tenancy.tiers import Tier
from tenancy.tools import ToolRegistry, may

_ASKED: Final = ToolRequest(
    description="Tells the exchange rates of a currency.",
    tier_minimum=Tier.STANDARD,
    backend="mcp",
    target="https://tools.example/mcp",
    timeout_seconds=10,
    input_schema={
        "type": "object",
        "properties": {"base": {"type": "string", "pattern": "^[A-Z]{3}$", "maxLength": 3}},
        "required": ["base"],
    },
    reason="asked for in May",
)
_TOOL: Final = _ASKED.registered("exchange_rate", 0)
_VIEW: Final = ToolView.of(_TOOL)
_GRANTED: Final = ToolOverride(
    tenant_id=TenantId("globex"),
    tool="exchange_rate",
    allowed=True,
    reason="trial of June",
    updated_at=datetime(2025, 6, 1, 12, tzinfo=UTC),
)
_MAY: Final = TenantToolView.of(_TOOL, _GRANTED, allowed=True)
_PATH: Final = "/v1/admin/tools"
_TENANTS: Final = "/v1/admin/tenants/{tenant}/tools"
_TAG: Final = "Tool registry"
_NAME: Final = Parameter(
    "tool",
    "path",
    "A tool's name.",
    {"type": "string", "pattern": TOOL_PATTERN, "minLength": 1, "maxLength": 64},
    _TOOL.name,
)
LIST: Final = Operation(
    "GET",
    _PATH,
    "listTools",
    _TAG,
    "List every tool",
    "As they stand in the store, by name.",
    (answer(200, "A page of tools.", ToolsView(items=(_VIEW,))),),
    parameters=(LIMIT, CURSOR),
)
GET: Final = Operation(
    "GET",
    _PATH + "/{tool}",
    "getTool",
    _TAG,
    "Look at a tool",
    "The tool as it stands in the store.",
    (answer(200, "The tool.", _VIEW),),
    parameters=(_NAME,),
    problems=(NotFoundError(),),
)
PUT: Final = Operation(
    "PUT",
    _PATH + "/{tool}",
    "putTool",
    _TAG,
    "Register or change a tool",
    "The tool is as the body says from now on, whole. Calls under way end as they began.",
    (answer(200, "The tool, changed.", _VIEW), answer(201, "The new tool.", _VIEW)),
    parameters=(_NAME,),
    body=Content({"rates": _ASKED}),
    problems=(
        FieldsInvalidError([FieldFault("/inputSchema", "is no JSON Schema that can be used")]),
        ToolChangedError(),
    ),
)
OF_TENANT: Final = Operation(
    "GET",
    _TENANTS,
    "listToolsOfTenant",
    _TAG,
    "List the tools as a tenant may call them",
    "Every tool, by name: whether the tenant may call it, and what was granted to or withheld from it. An agent calls "
    "those of them that its version names.",
    (answer(200, "A page of tools.", TenantToolsView(items=(_MAY,))),),
    parameters=(TENANT, LIMIT, CURSOR),
    problems=(NotFoundError(),),
)
EXCEPT: Final = Operation(
    "PUT",
    _TENANTS + "/{tool}",
    "putToolOfTenant",
    _TAG,
    "Grant a tool to a tenant, or withhold it",
    "Whatever its tier, from now on.",
    (answer(200, "The tool as the tenant may call it.", _MAY),),
    parameters=(TENANT, _NAME),
    body=Content({"trial": ToolExceptionRequest(allowed=True, reason="trial of June")}),
    problems=(NotFoundError(), ToolChangedError()),
)
RESET: Final = Operation(
    "DELETE",
    _TENANTS + "/{tool}",
    "deleteToolOfTenant",
    _TAG,
    "Leave a tool to the tenant's tier again",
    "What was granted to or withheld from the tenant is no more.",
    (Answer(204, "Its tier decides."),),
    parameters=(TENANT, _NAME, REASON),
    problems=(NotFoundError(), FieldsInvalidError([FieldFault("/reason", "Field required")]), ToolChangedError()),
)
# What says which one it is, and how often it was changed, is not told as a change.
_UNTOLD: Final = {"name", "version", "input_schema_json"}


@dataclass(frozen=True, slots=True)
class ToolAdmin:
    """`/v1/admin/tools` and `/v1/admin/tenants/{tenant}/tools`."""

    registry: TenantRegistry
    tools: ToolRegistry
    acts: PlatformActs
    trail: AdminTrail
    clock: Clock

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of all tools."""
        found = await self.tools.registered()
        page, more = _page(request, PLATFORM, sorted(found))
        views = tuple(ToolView.of(found[name]) for name in page)
        return json_answer(ToolsView(items=views, next_cursor=more).to_json())

    async def get(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with one tool."""
        return json_answer(ToolView.of(await self._tool(request)).to_json())

    async def put(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Register a tool, or change it."""
        name = request.match_info["tool"]
        if not re.fullmatch(TOOL_PATTERN, name):
            raise FieldsInvalidError([FieldFault("tool", f"must match {TOOL_PATTERN}")])
        asked = await read_body(ToolRequest, request)
        seen = (await self.tools.registered()).get(name)
        if asked.version is not None and (seen is None or seen.version != asked.version):
            raise ToolChangedError
        new = asked.registered(name, 0 if seen is None else seen.version + 1)
        act = Act.of(request, actor, "tool.register" if seen is None else "tool.change", asked.reason)
        commit = partial(self.acts.store_tool, new, seen=seen)
        before = None if seen is None else _told(seen)
        try:
            await self.trail.tell(act, None, commit, target=name, before=before, after=_told(new))
        except ConditionFailedError:
            raise ToolChangedError from None
        await self.tools.announce()
        return json_answer(ToolView.of(new).to_json(), status=201 if seen is None else 200)

    async def of_tenant(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of all tools as a tenant may call them."""
        tenant = await tenant_in(request, self.registry)
        found, exceptions = await self.tools.registered(), await self.tools.exceptions(tenant.tenant_id)
        page, more = _page(request, tenant.tenant_id, sorted(found))
        views = tuple(_view(tenant, found[name], exceptions.get(name)) for name in page)
        return json_answer(TenantToolsView(items=views, next_cursor=more).to_json())

    async def exempt(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Grant a tool to a tenant, or withhold it."""
        asked = await read_body(ToolExceptionRequest, request)
        tenant, tool = await tenant_in(request, self.registry), await self._tool(request)
        seen = (await self.tools.exceptions(tenant.tenant_id)).get(tool.name)
        new = ToolOverride(
            tenant_id=tenant.tenant_id,
            tool=tool.name,
            allowed=asked.allowed,
            reason=asked.reason,
            updated_at=self.clock.now(),
        )
        act = Act.of(request, actor, "tool.grant" if asked.allowed else "tool.withhold", asked.reason)
        await self._store(act, new, PutStep(new, _unchanged(seen)), before=seen, after=new)
        return json_answer(_view(tenant, tool, new).to_json())

    async def reset(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Leave a tool to the tenant's tier."""
        asked = read(ReasonRequest, dict(request.query))
        tenant, name = await tenant_in(request, self.registry), request.match_info["tool"]
        seen = (await self.tools.exceptions(tenant.tenant_id)).get(name)
        if seen is None:
            raise NotFoundError
        gone = DeleteStep(ToolOverride, seen.key(), _unchanged(seen))
        await self._store(Act.of(request, actor, "tool.reset", asked.reason), seen, gone, before=seen, after=None)
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    async def _store(
        self,
        act: Act,
        told: ToolOverride,
        step: PutStep | DeleteStep,
        *,
        before: ToolOverride | None,
        after: ToolOverride | None,
    ) -> None:
        tenant_id = told.tenant_id
        was, now = ({"allowed": None if one is None else one.allowed} for one in (before, after))
        commit = self.trail.chain.within(tenant_id, step)
        try:
            await self.trail.tell(act, tenant_id, commit, target=told.tool, before=was, after=now)
        except ConditionFailedError:
            raise ToolChangedError from None
        await self.tools.announce_exceptions(tenant_id)

    async def _tool(self, request: web.Request) -> Tool:
        found = (await self.tools.registered()).get(request.match_info["tool"])
        if found is None:
            raise NotFoundError
        return found


def _view(tenant: Tenant, tool: Tool, override: ToolOverride | None) -> TenantToolView:
    allowed = may(tenant, tool, None if override is None else override.allowed)
    return TenantToolView.of(tool, override, allowed=allowed)


def _unchanged(seen: ToolOverride | None) -> ConditionBase:
    return NEW if seen is None else Attr("allowed").eq(seen.allowed)


def _page(request: web.Request, owner: TenantId, names: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the names of the page that is asked for, and the cursor behind it."""
    limit, after = limit_of(request), decode(owner, request.query.get("cursor"), "")
    rest = [name for name in names if after is None or name > after]
    return rest[:limit], encode(owner, rest[limit - 1]) if len(rest) > limit else None


def _told(tool: Tool) -> dict[str, JsonValue]:
    """Return what the audit log says of a tool."""
    schema: JsonValue = orjson.loads(tool.input_schema_json)
    return tool.model_dump(mode="json", exclude=_UNTOLD) | {"input_schema": schema}
