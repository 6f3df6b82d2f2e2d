"""AgentCore's data plane: carries admitted invocations to agents, and stops, starts and looks at their work.

A call is repeated only when AgentCore refused it before any agent code ran, and never once an answer has begun.
Leaving an invocation closes its connection at once. The ARN goes out as one encoded path segment that nothing may
re-encode (see agents.sigv4).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import orjson
import structlog

from agents import region_left
from agents.answer import EVENT_STREAM, JSON, AnswerLimits, HttpAnswer
from agents.authorize import Outgoing
from agents.behalf import MintToken, OnBehalf, no_token
from agents.breaker import Breakers
from agents.census import UNCOUNTED, Places
from agents.errors import (
    RuntimeBrokenError,
    RuntimeBusyError,
    RuntimeFaultError,
    RuntimeMissingError,
    RuntimeRefusedError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
)
from agents.exchange import Exchange
from agents.faults import refusal
from agents.inband import ACTION_HEADER, REF_HEADER, TOKEN_HEADER, InbandStatus, parse_status
from agents.invocation import Answer, Invocation, TraceHeaders
from agents.region_health import RegionHealth
from agents.regions import Regions, Way
from agents.retries import RetryBudget
from agents.sigv4 import canonical_query
from tenancy.admission import Permit
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Mode
from tenancy.errors import TenantAccessViolation
from tenancy.held import Held
from tenancy.ids import InvocationId, JobId, SessionId, new_session_id

SESSION_HEADER: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
_SESSION_HEADER: Final = SESSION_HEADER.lower().encode()
# A cold microVM may take two minutes until its agent answers; the others speak to a running one.
START_TIMEOUT_S: Final = 130.0
PROBE_TIMEOUT_S: Final = 8.0
REACH_TIMEOUT_S: Final = 1.0
STOP_TURN_TIMEOUT_S: Final = 1.0
# AgentCore gives a session up to 15 s to end.
STOP_TIMEOUT_S: Final = 20.0
# The longest wait before each repeat; the actual one is any part of it. A session that is being provisioned or torn
# down takes longer than a throttle.
_BUSY_WAITS_S: Final = (0.5, 1.5)
_THROTTLE_WAITS_S: Final = (0.25, 0.75)
_TARGETS_KEPT: Final = 1024
_NO_TRACE: Final = TraceHeaders()
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
# What stands between us and AgentCore may change these.
_UNSIGNED: Final = frozenset({"Accept", "traceparent", "tracestate"})

_log = structlog.get_logger("agents.runtime")


def any_part() -> float:
    """Return any number from 0 to 1."""
    return secrets.randbelow(1001) / 1000


@dataclass(frozen=True, slots=True)
class RuntimeTimeouts:
    """How long an answer may take in all, by mode; a stream must begin within a sync answer's time."""

    sync_s: float
    stream_s: float


@dataclass(frozen=True, slots=True)
class _Target:
    way: Way
    # What has a breaker of its own: that sessions can be stopped says nothing of whether agents answer.
    watched: str
    path: str
    query: str
    # How every request to it begins. Nothing is unpacked, so nothing may come packed.
    start: str


class AgentCore:
    """The client; one for a process. As a callable it is an `agents.invocation.Invoke`."""

    def __init__(
        self,
        regions: Regions,
        *,
        clock: Clock,
        timeouts: RuntimeTimeouts,
        limits: AnswerLimits,
        breakers: Breakers,
        health: RegionHealth,
        repeats: RetryBudget,
        jitter: Callable[[], float] = any_part,
        token: MintToken = no_token,
        census: Places = UNCOUNTED,
    ) -> None:
        self._census = census
        self._regions = regions
        self._clock = clock
        self._timeouts = timeouts
        self._limits = limits
        self._breakers = breakers
        self._health = health
        self._repeats = repeats
        self._jitter = jitter
        self._token = token
        self._targets: dict[tuple[str, str, tuple[str, ...], str, str], _Target] = {}

    def __call__(self, permit: Permit, invocation: Invocation) -> Held[Answer]:
        """Open the invocation; raises RuntimeFaultError, and TenantAccessViolation for a permit that is not its own."""
        return Held(self._open(permit, invocation))

    async def _open(self, permit: Permit, invocation: Invocation) -> tuple[Answer, Callable[[], None]]:
        _require_own(permit, invocation)
        streams = invocation.mode is Mode.STREAM
        headers = _headers(
            invocation.session_id, f"{EVENT_STREAM}, {JSON}" if streams else JSON, invocation.trace, ref=invocation.id
        )
        if invocation.agent.tools:
            behalf = OnBehalf(invocation.ctx.tenant_id, invocation.ctx.principal.subject)
            headers |= self._carrying(invocation.agent, behalf, invocation.id)
        # Whatever comes of it, AgentCore may have given it a place.
        self._census.used(invocation.ctx.tenant_id, invocation.agent, invocation.session_id)
        answer = await self._post(
            self._target(invocation.agent, "invocations"),
            headers,
            invocation.body,
            total_s=self._timeouts.stream_s if streams else self._timeouts.sync_s,
            begin_s=self._timeouts.sync_s,
        )
        try:
            read = _answer(answer, invocation.session_id, invocation.mode, self._limits)
        except RuntimeFaultError:
            answer.close()
            raise
        ended = self._census.begun(invocation.session_id)

        def close() -> None:
            # Only an answer that was all here has given its connection back before it is closed.
            answer.close()
            ended()

        return read, close

    def attach(
        self, agent: AgentVersion, session_id: SessionId, invocation_id: InvocationId, after: int
    ) -> Held[Answer]:
        """Go on with a streamed turn after one of its events, in place of whoever read it; raises RuntimeFaultError.

        Kit agents alone can be attached to, for as long as they keep what follows.
        """
        return Held(self._attach(agent, session_id, invocation_id, after))

    async def _attach(
        self, agent: AgentVersion, session_id: SessionId, invocation_id: InvocationId, after: int
    ) -> tuple[Answer, Callable[[], None]]:
        if not agent.kit:
            # It would take the request for a turn.
            raise RuntimeRefusedError("the agent is not built with lockgate-kit")
        headers = _headers(session_id, EVENT_STREAM, _NO_TRACE, ref=invocation_id) | {ACTION_HEADER: "attach"}
        answer = await self._post(
            self._target(agent, "invocations"),
            headers,
            orjson.dumps({"after": after}),
            total_s=self._timeouts.stream_s,
            begin_s=self._timeouts.sync_s,
        )
        try:
            read = _answer(answer, session_id, Mode.STREAM, self._limits)
        except RuntimeFaultError:
            answer.close()
            raise
        return read, answer.close

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        """End a session and all it runs; one that is gone is fine. Raises RuntimeFaultError."""
        body = orjson.dumps({"clientToken": secrets.token_hex(24)})
        headers = _headers(session_id, JSON, _NO_TRACE)
        target = self._target(agent, "stopruntimesession")
        try:
            answer = await self._post(target, headers, body, total_s=STOP_TIMEOUT_S, begin_s=STOP_TIMEOUT_S)
        except RuntimeMissingError:
            self._census.stopped(session_id)
            return
        answer.close()
        self._census.stopped(session_id)

    async def stop_turn(self, agent: AgentVersion, session_id: SessionId, invocation_id: InvocationId) -> bool:
        """End one turn and keep its session; True if the agent confirms within a second that it no longer runs."""
        if not agent.kit:
            return False
        try:
            status = await self._ask(agent, session_id, "stop", invocation_id, timeout_s=STOP_TURN_TIMEOUT_S)
        except RuntimeFaultError as fault:
            _log.warning("turn_not_stopped", invocation_id=invocation_id, agent=agent.name, code=fault.code)
            return False
        return status.state != "running"

    async def lost(self, agent: AgentVersion) -> bool:
        """Tell whether the region that runs an agent now cannot be reached at all."""
        way = self._regions.way(self._regions.place(agent))
        return not await way.upstream.answers(REACH_TIMEOUT_S)

    async def start_job(
        self,
        agent: AgentVersion,
        session_id: SessionId,
        job_id: JobId,
        body: bytes,
        trace: TraceHeaders,
        *,
        behalf: OnBehalf | None = None,
    ) -> InbandStatus:
        """Start a job, once however often it is asked for, and return how it stands; raises RuntimeFaultError.

        `behalf` is for whom its tools may be called. It is given up where its region is left and answers nothing.
        """
        token = {} if behalf is None else self._carrying(agent, behalf, job_id)
        if behalf is not None:
            self._census.used(behalf.tenant_id, agent, session_id)
        agent = self._regions.place(agent)
        start = self._ask(
            agent, session_id, "start", job_id, body=body, trace=trace, more=token, timeout_s=START_TIMEOUT_S
        )

        def look() -> Awaitable[None]:
            # Nobody has that session: it costs nothing to end it.
            return self.stop(agent, new_session_id())

        region = self._regions.way(agent).region
        return await region_left.answered(start, region_left.silent(region, self._regions, look, self._clock))

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        """Return how a job stands; "unknown" from a session that was lost. Raises RuntimeFaultError."""
        return await self._ask(agent, session_id, "status", job_id, timeout_s=PROBE_TIMEOUT_S)

    async def stop_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        """Have a job stopped and return how it stands; raises a RuntimeFaultError."""
        return await self._ask(agent, session_id, "stop", job_id, timeout_s=PROBE_TIMEOUT_S)

    async def _ask(
        self,
        agent: AgentVersion,
        session_id: SessionId,
        action: str,
        ref: str,
        *,
        timeout_s: float,
        body: bytes = b"{}",
        trace: TraceHeaders = _NO_TRACE,
        more: Mapping[str, str] = _NOTHING,
    ) -> InbandStatus:
        if not agent.kit:
            # It would take the question for a turn.
            raise RuntimeRefusedError("the agent is not built with lockgate-kit")
        self._census.kept(session_id)
        headers = _headers(session_id, JSON, trace, ref=ref) | {ACTION_HEADER: action} | dict(more)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._post(
                    self._target(agent, "invocations"), headers, body, total_s=timeout_s, begin_s=timeout_s
                )
                try:
                    status = parse_status(await _answer(answer, session_id, Mode.SYNC, self._limits).read())
                finally:
                    answer.close()
        except TimeoutError as error:
            raise RuntimeTimeoutError from error
        if status.ref != ref:
            raise RuntimeBrokenError("an in-band answer about something else")
        return status

    def _carrying(self, agent: AgentVersion, behalf: OnBehalf, ref: InvocationId | JobId) -> dict[str, str]:
        token = self._token(agent, behalf, ref)
        return {} if token is None else {TOKEN_HEADER: token}

    async def _post(
        self, target: _Target, headers: dict[str, str], body: bytes, *, total_s: float, begin_s: float
    ) -> Exchange:
        """Return an answer whose status is 200, after repeating what AgentCore refused to run."""
        self._repeats.earn()
        for repeat in range(len(_BUSY_WAITS_S)):
            try:
                return await self._post_once(target, headers, body, total_s=total_s, begin_s=begin_s)
            except (RuntimeBusyError, RuntimeThrottledError) as fault:
                if not self._repeats.spend():
                    raise
                waits_s = _BUSY_WAITS_S if isinstance(fault, RuntimeBusyError) else _THROTTLE_WAITS_S
                _log.info("runtime_refused", code=fault.code, repeat=repeat + 1)
                await self._clock.sleep(self._jitter() * waits_s[repeat])
        return await self._post_once(target, headers, body, total_s=total_s, begin_s=begin_s)

    async def _post_once(
        self, target: _Target, headers: dict[str, str], body: bytes, *, total_s: float, begin_s: float
    ) -> Exchange:
        way = target.way
        headers = {"Host": way.upstream.host, **headers}
        signable = {name: value for name, value in headers.items() if name not in _UNSIGNED}
        proof = await way.authorizer.headers(Outgoing("POST", target.path, target.query, signable, body))
        head = _head(target.start, {**headers, **proof}, len(body))
        try:
            with self._breakers.watching(target.watched):
                answer = await way.upstream.post(head, body, begin_s=begin_s, total_s=total_s)
                if answer.status != 200:  # noqa: PLR2004 - AgentCore knows no other success
                    raise await refusal(answer)
        except RuntimeFaultError as fault:
            self._health.failed(way.region, fault)
            raise
        self._health.answered(way.region)
        return answer

    def _target(self, agent: AgentVersion, operation: str) -> _Target:
        key = (self._regions.serving, agent.runtime_arn, agent.runtime_arns, agent.qualifier, operation)
        target = self._targets.get(key)
        if target is None:
            # A pinned version stays where it is.
            agent = self._regions.place(agent)
            path = f"/runtimes/{quote(agent.runtime_arn, safe='')}/{operation}"
            query = canonical_query([("qualifier", agent.qualifier)])
            start = f"POST {path}?{query} HTTP/1.1\r\nAccept-Encoding: identity\r\nUser-Agent: lockgate\r\n"
            target = _Target(self._regions.way(agent), f"{agent.runtime_arn} {operation}", path, query, start)
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            self._targets[key] = target
        return target


def _headers(session_id: SessionId, accept: str, trace: TraceHeaders, *, ref: str | None = None) -> dict[str, str]:
    headers = {SESSION_HEADER: session_id, "Content-Type": JSON, "Accept": accept}
    if ref is not None:
        headers[REF_HEADER] = ref
    if trace.traceparent is not None:
        headers["traceparent"] = trace.traceparent
        if trace.tracestate is not None:
            headers["tracestate"] = trace.tracestate
    return headers


def _head(start: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = f"{start}{''.join(lines)}Content-Length: {length}\r\n\r\n"
    ends = start.count("\n") + len(lines) + 2
    if head.count("\n") != ends or head.count("\r") != ends or "\0" in head:
        # Whatever let it come this far, it would be a header, or a request, of its own.
        raise RuntimeRefusedError("a header that is more than one line")
    return head.encode()


def _answer(answer: Exchange, session_id: SessionId, mode: Mode, limits: AnswerLimits) -> HttpAnswer:
    if (answer.header(_SESSION_HEADER) or session_id) != session_id:
        raise RuntimeBrokenError("an answer of another session")
    return HttpAnswer(answer, mode, limits)


def _require_own(permit: Permit, invocation: Invocation) -> None:
    tenant_id = invocation.ctx.tenant_id
    if permit.ctx.tenant_id != tenant_id or permit.agent.key() != invocation.agent.key():
        raise TenantAccessViolation(
            tenant_id=tenant_id,
            layer="door",
            operation="InvokeAgentRuntime",
            resource=invocation.agent.name,
            reason="the permit was given to another tenant or for another agent",
        )
