"""The tools' door: lists what a caller may call, and carries a call from its permission to its answer.

    permitted (tier, exceptions, the agent's own list) -> rate -> arguments -> backend -> redaction -> told

The order is the rule: what is refused has reached no tool. Each call is counted for its invocation, written to the
tenant's audit trail, and told in one line, whatever became of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.errors import InterceptorFailedError
from gateway.tools import arguments
from gateway.tools.calls import Backend, ToolCall, ToolResult
from gateway.tools.errors import RpcError, ToolFaultError, ToolNotPermittedError, ToolRateError, ToolTimeoutError
from gateway.tools.guarded import guarded
from gateway.tools.messages import Json
from gateway.tooltokens import ToolClaims, ToolTokens
from tenancy.audit import AuditTrail
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import AuditEvent, Tool
from tenancy.ids import RequestId, new_audit_id
from tenancy.rates import Rates
from tenancy.tool_calls import ToolCalls
from tenancy.tools import ToolRegistry

_SUCCEEDED: Final = "succeeded"
_log = structlog.get_logger("gateway.tools")


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """Who is at the door: a tenant's principal itself, or an agent on its behalf, which then has `claims`."""

    ctx: TenantContext
    claims: ToolClaims | None = None

    @property
    def named(self) -> tuple[str, ...] | None:
        """The tools it may call at most; None for all of the tenant's."""
        return None if self.claims is None else self.claims.tools

    @property
    def actor(self) -> str:
        """Who acts, for the audit trail."""
        subject = self.ctx.principal.subject
        return subject if self.claims is None else f"{self.claims.act.sub} for {subject}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it came in."""

    name: str
    arguments: Mapping[str, Json]
    request_id: RequestId
    stateless: bool


class ToolMetrics:
    """What the door counts; a tool's name is an operator's, so there are only so many."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self.calls: Final = Counter(
            "lockgate_tool_calls_total", "Calls of tools, by tool and outcome", ["tool", "outcome"], registry=metrics
        )
        self.duration: Final = Histogram(
            "lockgate_tool_call_seconds",
            "How long tools took to answer",
            ["tool"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=metrics,
        )


@dataclass(frozen=True, slots=True)
class ToolDoor:
    """The door; one for a process."""

    registry: ToolRegistry
    rates: Rates
    calls: ToolCalls
    backends: Mapping[Literal["mcp", "http", "lambda"], Backend]
    tokens: ToolTokens
    interceptors: Interceptors
    audit: AuditTrail
    clock: Clock
    metrics: ToolMetrics

    async def tools(self, caller: ToolCaller) -> tuple[Tool, ...]:
        """Return what the caller may call, by name."""
        return tuple((await self.registry.permitted(caller.ctx, caller.named)).values())

    async def call(self, caller: ToolCaller, asked: Asked) -> bytes:
        """Return a tool's result as JSON, a failure of the tool too; raises RpcError, InterceptorFailedError."""
        tool = (await self.registry.permitted(caller.ctx, caller.named)).get(asked.name)
        if tool is None:
            self._told(caller, asked, ToolNotPermittedError.code, None)
            raise ToolNotPermittedError
        try:
            await self._check(caller, tool, asked)
        except RpcError as refused:
            self._told(caller, asked, refused.code, tool)
            raise
        return await self._carry(caller, tool, asked)

    async def _check(self, caller: ToolCaller, tool: Tool, asked: Asked) -> None:
        rate = await self.rates.take_call(caller.ctx.tenant_id, tool)
        if rate.retry_after_s is not None:
            raise ToolRateError(rate.retry_after_s)
        arguments.check(tool.input_schema_json, asked.arguments)

    async def _carry(self, caller: ToolCaller, tool: Tool, asked: Asked) -> bytes:
        if caller.claims is not None:
            self.calls.count(caller.ctx.tenant_id, caller.claims.ref)
        outcome, began_s = "aborted", self.clock.monotonic()
        try:
            try:
                result = await self._answer(caller, tool, asked)
                outcome = "tool_error" if result.is_error else _SUCCEEDED
            except ToolFaultError as fault:
                outcome, result = fault.code, ToolResult.text(fault.sentence, is_error=True)
            shown = await guarded(
                self.interceptors,
                caller.ctx.tenant,
                result.to_json(stateless=asked.stateless),
                agent="" if caller.claims is None else caller.claims.act.sub,
                subject=asked.request_id if caller.claims is None else caller.claims.invocation,
                stateless=asked.stateless,
            )
            outcome = shown.withheld or outcome
        except InterceptorFailedError as failed:
            outcome = failed.code
            raise
        finally:
            lasted_s = self.clock.monotonic() - began_s
            self.metrics.duration.labels(tool.name).observe(lasted_s)
            self._told(caller, asked, outcome, tool, lasted_s)
        return shown.result

    async def _answer(self, caller: ToolCaller, tool: Tool, asked: Asked) -> ToolResult:
        ctx, claims = caller.ctx, caller.claims
        call = ToolCall(
            tool=tool,
            arguments=asked.arguments,
            tenant_id=ctx.tenant_id,
            invocation=None if claims is None else claims.invocation,
            agent=None if claims is None else claims.act.sub,
            assertion=self.tokens.assertion(tool, ctx.tenant_id, ctx.principal.subject, claims),
        )
        try:
            async with asyncio.timeout(tool.timeout_s):
                return await self.backends[tool.backend](call)
        except TimeoutError:
            raise ToolTimeoutError from None

    def _told(
        self, caller: ToolCaller, asked: Asked, outcome: str, tool: Tool | None, lasted_s: float | None = None
    ) -> None:
        """Count, log and record a call. What was asked for by a name that is no tool's is the caller's own text."""
        tenant_id, name = caller.ctx.tenant_id, "other" if tool is None else tool.name
        self.metrics.calls.labels(name, outcome).inc()
        _log.info(
            "tool call",
            tool=name,
            outcome=outcome,
            tenant=tenant_id,
            principal=caller.ctx.principal.subject,
            agent=None if caller.claims is None else caller.claims.act.sub,
            invocation=None if caller.claims is None else caller.claims.invocation,
            request=asked.request_id,
            duration_ms=None if lasted_s is None else round(lasted_s * 1000, 1),
        )
        now = self.clock.now()
        self.audit.record(
            AuditEvent(
                tenant_id=tenant_id,
                audit_id=new_audit_id(now),
                actor=caller.actor,
                operation="tool.call",
                outcome="refused" if lasted_s is None else "allowed",
                reason=outcome,
                target=None if tool is None else tool.name,
                request_id=asked.request_id,
                at=now,
            )
        )
