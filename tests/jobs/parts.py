"""What tests of jobs are made of: records, and an agent host in process that faults and dies on demand."""

import asyncio
import secrets
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import orjson

from agents.behalf import OnBehalf
from agents.errors import AgentUnknownError, RuntimeFaultError
from agents.inband import InbandStatus, JobError, TokenUsage
from agents.invocation import TraceHeaders
from tenancy.clock import Clock
from tenancy.context import Principal, Role, TenantContext
from tenancy.data_models import AgentVersion, JobRecord, Mode, Progress, ReleaseState, Tenant, UsageRecord
from tenancy.ids import AgentName, JobId, SessionId, TenantId, new_job_id, new_session_id
from tenancy.prices import Price
from tenancy.tiers import Tier

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME = TenantId("acme")


class FreeSpending:
    """Lets every job go on, unless told otherwise, and remembers what each came to; a jobs.metering.Spending."""

    def __init__(self) -> None:
        self.refused: set[JobId] = set()
        self.lines: list[UsageRecord] = []

    async def may_go_on(self, job: JobRecord, price: Price | None, *, ahead_s: float) -> bool:
        assert ahead_s > 0
        return job.job_id not in self.refused

    async def tool_calls(self, job: JobRecord) -> int:
        return 0 if job.run == 1 else job.run

    def ended(self, line: UsageRecord) -> None:
        self.lines.append(line)


def make_context(tenant_id: TenantId) -> TenantContext:
    tenant = Tenant(tenant_id=tenant_id, name="A tenant", tier=Tier.PREMIUM, created_at=NOON, updated_at=NOON)
    return TenantContext(tenant, Principal("sub-1", "client-1", frozenset({Role.AGENT_INVOKE}), tenant_id))


def make_agent(*, restartable: bool = False) -> AgentVersion:
    return AgentVersion(
        name=AgentName("echo-agent"),
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn="arn:aws:bedrock-agentcore:eu-west-1:111111111111:runtime/echo-0123456789",
        kit=True,
        restartable=restartable,
        state=ReleaseState.PROMOTED,
        created_at=NOON,
    )


def make_job(tenant_id: TenantId = ACME, now: datetime = NOON, timeout_s: float = 3600) -> JobRecord:
    return JobRecord(
        tenant_id=tenant_id,
        job_id=new_job_id(now),
        agent=AgentName("echo-agent"),
        agent_version="1.0.0",
        session_id=new_session_id(),
        principal="sub-1",
        request_id="req-1",
        created_at=now,
        updated_at=now,
        deadline_at=now + timedelta(seconds=timeout_s),
        next_tick_at=now,
    )


class FakeAgents:
    """Knows one agent version, or none."""

    def __init__(self, agent: AgentVersion | None) -> None:
        self.agent = agent

    async def get(self, name: AgentName, version: str | None = None) -> AgentVersion:
        if self.agent is None or (name, version) != (self.agent.name, self.agent.version):
            raise AgentUnknownError
        return self.agent


@dataclass(slots=True)
class _Work:
    prompt: str
    began_s: float
    duration_s: float
    fails: bool
    # How long it takes to stop once told to; None is never.
    stop_s: float | None
    stopped_s: float | None = None


@dataclass(slots=True)
class _Process:
    boot_id: str = field(default_factory=lambda: secrets.token_hex(8))
    works: dict[str, _Work] = field(default_factory=dict)


class Gate:
    """Holds a start until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.opened.wait()


Call = Literal["start", "probe", "stop", "stop_job"]


class FakeRuntime:
    """A jobs.runtime.JobRuntime: one process per session, running jobs as the echo agent does, on the test's clock.

    `before` and `after` hold faults for coming calls of a kind: raised instead of the call, or once it has taken
    effect. `gates` hold coming starts. `effects` counts how often each job's work really began; `stopped` lists the
    sessions told to stop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: dict[str, _Process] = {}
        self.before: dict[Call, deque[RuntimeFaultError]] = {call: deque() for call in get_args(Call)}
        self.after: dict[Call, deque[RuntimeFaultError]] = {call: deque() for call in get_args(Call)}
        self.gates: deque[Gate] = deque()
        self.effects: Counter[str] = Counter()
        self.calls: Counter[Call] = Counter()
        self.stopped: list[str] = []
        self.traces: list[TraceHeaders] = []
        # What its jobs say that their models used.
        self.usage: TokenUsage | None = None

    @property
    def live_sessions(self) -> set[str]:
        return set(self._processes)

    def kill(self, session_id: str) -> None:
        del self._processes[session_id]

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
        self._fault("start", self.before)
        if self.gates:
            await self.gates.popleft().passed()
        self.traces.append(trace)
        process = self._processes.setdefault(session_id, _Process())
        if job_id not in process.works:
            wanted = orjson.loads(body)
            fails = "failAfter" in wanted
            now_s = self._clock.monotonic()
            work = _Work(wanted["prompt"], now_s, wanted.get("durationS", 0.0), fails, wanted.get("stopS", 0.0))
            process.works[job_id] = work
            self.effects[job_id] += 1
        self._fault("start", self.after)
        return self._status(process, job_id)

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        self._fault("probe", self.before)
        process = self._processes.setdefault(session_id, _Process())
        self._fault("probe", self.after)
        return self._status(process, job_id)

    async def stop_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        self._fault("stop_job", self.before)
        process = self._processes.setdefault(session_id, _Process())
        work = process.works.get(job_id)
        if work is not None and work.stop_s is not None and work.stopped_s is None:
            work.stopped_s = self._clock.monotonic() + work.stop_s
        self._fault("stop_job", self.after)
        return self._status(process, job_id)

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        self._fault("stop", self.before)
        self.stopped.append(session_id)
        self._processes.pop(session_id, None)
        self._fault("stop", self.after)

    def _fault(self, call: Call, faults: dict[Call, deque[RuntimeFaultError]]) -> None:
        if faults is self.before:
            self.calls[call] += 1
        if faults[call]:
            raise faults[call].popleft()

    def _status(self, process: _Process, job_id: JobId) -> InbandStatus:
        work = process.works.get(job_id)
        if work is None:
            return InbandStatus(bootId=process.boot_id, ref=job_id, state="unknown", ping="Healthy")
        if work.stopped_s is not None and self._clock.monotonic() >= work.stopped_s:
            return InbandStatus(bootId=process.boot_id, ref=job_id, state="cancelled", ping="Healthy")
        share = (self._clock.monotonic() - work.began_s) / work.duration_s if work.duration_s else 1.0
        if share < 1:
            progress = Progress(percent=int(share * 100))
            return InbandStatus(
                bootId=process.boot_id,
                ref=job_id,
                state="running",
                ping="HealthyBusy",
                progress=progress,
                usage=self.usage,
            )
        if work.fails:
            error = JobError(type="ValueError", message="asked to fail")
            return InbandStatus(bootId=process.boot_id, ref=job_id, state="failed", ping="Healthy", error=error)
        result = b'{"echo": ' + orjson.dumps(work.prompt) + b"}"
        return InbandStatus(
            bootId=process.boot_id,
            ref=job_id,
            state="succeeded",
            ping="Healthy",
            resultJson=result,
            usage=self.usage,
        )
