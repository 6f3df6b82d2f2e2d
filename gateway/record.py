"""An invocation's record from its beginning to its end, and the judgement of how it ended."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from agents.errors import AgentFailedError, RuntimeFaultError
from agents.invocation import Invocation, TraceHeaders
from gateway.bodies import InvocationBody
from gateway.live import EndedEarlyError, InvocationCancelledError, InvocationRegionLostError
from gateway.problems import problem_of
from tenancy.data_models import Failure, InvocationRecord, Status
from tenancy.errors import TenantSuspendedError
from tenancy.ids import RequestId
from tenancy.tiers import Tier

KEPT: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an invocation ended; `agent_ended` where the agent's work is over without being stopped."""

    status: Status
    failure: Failure | None = None
    agent_ended: bool = False

    @property
    def event(self) -> str:
        """The terminal event's name."""
        return {
            Status.SUCCEEDED: "invocation.completed",
            Status.CANCELLED: "invocation.cancelled",
        }.get(self.status, "invocation.failed")

    @property
    def early(self) -> EndedEarlyError | None:
        """What ended it where that was this side, whatever the agent's answer looked like."""
        if self.status is Status.CANCELLED:
            return InvocationCancelledError()
        lost = self.failure is not None and self.failure.code == InvocationRegionLostError.code
        return InvocationRegionLostError() if lost else None

    @property
    def details(self) -> dict[str, str]:
        """What the terminal event says beside the ids."""
        status = {"status": self.status.value}
        return status if self.failure is None else status | {"code": self.failure.code, "detail": self.failure.detail}


_LEFT: Final = Verdict(
    Status.CANCELLED, Failure(code="client_disconnected", detail="The caller closed the connection.")
)


def judge(end: BaseException | None) -> Verdict:
    """Judge an invocation by the exception that ended it."""
    match end:
        case None:
            return Verdict(Status.SUCCEEDED, agent_ended=True)
        case InvocationCancelledError():
            return Verdict(Status.CANCELLED)
        case asyncio.CancelledError() | ConnectionResetError() | GeneratorExit():
            return _LEFT
        case _:
            problem = problem_of(end)
            # In a region that was lost or left nobody is asked to stop: what goes on there ends by itself, unread.
            ended = isinstance(end, AgentFailedError | TenantSuspendedError | InvocationRegionLostError)
            over = ended or (isinstance(end, RuntimeFaultError) and end.nothing_ran)
            return Verdict(Status.FAILED, Failure(code=problem.code, detail=problem.detail), agent_ended=over)


@dataclass(frozen=True, slots=True)
class Served:
    """The process that serves an invocation, and whether it goes on when its caller leaves."""

    process: str
    detached: bool


def begun(
    invocation: Invocation, body: InvocationBody, request_id: RequestId, served: Served, now: datetime
) -> InvocationRecord:
    """Return the record of an invocation that is about to run."""
    metadata = body.request.metadata
    return InvocationRecord.made(
        tenant_id=invocation.ctx.tenant_id,
        invocation_id=invocation.id,
        agent=invocation.agent.name,
        agent_version=invocation.agent.version,
        mode=invocation.mode,
        status=Status.RUNNING,
        session_id=invocation.session_id,
        principal=invocation.ctx.principal.subject,
        request_id=request_id,
        created_at=now,
        metadata_json=None if metadata is None else orjson.dumps(metadata).decode(),
        process=served.process,
        detached=served.detached,
        input_bytes=len(body.input_json),
        budget_microusd=body.request.budget_microusd,
        ttl=int((now + KEPT).timestamp()),
    )


def closed(
    record: InvocationRecord, verdict: Verdict, chunks: int, answer_bytes: int, now: datetime
) -> InvocationRecord:
    """Return the record as it stays."""
    return record.changed(
        {
            "status": verdict.status,
            "error": verdict.failure,
            "ended_at": now,
            "chunks": chunks,
            "answer_bytes": answer_bytes,
        }
    )


@dataclass(frozen=True, slots=True)
class Passage:
    """What is told of an invocation beside its record.

    `first_byte_s` is None where the agent's answer never began; `upstream` is "ok", the code of what AgentCore or the
    agent did wrong, or empty where the invocation was ended from this side.
    """

    duration_s: float
    first_byte_s: float | None
    upstream: str
    tier: Tier
    trace: TraceHeaders
    # Input and output tokens, where the agent said them.
    tokens: tuple[int, int] | None = None


TellSpan = Callable[[InvocationRecord, Passage], None]
"""Makes a span of an invocation that has ended."""


def upstream_of(end: BaseException | None) -> str:
    """Return what an invocation's end says of the agent's side."""
    if end is None:
        return "ok"
    return end.code if isinstance(end, RuntimeFaultError) else ""


class Report:
    """Says once per invocation how it went: one wide line, one count, one duration. Never what was said."""

    def __init__(self, metrics: CollectorRegistry, tell_span: TellSpan | None = None) -> None:
        self._tell_span = tell_span
        # Finding a series by its labels costs more than counting.
        self._series: dict[tuple[str, str, str, str], tuple[Counter, Histogram, Histogram]] = {}
        # Bound once: a lazy logger is bound anew for every line.
        self._log = structlog.get_logger("gateway.invocation").bind()
        self._ended = Counter(
            "lockgate_invocations_total", "Invocations ended", ["agent", "mode", "status", "code"], registry=metrics
        )
        self._seconds = Histogram(
            "lockgate_invocation_seconds",
            "From admission to the last byte",
            ["agent", "mode"],
            registry=metrics,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
        )
        self._first_byte_seconds = Histogram(
            "lockgate_invocation_first_byte_seconds",
            "From admission to the beginning of a sync answer, or to a stream's first event",
            ["agent", "mode"],
            registry=metrics,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 130),
        )

    def __call__(self, record: InvocationRecord, passage: Passage) -> None:
        """Report an invocation that has ended."""
        code = "" if record.error is None else record.error.code
        ended, seconds, first_byte_seconds = self._series_of(record, code)
        ended.inc()
        seconds.observe(passage.duration_s)
        if passage.first_byte_s is not None:
            first_byte_seconds.observe(passage.first_byte_s)
        self._log.info(
            "invocation",
            tenant=record.tenant_id,
            tier=passage.tier.value,
            principal=record.principal,
            invocation=record.invocation_id,
            request=record.request_id,
            trace=passage.trace.trace_id,
            session=record.session_id,
            agent=record.agent,
            version=record.agent_version,
            mode=record.mode.value,
            status=record.status.value,
            code=code,
            upstream=passage.upstream,
            chunks=record.chunks,
            answer_bytes=record.answer_bytes,
            ttfb_ms=None if passage.first_byte_s is None else round(passage.first_byte_s * 1000, 1),
            duration_ms=round(passage.duration_s * 1000, 1),
        )
        if self._tell_span is not None:
            self._tell_span(record, passage)

    def _series_of(self, record: InvocationRecord, code: str) -> tuple[Counter, Histogram, Histogram]:
        key = (record.agent, record.mode, record.status, code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = (
                self._ended.labels(*key),
                self._seconds.labels(record.agent, record.mode),
                self._first_byte_seconds.labels(record.agent, record.mode),
            )
        return series
