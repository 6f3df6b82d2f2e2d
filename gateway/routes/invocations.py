"""Invoking an agent, looking at the record, stopping it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from agents import errors as agents
from gateway import errors
from gateway.cancel import Cancellations
from gateway.interceptors.errors import InterceptorFailedError, PromptRefusedError, RedactionBlockedError
from gateway.invoke import RequestPath
from gateway.live import EndedEarlyError
from gateway.middleware import ORIGIN
from gateway.operations import (
    AGENT,
    IDEMPOTENCY_KEY,
    INVOCATION,
    Answer,
    Content,
    Operation,
    Parameter,
    Schema,
    answer,
)
from gateway.routes.answers import json_answer
from gateway.schemas import InvocationRequest, InvocationView, JobAccepted
from gateway.sse import RETRY_MS, frame
from tenancy.context import TenantContext
from tenancy.data_models import Mode, Status
from tenancy.errors import (
    AnswerNotKeptError,
    BudgetExceededError,
    BudgetUnknownError,
    ConcurrencyLimitError,
    DailyLimitError,
    TierTooLowError,
)
from tenancy.ids import parse_agent_name, parse_invocation_id

_IDS: Final = b'{"invocationId":"inv_01jd3k5m7p9q1r3s5t7v9w1x3y","sessionId":"ses_%b"}' % (b"0123456789abcdef" * 3)
EXAMPLE_EVENTS: Final = (
    b"retry: %d\n" % RETRY_MS
    + frame(1, b"invocation.started", _IDS)
    + frame(2, b"agent.chunk", b'{"index":0,"text":"one "}')
    + frame(3, b"agent.chunk", b'{"index":1,"text":"two"}')
    + frame(4, b"invocation.completed", _IDS[:-1] + b',"status":"succeeded"}')
).decode()
EVENT_GRAMMAR: Final[Schema] = {
    "type": "string",
    "format": "event-stream",
    "maxLength": 1_073_741_824,
    "description": "Server-sent events (WHATWG HTML, 9.2). Each has an `id`, counting from 1 without a gap, an `event` "
    "and JSON as `data`: one `invocation.started` with `invocationId` and `sessionId`; any number of `agent.chunk`, "
    "each the agent's own JSON, byte for byte; then exactly one of `invocation.completed`, `invocation.failed` and "
    "`invocation.cancelled`, with the ids and `status`, a failure also with `code` and `detail` (the codes are those "
    "of problem documents). `retry` comes first; comments keep a silent connection open. Until the terminal event "
    "has come the stream is not over: a connection that ends without one was cut.",
}
PREFER: Final = Parameter(
    "Prefer",
    "header",
    "RFC 7240. `respond-async` makes it a job, whatever `Accept` says. `detach-on-disconnect` lets a stream go on when "
    "its caller leaves, to be read at its events. A preference that is not known is passed over.",
    {"type": "string", "format": "text", "maxLength": 16_384},
    "respond-async",
)
CREATE: Final = Operation(
    "POST",
    "/v1/agents/{agent}/invocations",
    "createInvocation",
    "Invocations",
    "Invoke an agent",
    "Invokes the agent in one of the modes it declares, chosen by HTTP's own means: sync by default, a stream for "
    "`Accept: text/event-stream` (by q-value where JSON is listed too, and a tie streams), a job for "
    "`Prefer: respond-async`, which wins. A caller that disconnects cancels a sync or "
    "streamed invocation, unless it asked for a stream that goes on with `Prefer: detach-on-disconnect`.",
    (
        Answer(
            200,
            "The agent's own JSON, or its stream of events.",
            (
                Content({"echo": {"echo": "one two three"}}, {"description": "Any JSON, as the agent answered it."}),
                Content({"stream": EXAMPLE_EVENTS}, EVENT_GRAMMAR, "text/event-stream"),
            ),
            headers=("X-Invocation-Id", "X-Session-Id"),
        ),
        answer(
            202,
            "The invocation became a job.",
            JobAccepted(
                job_id="job_01jd3k5m7p9q1r3s5t7v9w1x3y",
                status=Status.QUEUED,
                agent="echo-agent",
                created_at=datetime(2025, 6, 1, 12, tzinfo=UTC),
            ),
            headers=("Location", "Retry-After", "Preference-Applied"),
        ),
    ),
    parameters=(AGENT, PREFER, IDEMPOTENCY_KEY),
    body=Content({"prompt": InvocationRequest(input={"prompt": "one two three"}, metadata={"ticket": "4711"})}),
    problems=(
        agents.AgentUnknownError(),
        errors.NotAcceptableError([Mode.SYNC]),
        agents.SessionBusyError(),
        TierTooLowError(),
        BudgetExceededError(),
        BudgetUnknownError(),
        DailyLimitError(3600),
        ConcurrencyLimitError(),
        errors.DrainingError(),
        errors.JournalFullError(),
        AnswerNotKeptError("/v1/invocations/inv_01jd3k5m7p9q1r3s5t7v9w1x3y"),
        PromptRefusedError("override"),
        InterceptorFailedError("redact"),
        RedactionBlockedError("payment_card"),
        *(kind() for kind in EndedEarlyError.__subclasses__()),
        *(kind() for kind in agents.RuntimeFaultError.__subclasses__()),
    ),
    names_invocation=True,
)
_RUNNING: Final = InvocationView(
    invocation_id="inv_01jd3k5m7p9q1r3s5t7v9w1x3y",
    agent="echo-agent",
    agent_version="1.0.0",
    mode=Mode.STREAM,
    status=Status.RUNNING,
    session_id="ses_" + "0123456789abcdef" * 3,
    created_at=datetime(2025, 6, 1, 12, tzinfo=UTC),
    metadata={"ticket": "4711"},
    chunks=0,
    answer_bytes=0,
)
_ENDED: Final = _RUNNING.model_copy(
    update={
        "status": Status.SUCCEEDED,
        "ended_at": datetime(2025, 6, 1, 12, 0, 2, tzinfo=UTC),
        "chunks": 2,
        "answer_bytes": 48,
    }
)
_CANCELLING: Final = _RUNNING.model_copy(update={"cancel_requested_at": datetime(2025, 6, 1, 12, 0, 1, tzinfo=UTC)})
GET: Final = Operation(
    "GET",
    "/v1/invocations/{invocation}",
    "getInvocation",
    "Invocations",
    "Look at one invocation",
    "The record of a sync or streamed invocation, readable before its first byte is sent.",
    (Answer(200, "The record.", (Content({"running": _RUNNING, "ended": _ENDED}),)),),
    parameters=(INVOCATION,),
    problems=(errors.NotFoundError(),),
)
CANCEL: Final = Operation(
    "POST",
    "/v1/invocations/{invocation}/cancel",
    "cancelInvocation",
    "Invocations",
    "Cancel an invocation",
    "Orders a stop that reaches the agent, whichever process serves the invocation. Takes no body.",
    (
        answer(200, "It had ended already; the record is unchanged.", _ENDED),
        answer(202, "The stop was ordered.", _CANCELLING),
    ),
    parameters=(INVOCATION,),
    problems=(errors.NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class InvocationRoutes:
    """`/v1/agents/{agent}/invocations` and `/v1/invocations`."""

    path: RequestPath
    cancellations: Cancellations

    async def create(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Invoke an agent in the mode the caller asked for."""
        return await self.path.invoke(request, ctx, parse_agent_name(request.match_info["agent"]), request[ORIGIN])

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with the record."""
        invocation_id = parse_invocation_id(request.match_info["invocation"])
        return json_answer(InvocationView.of(await self.cancellations.find(ctx.tenant_id, invocation_id)).to_json())

    async def cancel(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Order a stop: 202 with the record, or 200 with it unchanged where it has ended."""
        invocation_id = parse_invocation_id(request.match_info["invocation"])
        record = await self.cancellations.cancel(ctx.tenant_id, invocation_id)
        return json_answer(InvocationView.of(record).to_json(), status=200 if record.status.terminal else 202)
