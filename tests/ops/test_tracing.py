"""Spans: their names are the conventions', their ids are those the agent was given."""

from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode

from agents.invocation import TraceHeaders
from gateway.record import Passage
from gateway.trace import continued
from jobs.records import traceparent_of_run
from ops import tracing
from ops.tracing import Traces
from tenancy.data_models import Failure, InvocationRecord, JobRecord, Mode, Status
from tenancy.ids import (
    AgentName,
    RequestId,
    SessionId,
    TenantId,
    new_invocation_id,
    new_job_id,
)
from tenancy.tiers import Tier

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Tray(SpanProcessor):
    """Keeps spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


@pytest.fixture
def tray() -> Tray:
    return Tray()


@pytest.fixture
def traces(tray: Tray) -> Traces:
    return Traces(tray, "1.2.3")


def trace(flags: str = "01") -> TraceHeaders:
    return continued(f"00-{TRACE}-{CALLER}-{flags}", None)


def record(**fields: object) -> InvocationRecord:
    made = InvocationRecord(
        tenant_id=TenantId("acme"),
        invocation_id=new_invocation_id(NOW),
        agent=AgentName("echo-agent"),
        agent_version="1.0.0",
        mode=Mode.STREAM,
        status=Status.SUCCEEDED,
        session_id=SessionId("ses_" + "0" * 40),
        principal="somebody",
        request_id=RequestId("req_1"),
        created_at=NOW,
        ended_at=NOW + timedelta(seconds=2),
        ttl=0,
    )
    return made.model_copy(update=fields)


def job(**fields: object) -> JobRecord:
    made = JobRecord(
        tenant_id=TenantId("acme"),
        job_id=new_job_id(NOW),
        agent=AgentName("echo-agent"),
        agent_version="1.0.0",
        session_id=SessionId("ses_" + "0" * 40),
        principal="somebody",
        request_id=RequestId("req_1"),
        traceparent=trace().traceparent,
        run=1,
        run_started_at=NOW,
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW,
    )
    return made.model_copy(update=fields)


def passage(headers: TraceHeaders, tokens: tuple[int, int] | None = (3, 5)) -> Passage:
    return Passage(2.0, 0.25, "ok", Tier.PREMIUM, headers, tokens=tokens)


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", None if parent is None else f"{parent.span_id:016x}"


def test_an_invocations_span_is_the_one_its_agent_was_given(tray: Tray, traces: Traces) -> None:
    headers, ended = trace(), record()
    traces.invocation(ended, passage(headers))
    [span] = tray.spans
    assert ids(span) == (TRACE, headers.span_id, CALLER)
    assert (span.name, span.kind, span.status.status_code) == (
        "invoke_agent echo-agent",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time == 2_000_000_000
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.agent.name": "echo-agent",
        "gen_ai.agent.version": "1.0.0",
        "gen_ai.conversation.id": ended.session_id,
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "lockgate.tenant": "acme",
        "lockgate.tier": "premium",
        "lockgate.invocation": ended.invocation_id,
        "lockgate.mode": "stream",
        "lockgate.status": "succeeded",
    }


def test_a_failure_is_named_by_its_code(tray: Tray, traces: Traces) -> None:
    failed = record(status=Status.FAILED, error=Failure(code="agent_error", detail="what the agent said"))
    traces.invocation(failed, passage(trace(), tokens=None))
    [span] = tray.spans
    assert (span.status.status_code, (span.attributes or {})["error.type"]) == (StatusCode.ERROR, "agent_error")
    assert "what the agent said" not in span.to_json()


def test_a_trace_that_began_here_has_no_parent_and_one_not_sampled_no_span(tray: Tray, traces: Traces) -> None:
    began = continued(None, None)
    traces.invocation(record(), passage(began))
    traces.invocation(record(), passage(trace("00")))
    traces.invocation(record(), passage(TraceHeaders()))
    assert [ids(span) for span in tray.spans] == [(began.trace_id, began.span_id, None)]


def test_a_jobs_runs_hang_on_the_request_that_submitted_it(tray: Tray, traces: Traces) -> None:
    headers, first = trace(), job()
    first = first.model_copy(update={"traceparent": headers.traceparent})
    second = first.model_copy(update={"run": 2, "status": Status.SUCCEEDED, "tokens": (7, 9)})
    traces.accepted(first, headers)
    traces.run(first, NOW, "job_lost")
    traces.run(second, NOW, None)
    accepted, lost, won = tray.spans
    assert (ids(accepted), accepted.kind) == ((TRACE, headers.span_id, CALLER), SpanKind.PRODUCER)
    for span, of in ((lost, first), (won, second)):
        own = TraceHeaders(traceparent_of_run(of)).span_id
        assert ids(span) == (TRACE, own, headers.span_id)
    assert ids(lost)[1] != ids(won)[1]
    assert ((lost.attributes or {})["error.type"], (won.attributes or {})["lockgate.run"]) == ("job_lost", 2)
    assert (won.attributes or {})["gen_ai.usage.output_tokens"] == 9


def test_a_job_that_never_ran_has_no_run_to_tell_of(tray: Tray, traces: Traces) -> None:
    traces.run(job(run=0, run_started_at=None), NOW, None)
    traces.run(job(traceparent=None), NOW, None)
    assert tray.spans == []


def test_the_names_are_those_of_the_pinned_conventions() -> None:
    assert {
        name: name for name in vars(tracing).values() if isinstance(name, str) and name.startswith(("gen_ai.", "err"))
    } == {
        tracing.OPERATION: conventions.GEN_AI_OPERATION_NAME,
        tracing.PROVIDER: conventions.GEN_AI_PROVIDER_NAME,
        tracing.AGENT: conventions.GEN_AI_AGENT_NAME,
        tracing.VERSION: conventions.GEN_AI_AGENT_VERSION,
        tracing.CONVERSATION: conventions.GEN_AI_CONVERSATION_ID,
        tracing.STREAM: conventions.GEN_AI_REQUEST_STREAM,
        tracing.FIRST_CHUNK: conventions.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
        tracing.INPUT_TOKENS: conventions.GEN_AI_USAGE_INPUT_TOKENS,
        tracing.OUTPUT_TOKENS: conventions.GEN_AI_USAGE_OUTPUT_TOKENS,
        tracing.ERROR: ERROR_TYPE,
    }
    assert conventions.GenAiOperationNameValues.INVOKE_AGENT.value == tracing.INVOKE_AGENT
    assert conventions.GenAiProviderNameValues.AWS_BEDROCK.value == tracing.AWS_BEDROCK
    assert tracing.SCHEMA in {schema.value for schema in Schemas}
