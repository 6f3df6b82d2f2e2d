"""Carries on what a dead process was serving, to an end that can be read.

A stream of an agent built with the kit goes on after the last event on record: the agent gives what follows again, so
that its log becomes the very one it would have been. Where a tenant's answers are redacted the agent gives all of it,
for what is held back at a cut depends on what came before. Anything else has ended with its process: its record says
`stream_interrupted`, and so does the terminal event of its log. Nobody reads here; who had read goes on at any process.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from agents.catalog import Catalog
from agents.errors import (
    AgentFailedError,
    AgentUnknownError,
    RuntimeFaultError,
    SessionBusyError,
    StreamInterruptedError,
)
from agents.invocation import Answer, TraceHeaders
from agents.turns import Turns
from gateway.errors import ReplayExpiredError
from gateway.frames import Frames
from gateway.interceptors.bound import Interceptors
from gateway.interceptors.chain import Write
from gateway.invoke import Durations, Stopper
from gateway.journal import Journal
from gateway.live import InvocationCancelledError, InvocationOverBudgetError, LiveInvocations
from gateway.record import Passage, Report, Verdict, closed, judge
from gateway.replay import Replays
from gateway.run import Run
from gateway.sse import EventStream
from gateway.streamlog import StreamLog, StreamLogs
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Failure, InvocationRecord, Mode, Status, Tenant, UsageRecord
from tenancy.errors import StoreUnavailableError
from tenancy.ids import InvocationId, SessionId
from tenancy.ledger import line_of
from tenancy.meters import Meters
from tenancy.registry import TenantRegistry
from tenancy.slots import Slots
from tenancy.store import TenantStores
from tenancy.tiers import limits_of

# An agent is asked again for so long: it waits a minute for somebody to attach.
ATTACH_S: Final = 30.0
RETRY_S: Final = 1.0
# How long the log of a dead process is read for, at most.
READ_S: Final = 10.0
# A record does not say in which trace it was begun.
_NO_TRACE: Final = TraceHeaders()
_DATA: Final = b"\ndata: "
_CHUNK: Final = b"event: agent.chunk"
_ENDS: Final = {
    b"invocation.completed": Status.SUCCEEDED,
    b"invocation.cancelled": Status.CANCELLED,
    b"invocation.failed": Status.FAILED,
}


class Attach(Protocol):
    """Goes on with a streamed turn after one of its events; raises RuntimeFaultError."""

    def __call__(
        self, agent: AgentVersion, session_id: SessionId, invocation_id: InvocationId, after: int
    ) -> AbstractAsyncContextManager[Answer]:
        """Open what follows."""
        ...


@dataclass(frozen=True, slots=True)
class _Logged:
    """What the log of a stream holds: how many chunks, how many bytes in them, and how it ended if it did."""

    chunks: int = 0
    answer_bytes: int = 0
    end: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Takeovers:
    """Carries on; every part is shared with the request path of the process."""

    catalog: Catalog
    tenants: TenantRegistry
    stores: TenantStores
    turns: Turns
    slots: Slots
    journal: Journal
    live: LiveInvocations
    logs: StreamLogs
    replays: Replays
    interceptors: Interceptors
    meters: Meters
    attach: Attach
    stopper: Stopper
    clock: Clock
    durations: Durations
    report: Report

    async def carry(self, record: InvocationRecord) -> None:
        """Bring an invocation that this process has taken over to its end."""
        tenant = await self._tenant(record)
        agent = await self._agent(record)
        async with AsyncExitStack() as stack:
            cap = limits_of(tenant.tier, tenant.limits).concurrent_streams
            stack.callback(self.slots.inherit(record.tenant_id, cap, record.invocation_id))
            with suppress(SessionBusyError):
                # The dead process's own claim stands under the same name: it goes on, and is given up in the end.
                turn = self.turns.turn(record.tenant_id, record.session_id, record.invocation_id, fresh=True)
                await stack.enter_async_context(turn)
            ran_s = (self.clock.now() - record.created_at).total_seconds()
            meter = self.meters.resumed(
                tenant, agent, input_bytes=record.input_bytes, cap=record.budget_microusd, ran_s=ran_s
            )
            stack.callback(self.meters.close, meter)
            run = Run(record, meter, self.clock.monotonic)
            verdict = await (
                self._stream(run, tenant, agent) if record.mode is Mode.STREAM else self._ended(run, tenant, agent)
            )
            await self._close(run, tenant, agent, verdict)

    async def _tenant(self, record: InvocationRecord) -> Tenant:
        while True:
            try:
                return await self.tenants.get(record.tenant_id)
            except StoreUnavailableError:
                await self.clock.sleep(RETRY_S)

    async def _agent(self, record: InvocationRecord) -> AgentVersion | None:
        while True:
            try:
                return await self.catalog.get(record.agent, record.agent_version)
            except AgentUnknownError:
                return None
            except StoreUnavailableError:
                await self.clock.sleep(RETRY_S)

    async def _stream(self, run: Run, tenant: Tenant, agent: AgentVersion | None) -> Verdict:
        record = run.record
        log = await self._reopened(record, limits_of(tenant.tier, tenant.limits).replay_s)
        try:
            logged = await self._logged(log)
            run.meter.chunks, run.meter.answer_bytes = logged.chunks, logged.answer_bytes
            if logged.end is not None:
                # Only its record had not been closed.
                return logged.end
            events = EventStream(None, self.clock, log=log, last_id=log.last_id)
            ids = {"invocationId": record.invocation_id, "sessionId": record.session_id}
            if not events.begun:
                await events.started(ids)
            verdict = await self._ended(run, tenant, agent, events)
            await events.ended(verdict.event, ids | verdict.details)
            return verdict
        finally:
            log.close()

    async def _ended(
        self, run: Run, tenant: Tenant, agent: AgentVersion | None, events: EventStream | None = None
    ) -> Verdict:
        """Go on with what can be gone on with, and return how it ended; what has not ended by itself is stopped."""
        record = run.record
        left_s = self.durations.stream_s - (self.clock.now() - record.created_at).total_seconds()
        try:
            async with self.live.serving(record.tenant_id, record.invocation_id, max(0.0, left_s)) as live:
                run.meter.on_over = lambda _: live.end(InvocationOverBudgetError)
                await self.tenants.require_active(record.tenant_id)
                await self._require_wanted(record)
                await self._resumed(run, tenant, agent, events)
        except Exception as failure:
            if agent is not None and not isinstance(failure, AgentFailedError):
                await self._stop(record, agent)
            return judge(await self._cause(record, failure))
        return judge(None)

    async def _cause(self, record: InvocationRecord, failure: Exception) -> Exception:
        """Return what ended an invocation: an answer that broke may have been cancelled elsewhere."""
        if isinstance(failure, RuntimeFaultError):
            try:
                await self._require_wanted(record)
            except InvocationCancelledError as cancelled:
                return cancelled
        return failure

    async def _require_wanted(self, record: InvocationRecord) -> None:
        """Raise InvocationCancelledError where its tenant has cancelled it, before or after its process died."""
        with suppress(StoreUnavailableError):
            newest = await self.stores.db(record.tenant_id).get(InvocationRecord, record.key(), consistent=True)
            record = newest or record
        if record.cancel_requested_at is not None:
            raise InvocationCancelledError

    async def _resumed(self, run: Run, tenant: Tenant, agent: AgentVersion | None, events: EventStream | None) -> None:
        """Pass on what follows the last chunk on record; raises StreamInterruptedError where nothing can."""
        if events is None or agent is None or not agent.kit:
            raise StreamInterruptedError("its process has died")
        chain = await self.interceptors.answers(tenant, agent.name, run.record.invocation_id)
        passing = None if chain is None else chain.stream()
        known = run.meter.chunks
        if passing is not None:
            # Counted anew as it comes again.
            run.meter.chunks = run.meter.answer_bytes = 0
        async with AsyncExitStack() as stack:
            if passing is not None:
                stack.enter_context(passing)
            run.answer = await self._attached(stack, run.record, agent, known if passing is None else 0)
            arrivals = await stack.enter_async_context(aclosing(run.answer.events()))
            write = events.chunk if passing is None else _after(known, events.chunk)
            async for arrived in arrivals:
                chunks = await run.metered(arrived)
                await (write(*chunks) if passing is None else passing.through(chunks, write))
            if passing is not None:
                await write(*passing.finish())

    async def _attached(
        self, stack: AsyncExitStack, record: InvocationRecord, agent: AgentVersion, after: int
    ) -> Answer:
        """Attach to the agent, trying again while it is AgentCore that refuses; raises StreamInterruptedError."""
        began_s = self.clock.monotonic()
        while True:
            try:
                attaching = self.attach(agent, record.session_id, record.invocation_id, after)
                return await stack.enter_async_context(attaching)
            except RuntimeFaultError as fault:
                if not fault.nothing_ran or self.clock.monotonic() - began_s >= ATTACH_S:
                    raise StreamInterruptedError("the agent cannot be attached to") from fault
            await self.clock.sleep(RETRY_S)

    async def _reopened(self, record: InvocationRecord, keep_s: int) -> StreamLog:
        while True:
            try:
                return await self.logs.reopen(record.tenant_id, record.invocation_id, keep_s)
            except StoreUnavailableError:
                await self.clock.sleep(RETRY_S)

    async def _logged(self, log: StreamLog) -> _Logged:
        """Return what a log holds up to its last event."""
        logged, after = _Logged(), 0
        if not log.last_id:
            return logged
        with suppress(ReplayExpiredError, TimeoutError):
            async with asyncio.timeout(READ_S), aclosing(self.replays.follow(log.place, 0)) as following:
                async for frames in following:
                    logged, after = _with(logged, frames), frames.last
                    if after >= log.last_id:
                        return logged
        # Its beginning is not to be had: the first event tells of the beginning, each other one holds a chunk.
        return _Logged(log.last_id - 1)

    async def _stop(self, record: InvocationRecord, agent: AgentVersion) -> None:
        with suppress(RuntimeFaultError):
            confirmed = await self.stopper.stop_turn(agent, record.session_id, record.invocation_id)
            if not confirmed:
                await self.stopper.stop(agent, record.session_id)

    async def _close(self, run: Run, tenant: Tenant, agent: AgentVersion | None, verdict: Verdict) -> None:
        final = closed(run.record, verdict, run.meter.chunks, run.meter.answer_bytes, self.clock.now())
        # Without the agent's own word it is an estimate: by its time, and by what its log holds.
        line = line_of(final, None if agent is None else agent.price, run.meter.used(), self.clock.now())
        if not await self._is_settled(line):
            self.journal.put(line)
            run.meter.settle(line.cost_microusd)
        self.journal.put(final, soon=True)
        self.report(final, Passage(run.lasted_s, run.first_byte_s, "", tenant.tier, _NO_TRACE))

    async def _is_settled(self, line: UsageRecord) -> bool:
        """Tell whether the process that died had written what it cost: how it ended is written after that."""
        while True:
            try:
                known = await self.stores.db(line.tenant_id).get(UsageRecord, line.key(), consistent=True)
            except StoreUnavailableError:
                await self.clock.sleep(RETRY_S)
            else:
                return known is not None


def _after(known: int, write: Write) -> Write:
    """Return what writes all but the first `known` chunks, which are on record already."""

    async def writing(*chunks: bytes) -> None:
        nonlocal known
        fresh, known = chunks[known:], max(0, known - len(chunks))
        if fresh:
            await write(*fresh)

    return writing


def _with(logged: _Logged, frames: Frames) -> _Logged:
    chunks, size, end = logged.chunks, logged.answer_bytes, logged.end
    for frame in frames.data.split(b"\n\n"):
        head, found, data = frame.partition(_DATA)
        if not found:
            continue
        name = head.rpartition(b"event: ")[2]
        if head.endswith(_CHUNK):
            chunks, size = chunks + 1, size + len(data.replace(_DATA, b"\n"))
        elif name in _ENDS:
            end = _verdict(_ENDS[name], data)
    return _Logged(chunks, size, end)


def _verdict(status: Status, data: bytes) -> Verdict:
    told = orjson.loads(data)
    failure = Failure(code=told["code"], detail=told["detail"]) if "code" in told else None
    return Verdict(status, failure, agent_ended=True)
