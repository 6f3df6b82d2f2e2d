"""A tenant's invocations and sessions, listed; and sessions ended with all that runs in them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final, TypeVar

from aiohttp import web
from pydantic import Field

from gateway.admin.paths import TENANT, tenant_in, tenant_of
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.admin.work import TAG
from gateway.cursors import decode, encode, limit_of
from gateway.errors import NotFoundError
from gateway.fields import read_body
from gateway.invoke import Stopper
from gateway.operations import CURSOR, IDEMPOTENCY_KEY, LIMIT, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.routes.jobs import STATUS, status_of
from gateway.schemas import AgentText, InvocationView, PageView, SessionText, Timestamp, VersionText, WireModel
from tenancy.context import Principal
from tenancy.data_models import InvocationRecord, Mode, SessionRecord, Status, TenantItem
from tenancy.ids import TenantId, parse_session_id
from tenancy.paging import filtered
from tenancy.platform_store import PlatformStore
from tenancy.registry import TenantRegistry
from tenancy.steps import Page
from tenancy.store import TenantStores

T = TypeVar("T", bound=TenantItem)


class SessionView(WireModel):
    """One conversation, and the version it stays on."""

    id: SessionText
    agent: AgentText
    agent_version: VersionText
    created_at: Timestamp
    last_used_at: Annotated[Timestamp, Field(description="To the minute or so.")]

    @classmethod
    def of(cls, session: SessionRecord) -> "SessionView":
        """Show a stored session."""
        told = session.model_dump(include={"agent", "agent_version", "created_at", "last_used_at"})
        return cls(id=session.session_id, **told)


_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_SESSION: Final = SessionView(
    id="ses_" + "0123456789abcdef" * 3, agent="echo-agent", agent_version="1.0.0", created_at=_NOW, last_used_at=_NOW
)
_INVOCATION: Final = InvocationView(
    invocation_id="inv_01jd3k5m7p9q1r3s5t7v9w1x3y",
    agent="echo-agent",
    agent_version="1.0.0",
    mode=Mode.STREAM,
    status=Status.RUNNING,
    session_id=_SESSION.id,
    created_at=_NOW,
    chunks=0,
    answer_bytes=0,
)
_THE_SESSION: Final = Parameter(
    "session",
    "path",
    "A session's id.",
    {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}$", "minLength": 33, "maxLength": 100},
    _SESSION.id,
)
_PATH: Final = "/v1/admin/tenants/{tenant}"
INVOCATIONS: Final = Operation(
    "GET",
    _PATH + "/invocations",
    "listTenantInvocations",
    TAG,
    "List a tenant's invocations",
    "Sync and streamed ones of the last 90 days, newest first. One that began a moment ago may not be listed yet, and "
    "where few of very many match, a page may be short or empty and still have a `nextCursor`.",
    (answer(200, "A page of invocations.", PageView[InvocationView](items=(_INVOCATION,))),),
    parameters=(TENANT, LIMIT, CURSOR, STATUS),
    problems=(NotFoundError(),),
)
SESSIONS: Final = Operation(
    "GET",
    _PATH + "/sessions",
    "listTenantSessions",
    TAG,
    "List a tenant's sessions",
    "Every conversation that was used within 24 hours, by id.",
    (answer(200, "A page of sessions.", PageView[SessionView](items=(_SESSION,))),),
    parameters=(TENANT, LIMIT, CURSOR),
    problems=(NotFoundError(),),
)
STOP: Final = Operation(
    "POST",
    _PATH + "/sessions/{session}/stop",
    "stopTenantSession",
    TAG,
    "Stop a session",
    "Ends its microVM with all that runs in it: a stream ends with `invocation.failed`. Its next turn begins it anew.",
    (answer(200, "The session that was stopped.", _SESSION),),
    parameters=(TENANT, _THE_SESSION, IDEMPOTENCY_KEY),
    body=Content({"runaway": ReasonRequest(reason="runs away")}),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class SessionAdmin:
    """`/v1/admin/tenants/{tenant}/invocations` and `…/sessions`."""

    registry: TenantRegistry
    stores: TenantStores
    platform: PlatformStore
    stopper: Stopper
    trail: AdminTrail

    async def invocations(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of a tenant's invocations."""
        tenant_id, status = (await tenant_in(request, self.registry)).tenant_id, status_of(request)
        after, limit = decode(tenant_id, request.query.get("cursor"), InvocationRecord.SORT_PREFIX), limit_of(request)
        read = partial(self._page, InvocationRecord, tenant_id)
        if status is None:
            page = await read(limit, after)
        else:
            page = await filtered(read, lambda one: one.status is status, limit, after)
        views = tuple(map(InvocationView.of, page.items))
        return json_answer(PageView[InvocationView](items=views, next_cursor=encode(tenant_id, page.after)).to_json())

    async def sessions(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of a tenant's sessions."""
        tenant_id = (await tenant_in(request, self.registry)).tenant_id
        after = decode(tenant_id, request.query.get("cursor"), SessionRecord.SORT_PREFIX)
        page = await self._page(SessionRecord, tenant_id, limit_of(request), after, newest_first=False)
        views = tuple(map(SessionView.of, page.items))
        return json_answer(PageView[SessionView](items=views, next_cursor=encode(tenant_id, page.after)).to_json())

    async def stop(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """End a session's microVM."""
        asked = await read_body(ReasonRequest, request)
        tenant_id, session_id = tenant_of(request), parse_session_id(request.match_info["session"])
        key = SessionRecord.key_of(tenant_id, session_id)
        session = await self.stores.db(tenant_id).get(SessionRecord, key, consistent=True)
        # Whatever its state: also what was disabled may still run.
        agent = None if session is None else await self.platform.agent_version(session.agent, session.agent_version)
        if session is None or agent is None:
            raise NotFoundError
        act = Act.of(request, actor, "session.stop", asked.reason)
        async with self.trail.around(act, tenant_id, target=session_id):
            await self.stopper.stop(agent, session_id)
        return json_answer(SessionView.of(session).to_json())

    async def _page(
        self, model: type[T], tenant_id: TenantId, limit: int, after: str | None, *, newest_first: bool = True
    ) -> Page[T]:
        return await self.stores.db(tenant_id).query(
            model,
            model.key_of(tenant_id, "").partition,
            sort_prefix=model.SORT_PREFIX,
            limit=limit,
            after=after,
            newest_first=newest_first,
        )
