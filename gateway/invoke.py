"""The request path: what happens to an invocation between the tenant's request and the agent's answer.

    authenticate -> tenant context           gateway.access
    read the invocation once                 gateway.negotiate, gateway.bodies
    admit: proof passed as a value           tenancy.admission
    runtime.stream(permit, invocation)       agents.runtime
    meter taps the raw answer                gateway.run
    JSON | event stream | job                here

Everything an invocation holds (its session's turn, its place among the live ones, the upstream connection) is held
by one nest of context managers, so that whatever ends it, an error, the tenant, a drain or the caller leaving,
frees all of it, stops the agent's work and closes the record.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from agents.catalog import Catalog
from agents.errors import RuntimeBrokenError, RuntimeFaultError, StreamInterruptedError
from agents.invocation import Invocation, Invoke, TraceHeaders
from agents.sessions import Sessions
from agents.turns import Turns
from gateway.bodies import InvocationBody, read_invocation
from gateway.detach import DETACH, Detachments
from gateway.errors import FieldFault, FieldsInvalidError
from gateway.interceptors.bound import Interceptors
from gateway.interceptors.chain import Chain, StreamChain
from gateway.journal import Journal
from gateway.live import (
    InvocationCancelledError,
    InvocationOverBudgetError,
    InvocationRegionLostError,
    LiveInvocations,
)
from gateway.negotiate import mode_of, prefers
from gateway.original import ORIGINAL, kept, stream_kept
from gateway.processes import Standing
from gateway.record import Passage, Report, Served, Verdict, begun, closed, judge, upstream_of
from gateway.run import Run
from gateway.sse import HEADERS, EventStream
from gateway.streamlog import StreamLogs
from gateway.submit import Submissions
from tenancy.admission import Admission, Permit
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, InvocationRecord, Mode
from tenancy.errors import StoreUnavailableError
from tenancy.idempotency import KEPT
from tenancy.ids import AgentName, InvocationId, RequestId, SessionId, new_invocation_id
from tenancy.ledger import line_of
from tenancy.meters import Meter, Meters
from tenancy.registry import TenantRegistry
from tenancy.store import TenantStores
from tenancy.tool_calls import ToolCalls

# The ids of the invocation a request has become, as its answer's headers carry them.
IDS = web.RequestKey("ids", dict[str, str])
# A terminal event is worth this long to a reader that has stopped reading.
LAST_WORD_S = 5.0
# How the loss of a whole region looks to what ran there.
_BROKEN: Final = (StreamInterruptedError, RuntimeBrokenError)
_SUCCEEDED: Final = judge(None)


class Stopper(Protocol):
    """Ends an agent's work from outside."""

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        """End the whole runtime session."""
        ...

    async def stop_turn(self, agent: AgentVersion, session_id: SessionId, invocation_id: InvocationId) -> bool:
        """End one turn and keep its session; tells whether the agent confirmed it."""
        ...

    async def lost(self, agent: AgentVersion) -> bool:
        """Tell whether the region that runs the agent cannot be reached."""
        ...


@dataclass(frozen=True, slots=True)
class Durations:
    """How long each mode may take, and the longest silence on a stream, in seconds."""

    sync_s: float
    stream_s: float
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class Origin:
    """What the HTTP exchange itself contributes."""

    request_id: RequestId
    trace: TraceHeaders


@dataclass(frozen=True, slots=True)
class Admitted:
    """An invocation that may run, its record, and whether its session is new."""

    permit: Permit
    invocation: Invocation
    record: InvocationRecord
    fresh: bool
    meter: Meter
    # What the answer passes on its way out.
    chain: Chain | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The ids as every answer's headers carry them."""
        return {"X-Invocation-Id": self.invocation.id, "X-Session-Id": self.invocation.session_id}

    @property
    def ids(self) -> dict[str, str]:
        """The ids as events carry them."""
        return {"invocationId": self.invocation.id, "sessionId": self.invocation.session_id}


@dataclass(frozen=True, slots=True)
class RequestPath:
    """Carries invocations; every part is injected and shared by all requests of the process."""

    catalog: Catalog
    tenants: TenantRegistry
    admission: Admission
    sessions: Sessions
    turns: Turns
    stores: TenantStores
    journal: Journal
    live: LiveInvocations
    logs: StreamLogs
    detached: Detachments
    runtime: Invoke
    stopper: Stopper
    standing: Standing
    interceptors: Interceptors
    submissions: Submissions
    clock: Clock
    durations: Durations
    report: Report
    meters: Meters
    tool_calls: ToolCalls

    async def invoke(
        self, request: web.Request, ctx: TenantContext, name: AgentName, origin: Origin
    ) -> web.StreamResponse:
        """Answer `POST /v1/agents/{agent}/invocations` in the mode the caller asked for."""
        self.live.check_open()
        agent = await self.catalog.get(name)
        mode = mode_of(request.headers.getall("Accept", ()), request.headers.getall("Prefer", ()), agent.modes)
        body = await read_invocation(request, agent.body_limit_bytes)
        await self.meters.budgets.require(ctx.tenant)
        if mode is Mode.ASYNC:
            await self.meters.require(ctx.tenant, agent, len(body.input_json))
            await self._checked(ctx, agent, body, origin.request_id)
            return await self.submissions.submit(
                request, ctx, agent, body, request_id=origin.request_id, trace=origin.trace
            )
        if body.request.webhook_id is not None:
            raise FieldsInvalidError([FieldFault("/webhookId", "only a job tells a webhook how it ended")])
        detached = mode is Mode.STREAM and prefers(request.headers.getall("Prefer", ()), DETACH)
        carried = self._carry(request, ctx, agent, body, mode=mode, origin=origin, detached=detached)
        return await (self.detached.carry(request, carried) if detached else carried)

    async def _carry(
        self,
        request: web.Request,
        ctx: TenantContext,
        agent: AgentVersion,
        body: InvocationBody,
        *,
        mode: Mode,
        origin: Origin,
        detached: bool,
    ) -> web.StreamResponse:
        invocation_id = new_invocation_id(self.clock.now())
        async with self.admission.invocation(ctx, agent, invocation_id) as newest:
            session = await self.sessions.open(ctx.tenant_id, agent, body.request.session_id)
            # A session stays on the version it began with.
            permit = newest.of_version(await self.catalog.get(agent.name, session.agent_version))
            invocation = Invocation(
                id=invocation_id,
                ctx=ctx,
                agent=permit.agent,
                mode=mode,
                session_id=session.id,
                body=body.input_json,
                trace=origin.trace,
            )
            chain = await self._checked(ctx, permit.agent, body, invocation.id)
            served = Served(self.standing.process, detached=detached)
            record = begun(invocation, body, origin.request_id, served, self.clock.now())
            cap = body.request.budget_microusd
            meter = await self.meters.open(ctx.tenant, permit.agent, len(body.input_json), cap)
            admitted = Admitted(permit, invocation, record, session.fresh, meter, chain)
            # On whatever answer follows, a problem too: its record can be looked up.
            request[IDS] = admitted.headers
            try:
                if mode is Mode.STREAM:
                    return await self._stream(request, admitted, detached=detached)
                return await self._answer(request, admitted)
            finally:
                self.meters.close(meter)

    async def _checked(
        self, ctx: TenantContext, agent: AgentVersion, body: InvocationBody, subject: str
    ) -> Chain | None:
        """Let an input pass and return what its answer will; raises what `Chain.request` does."""
        chain = await self.interceptors.on(ctx.tenant, agent, subject)
        if chain is not None:
            await chain.requested(body.input_json)
        return chain

    async def _answer(self, request: web.Request, admitted: Admitted) -> web.StreamResponse:
        async with self._opened(admitted, self.durations.sync_s) as run:
            body = await run.read()
            if admitted.chain is not None:
                body = await admitted.chain.answered(body)
        response = await kept(request, web.Response(body=body, content_type="application/json"))
        # Written here, so that the slot is held until a slow reader has the last byte.
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _stream(self, request: web.Request, admitted: Admitted, *, detached: bool) -> web.StreamResponse:
        ctx = admitted.permit.ctx
        # An answer that is kept under a key is kept for as long as the key.
        keep_s = max(ctx.limits.replay_s, int(KEPT.total_seconds()) if ORIGINAL in request else 0)
        response = web.StreamResponse(headers=HEADERS | ({"Preference-Applied": DETACH} if detached else {}))
        log = self.logs.open(ctx.tenant_id, admitted.invocation.id, keep_s)
        events = EventStream(response, self.clock, request.protocol, log=log, detached=detached)
        try:
            verdict = await self._streamed(request, admitted, events)
            await stream_kept(request, response.headers, "" if verdict.failure is None else verdict.failure.code)
            await self._end(request, events, verdict.event, admitted.ids | verdict.details)
        except (ConnectionResetError, asyncio.CancelledError) as left:
            if events.begun and not events.over:
                gone = judge(left)
                events.ended_unread(gone.event, admitted.ids | gone.details)
            raise
        finally:
            log.close()
        return response

    async def _end(self, request: web.Request, events: EventStream, event: str, details: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await events.ended(event, details)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    async def _streamed(self, request: web.Request, admitted: Admitted, events: EventStream) -> Verdict:
        """Pass the agent's events on and return how that ended; a failure before the first byte is raised."""
        passing = None if admitted.chain is None else admitted.chain.stream()
        try:
            with passing or nullcontext():
                async with self._opened(admitted, self.durations.stream_s) as run:
                    await events.begin(request)
                    await events.started(admitted.ids)
                    async with events.heartbeat(self.durations.heartbeat_s):
                        await self._pass_on(run, events, passing)
        except ConnectionResetError:
            raise
        except Exception as failure:
            # Before the first byte a failure is a problem document; after it, the stream's one terminal event.
            if not events.begun:
                raise
            # One that was paused for too long has no last word: another process may be carrying its streams on.
            await self.standing.settled()
            return judge(failure)
        return _SUCCEEDED

    async def _pass_on(self, run: Run, events: EventStream, passing: StreamChain | None) -> None:
        # What nothing has to look at passes in the callback that read it.
        offer = run.metering(events.chunk_now) if passing is None else None
        async with aclosing(run.answer.events(offer)) as arrivals:
            async for arrived in arrivals:
                chunks = await run.metered(arrived)
                await (events.chunk(*chunks) if passing is None else passing.through(chunks, events.chunk))
        if passing is not None:
            await events.chunk(*passing.finish())

    @asynccontextmanager
    async def _opened(self, admitted: Admitted, limit_s: float) -> AsyncIterator[Run]:
        """Hold an invocation open for the block.

        Its record is readable on every process before a byte is sent: a stream's before the block begins, a sync
        answer's, as it ended, before the block is left.
        """
        invocation, run = admitted.invocation, Run(admitted.record, admitted.meter, self.clock.monotonic)
        tenant_id, whole = admitted.permit.ctx.tenant_id, invocation.mode is Mode.SYNC
        async with self._turn(admitted):
            stored = self._begin(run.record)
            try:
                async with self.live.serving(tenant_id, invocation.id, limit_s) as live:
                    run.meter.on_over = lambda _: live.end(InvocationOverBudgetError)
                    # Who is suspended from here on is ended; who was since admission is refused.
                    await self.tenants.require_active(tenant_id)
                    async with self.runtime(admitted.permit, invocation) as run.answer:
                        if stored is not None:
                            await stored
                        yield run
                    if whole:
                        # Its line first: where its end is durable, what it cost is.
                        self._settle(run, invocation, final := self._final(run, _SUCCEEDED))
                        await self.journal.stored(final)
            except BaseException as end:
                verdict = await self._verdict(run.record, invocation.agent, end)
                try:
                    if not (verdict.agent_ended or run.over):
                        # The agent of a process that was paused for too long may work for another one by now.
                        await self.standing.settled()
                        await self._stop(invocation)
                finally:
                    # A process that has to end does not wait for a stop that hangs.
                    self._close(run, invocation, verdict, end)
                if isinstance(end, RuntimeFaultError) and (early := verdict.early) is not None:
                    raise early from end
                raise
            self._close(run, invocation, _SUCCEEDED, None)

    def _begin(self, record: InvocationRecord) -> asyncio.Future[None] | None:
        """Order the record of what begins; the future is a stream's to wait for.

        A sync answer's record is waited for when it ends: often both states are one write.
        """
        if record.mode is Mode.STREAM:
            return self.journal.stored(record)
        self.journal.check_room()
        self.journal.put(record)
        return None

    def _turn(self, admitted: Admitted) -> AbstractAsyncContextManager[None]:
        invocation, fresh = admitted.invocation, admitted.fresh
        if fresh and invocation.mode is Mode.SYNC:
            # Its session is told with its answer: before this turn is over nobody can begin another.
            return nullcontext()
        return self.turns.turn(invocation.ctx.tenant_id, invocation.session_id, invocation.id, fresh=fresh)

    def _close(self, run: Run, invocation: Invocation, verdict: Verdict, end: BaseException | None) -> None:
        final = self._final(run, verdict)
        if end is not None or final.mode is Mode.STREAM:
            # What a problem document names can be looked up on any process as well.
            free = isinstance(end, RuntimeFaultError) and end.nothing_ran
            self._settle(run, invocation, final, free=free)
            self.journal.put(final, soon=end is not None)
        tier, tokens = invocation.ctx.tenant.tier, run.meter.reported
        self.report(
            final, Passage(run.lasted_s, run.first_byte_s, upstream_of(end), tier, invocation.trace, tokens=tokens)
        )

    def _settle(self, run: Run, invocation: Invocation, final: InvocationRecord, *, free: bool = False) -> None:
        """Write the ledger's line of what has ended, and count it against the budget."""
        price = None if free else invocation.agent.price
        line = line_of(final, price, run.meter.used(), self.clock.now())
        self.journal.put(line)
        run.meter.settle(line.cost_microusd)
        if invocation.agent.tools:
            # They are counted elsewhere. Where the count comes in before the line is written, it is one write.
            self.tool_calls.tell(
                final.tenant_id,
                invocation.id,
                lambda calls: self.journal.put(line.model_copy(update={"tool_calls": calls})),
            )

    def _final(self, run: Run, verdict: Verdict) -> InvocationRecord:
        return closed(run.record, verdict, run.meter.chunks, run.meter.answer_bytes, self.clock.now())

    async def _verdict(self, record: InvocationRecord, agent: AgentVersion, end: BaseException) -> Verdict:
        """Judge how the invocation ended; a broken answer may be a cancel elsewhere, or the loss of a whole region."""
        if isinstance(end, RuntimeFaultError) and not end.nothing_ran:
            key = InvocationRecord.key_of(record.tenant_id, record.invocation_id)
            with suppress(StoreUnavailableError):
                stored = await self.stores.db(record.tenant_id).get(InvocationRecord, key, consistent=True)
                if stored is not None and stored.cancel_requested_at is not None:
                    return judge(InvocationCancelledError())
            if isinstance(end, _BROKEN) and await self.stopper.lost(agent):
                return judge(InvocationRegionLostError())
        return judge(end)

    async def _stop(self, invocation: Invocation) -> None:
        """End the agent's work on this turn, its whole session if it does not confirm."""
        agent, session_id = invocation.agent, invocation.session_id
        with suppress(RuntimeFaultError):
            if not (agent.kit and await self.stopper.stop_turn(agent, session_id, invocation.id)):
                await self.stopper.stop(agent, session_id)
