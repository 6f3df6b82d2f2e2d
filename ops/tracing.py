"""Spans: one for each invocation, for each job that is accepted and for each run of it, sent by OTLP over HTTP.

A span is made when what it tells of is over, from what is known then anyway: nothing is carried along the way. Its id
was chosen at the beginning and went to the agent in `traceparent`, so the agent's own spans hang on it. Names are
those of OpenTelemetry's conventions for generative AI as they stood at SCHEMA; never an input, an answer or a token.
Sending is a thread's affair: what the collector does not take in time is dropped.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from agents.invocation import TraceHeaders
from gateway.record import Passage
from jobs.records import traceparent_of_run
from tenancy.data_models import InvocationRecord, JobRecord, Mode

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
# What a process that ends waits for its last spans to be taken.
LAST_S: Final = 3.0

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
AGENT: Final = "gen_ai.agent.name"
VERSION: Final = "gen_ai.agent.version"
CONVERSATION: Final = "gen_ai.conversation.id"
STREAM: Final = "gen_ai.request.stream"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
ERROR: Final = "error.type"
INVOKE_AGENT: Final = "invoke_agent"
AWS_BEDROCK: Final = "aws.bedrock"

_SCOPE: Final = InstrumentationScope("lockgate", schema_url=SCHEMA)
Attributes = Mapping[str, str | int | float | bool | None]


class Traces:
    """Makes spans and hands them to a processor; a trace that its caller does not sample has none."""

    def __init__(self, processor: SpanProcessor, version: str) -> None:
        instance = f"{socket.gethostname()}:{os.getpid()}"
        self._processor: Final = processor
        self._resource: Final = Resource(
            {"service.name": "lockgate", "service.version": version, "service.instance.id": instance}, SCHEMA
        )

    def invocation(self, record: InvocationRecord, passage: Passage) -> None:
        """Tell of an invocation that has ended."""
        said: dict[str, str | int | float | bool | None] = {
            CONVERSATION: record.session_id,
            STREAM: record.mode is Mode.STREAM,
            FIRST_CHUNK: passage.first_byte_s,
            "lockgate.tenant": record.tenant_id,
            "lockgate.tier": passage.tier.value,
            "lockgate.invocation": record.invocation_id,
            "lockgate.mode": record.mode.value,
            "lockgate.status": record.status.value,
        }
        if passage.tokens is not None:
            said |= {INPUT_TOKENS: passage.tokens[0], OUTPUT_TOKENS: passage.tokens[1]}
        ended_at = record.ended_at or record.created_at + timedelta(seconds=passage.duration_s)
        code = None if record.error is None else record.error.code
        self._tell(
            passage.trace,
            f"{INVOKE_AGENT} {record.agent}",
            (record.created_at, ended_at),
            _agent(record.agent, record.agent_version) | said,
            code=code,
        )

    def accepted(self, job: JobRecord, trace: TraceHeaders) -> None:
        """Tell of a request that has become a job."""
        times = (job.created_at, job.created_at)
        self._tell(trace, f"accept_job {job.agent}", times, _job(job), kind=SpanKind.PRODUCER)

    def run(self, job: JobRecord, now: datetime, code: str | None) -> None:
        """Tell of a job's run that is over; `code` says what it failed of."""
        if job.traceparent is None or job.run_started_at is None:
            return
        parent = TraceHeaders(job.traceparent)
        trace = TraceHeaders(traceparent_of_run(job), parent_id=parent.span_id)
        said = _job(job) | {"lockgate.run": job.run, "lockgate.status": job.status.value}
        if job.tokens is not None:
            said |= {INPUT_TOKENS: job.tokens[0], OUTPUT_TOKENS: job.tokens[1]}
        name = f"{INVOKE_AGENT} {job.agent}"
        self._tell(trace, name, (job.run_started_at, now), _agent(job.agent, job.agent_version) | said, code=code)

    def _tell(
        self,
        trace: TraceHeaders,
        name: str,
        times: tuple[datetime, datetime],
        attributes: Attributes,
        *,
        code: str | None = None,
        kind: SpanKind = SpanKind.CLIENT,
    ) -> None:
        if not trace.sampled:
            return
        span = ReadableSpan(
            name,
            context=_context(trace.trace_id, trace.span_id),
            parent=_context(trace.trace_id, trace.parent_id, remote=True) if trace.parent_id else None,
            resource=self._resource,
            attributes={key: value for key, value in {**attributes, ERROR: code}.items() if value is not None},
            kind=kind,
            status=Status(StatusCode.UNSET if code is None else StatusCode.ERROR),
            start_time=_nanoseconds(times[0]),
            end_time=_nanoseconds(times[1]),
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(span)


@asynccontextmanager
async def sending(endpoint: str, version: str) -> AsyncIterator[Traces]:
    """Give what makes spans and sends them to a collector; the last are sent in the end."""
    processor = BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=LAST_S))
    try:
        yield Traces(processor, version)
    finally:
        await asyncio.to_thread(processor.shutdown)


def _agent(name: str, version: str) -> dict[str, str | int | float | bool | None]:
    return {OPERATION: INVOKE_AGENT, PROVIDER: AWS_BEDROCK, AGENT: name, VERSION: version}


def _job(job: JobRecord) -> dict[str, str | int | float | bool | None]:
    return {CONVERSATION: job.session_id, "lockgate.tenant": job.tenant_id, "lockgate.job": job.job_id}


def _context(trace_id: str, span_id: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000
