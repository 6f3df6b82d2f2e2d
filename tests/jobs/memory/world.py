"""The jobs floor in memory: many worker processes, one store, one Redis, one agent host, one clock.

Each tick runs in a worker process of its own, which may meet one `Trouble` at one of its calls: it is killed, told to
end, stopped for a while (SIGSTOP), or the store or the runtime fails it. Everything is decided by the test: two runs
of the same steps are the same run.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from prometheus_client import CollectorRegistry

from agents.behalf import OnBehalf
from agents.errors import RuntimeTimeoutError, RuntimeUnreachableError
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from jobs.backoff import fault_ceiling_s
from jobs.election import Election
from jobs.errors import QueueUnavailableError, TickAgainError
from jobs.execute import Execute
from jobs.finish import Finish
from jobs.gate import Gates
from jobs.lease import Leases, Tick
from jobs.metrics import JobMetrics
from jobs.queue import GATE, JobQueue, WebhookTicks
from jobs.store import Cancellation, JobStore
from jobs.sweep import Sweeper
from jobs.ticks import JOBS, TickQueue
from jobs.worker import TICK_TIMEOUT_S
from tenancy.data_models import AgentVersion, JobRecord
from tenancy.errors import ConditionFailedError, StoreUnavailableError, TenantAccessViolation
from tenancy.idempotency import Answered, Asked, Idempotency
from tenancy.ids import JobId, SessionId, TenantId
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.jobs.memory.history import WRITER, History
from tests.jobs.memory.items import AnswerLostError, Items, MemoryDynamoDB, conflict, timeout
from tests.jobs.memory.redis import MemoryRedis, Queued
from tests.jobs.parts import FakeAgents, FakeRuntime, FreeSpending, make_agent, make_context

if TYPE_CHECKING:
    from arq.connections import ArqRedis
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_s3.client import S3Client

PREFIX: Final = "memory-"
POLL_S: Final = 20.0
TIMEOUT_S: Final = 300.0
# How long arq keeps the queue id of a tick whose worker was killed.
_LOCKED_S: Final = TICK_TIMEOUT_S + 10.0
_RUNTIME_CALLS: Final = frozenset({"start", "probe", "stop", "stop_job"})


class Kind(StrEnum):
    """What may happen to a process at one of its calls."""

    NONE = "none"
    # Killed before the call is made, or once it was made.
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    # Told to end, and given no time.
    TERMINATED = "terminated"
    # The whole process stands still, until it is let go on.
    STOPPED_BEFORE = "stopped before"
    STOPPED_AFTER = "stopped after"
    # The runtime's answer takes long; the process goes on beside it.
    HUNG = "hung"
    # The call is not made; or it is, and nobody hears of it; or botocore repeats it.
    FAILED = "failed"
    UNHEARD = "unheard"
    REPEATED = "repeated"
    CONFLICT = "conflict"


class WorkerKilledError(BaseException):
    """kill -9: nothing of the process runs any more."""


@dataclass(slots=True, eq=False)
class Process:
    """A Trouble that comes once: at its `at`-th call (from 1), or at its first of that name."""

    kind: Kind = Kind.NONE
    at: int | str = 0
    calls: int = 0
    # The call at which it came.
    met: int = 0
    dead: bool = False
    going_on: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[object] | None" = None

    def __post_init__(self) -> None:
        self.let_go_on()

    @property
    def stands_still(self) -> bool:
        return not (self.going_on.is_set() and self.answered.is_set())

    def let_go_on(self) -> None:
        self.going_on.set()
        self.answered.set()

    async def before(self, call: str) -> None:
        await self._lives()
        self.calls += 1
        if self.met or self.at not in (self.calls, call):
            return
        self.met = self.calls
        if self.kind is Kind.KILLED_BEFORE:
            self._die()
        if self.kind is Kind.STOPPED_BEFORE:
            self.going_on.clear()
        if self.kind is Kind.TERMINATED and self.task is not None:
            self.task.cancel()
        if self.kind in (Kind.FAILED, Kind.CONFLICT):
            raise self._failure(call)
        await self._lives()

    async def after(self, call: str) -> None:
        if self.met and self.calls == self.met:
            if self.kind is Kind.KILLED_AFTER:
                self._die()
            if self.kind is Kind.STOPPED_AFTER:
                self.going_on.clear()
            if self.kind is Kind.HUNG and call in _RUNTIME_CALLS:
                self.answered.clear()
                await self.answered.wait()
            if self.kind is Kind.REPEATED and call not in _RUNTIME_CALLS:
                raise AnswerLostError
            if self.kind in (Kind.UNHEARD, Kind.REPEATED):
                raise RuntimeTimeoutError if call in _RUNTIME_CALLS else timeout()
        await self._lives()

    def _failure(self, call: str) -> Exception:
        if call in _RUNTIME_CALLS:
            return RuntimeUnreachableError()
        if self.kind is Kind.CONFLICT and call in ("TransactWriteItems", "UpdateItem", "PutItem"):
            return conflict(call)
        return timeout()

    async def _lives(self) -> None:
        await asyncio.sleep(0)
        await self.going_on.wait()
        if self.dead:
            raise WorkerKilledError

    def _die(self) -> None:
        self.dead = True
        raise WorkerKilledError


class ProcessRuntime:
    """A process's way to the agents' host."""

    def __init__(self, host: FakeRuntime, process: Process) -> None:
        self._host = host
        self._process = process

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
        await self._process.before("start")
        answer = await self._host.start_job(agent, session_id, job_id, body, trace, behalf=behalf)
        await self._process.after("start")
        return answer

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        await self._process.before("probe")
        answer = await self._host.probe_job(agent, session_id, job_id)
        await self._process.after("probe")
        return answer

    async def stop_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        await self._process.before("stop_job")
        answer = await self._host.stop_job(agent, session_id, job_id)
        await self._process.after("stop_job")
        return answer

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        await self._process.before("stop")
        await self._host.stop(agent, session_id)
        await self._process.after("stop")


class Hasty:
    """A clock whose sleepers need nobody to move it: a pause before a repeat is over at once."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def stores_of(items: Items, process: Process | None = None) -> TenantStores:
    """Return the doors to what is stored, as one process has them."""
    return TenantStores(
        cast("DynamoDBClient", MemoryDynamoDB(items, process)),
        cast("S3Client", None),
        table_prefix=PREFIX,
        bucket="none",
        on_violation=_refuse,
    )


def platform_of(items: Items, process: Process | None = None) -> PlatformStore:
    """Return the platform's door, as one process has it."""
    client = cast("DynamoDBClient", MemoryDynamoDB(items, process))
    return PlatformStore(client, table_prefix=PREFIX, on_violation=_refuse)


class Floor:
    """What one process is made of."""

    def __init__(self, world: "World", process: Process) -> None:
        hasty = Hasty(world.clock)
        self.store = JobStore(stores_of(world.items, process), hasty)
        self.queue = JobQueue(
            self.store, world.ticks, clock=world.clock, metrics=world.metrics, job_timeout_s=world.timeout_s
        )
        webhooks = WebhookTicks(world.ticks)
        runtime = ProcessRuntime(world.runtime, process)
        self.gates = Gates(self.store, self.queue, world.cap_of, clock=world.clock, metrics=world.metrics)
        finish = Finish(
            self.store,
            self.gates,
            webhooks.outbox,
            world.agents,
            runtime,
            clock=world.clock,
            metrics=world.metrics,
            spending=world.spending,
        )
        self.execute = Execute(
            self.store,
            Leases(self.store, world.clock, owner="worker"),
            self.queue,
            world.agents,
            runtime,
            gates=self.gates,
            finish=finish,
            clock=world.clock,
            metrics=world.metrics,
            spending=world.spending,
            poll_s=POLL_S,
        )
        self.execute._rng = cast("random.SystemRandom", random.Random(0))  # noqa: S311 - the same in each run
        platform = platform_of(world.items, process)
        election = Election(platform, owner="sweeper", clock=world.clock)
        self.sweeper = Sweeper(
            platform, election, self.store, self.queue, webhooks, clock=world.clock, metrics=world.metrics
        )


class World:
    """Everything, and the test's hand on it."""

    def __init__(
        self, caps: Mapping[TenantId, int], *, restartable: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.clock = FakeClock()
        self.timeout_s = timeout_s
        self.items = Items()
        self.history = History(self.items, dict(caps))
        self.redis = MemoryRedis(self.clock)
        self.caps = dict(caps)
        self.suspended: set[TenantId] = set()
        self.agent = make_agent(restartable=restartable)
        self.agents = FakeAgents(self.agent)
        self.spending = FreeSpending()
        self.runtime = FakeRuntime(self.clock)
        self.metrics = JobMetrics(CollectorRegistry())
        self.ticks = TickQueue(cast("ArqRedis", self.redis), clock=self.clock, metrics=self.metrics)
        self.jobs: list[JobRecord] = []
        self.standing: list[Process] = []
        self._sweeping = Floor(self, Process())

    async def cap_of(self, tenant_id: TenantId) -> int:
        return 0 if tenant_id in self.suspended else self.caps[tenant_id]

    async def submit(
        self, tenant_id: TenantId, body: bytes, process: Process | None = None, *, key: str | None = None
    ) -> JobRecord | None:
        """Return the job accepted under an Idempotency-Key (digits); None where the caller was told to try again."""
        # Ids of one millisecond sort by chance.
        await self.clock.advance(0.001)
        process, key = process or Process(), key or f"-{len(self.jobs) + 1}"
        book, asked = Idempotency(stores_of(self.items, process), self.clock), Asked(tenant_id, "submit", key, "same")
        try:
            job = await self._known(book, asked) or await self._new(asked, body, process, book)
        except StoreUnavailableError:
            return None
        self.history.accept(tenant_id, key, job.job_id)
        if job.job_id not in [known.job_id for known in self.jobs]:
            self.jobs.append(job)
        return job

    async def _known(self, book: Idempotency, asked: Asked) -> JobRecord | None:
        """Return the job that was made under a key."""
        record = await book.find(asked)
        answer = None if record is None else (await book.answer(record)).body
        if answer is None:
            return None
        return await JobStore(stores_of(self.items)).get(asked.tenant_id, JobId(answer.decode()), consistent=True)

    async def _new(self, asked: Asked, body: bytes, process: Process, book: Idempotency) -> JobRecord:
        try:
            return await Floor(self, process).queue.submit(
                make_context(asked.tenant_id),
                self.agent,
                body=body,
                principal="sub-1",
                request_id="req-1",
                metadata_json=asked.key,
                webhook_id=None,
                traceparent=None,
                also=lambda job: (book.beside(asked, Answered(202, {}, job.job_id.encode())),),
            )
        except ConditionFailedError:
            known = await self._known(book, asked)
            assert known is not None
            return known

    async def cancel(self, job: JobRecord, process: Process | None = None) -> Cancellation | None:
        """Return the cancel as it was acknowledged; None where the caller was told to try again."""
        try:
            done = await Floor(self, process or Process()).queue.cancel(job.tenant_id, job.job_id)
        except StoreUnavailableError:
            return None
        assert done is not None
        return done

    def due(self) -> list[Queued]:
        return self.redis.due(JOBS)

    async def run(self, tick: Queued, process: Process | None = None) -> None:
        """Run a tick in a process, as arq would, until it ends or stands still."""
        process = process or Process()
        process.task = asyncio.ensure_future(self._run(tick, process))
        await self._driven(process)

    async def sweep(self, process: Process | None = None) -> None:
        """Sweep, as the process that was elected or as another that thinks so."""
        sweeper = (self._sweeping if process is None else Floor(self, process)).sweeper
        with suppress(StoreUnavailableError, QueueUnavailableError, WorkerKilledError):
            await sweeper.sweep()

    async def go_on(self, process: Process) -> None:
        """Let a process that stands still go on (SIGCONT)."""
        process.let_go_on()
        await self._driven(process)

    async def _driven(self, process: Process) -> None:
        task = process.task
        assert task is not None
        while not task.done() and not process.stands_still:
            await asyncio.sleep(0)
        if not task.done():
            if process not in self.standing:
                self.standing.append(process)
            return
        with suppress(ValueError):
            self.standing.remove(process)
        task.result()

    async def _run(self, tick: Queued, process: Process) -> None:
        WRITER.set(process)
        now = self.clock.now
        try:
            await self._work(tick, Floor(self, process))
            self.redis.done(tick)
        except WorkerKilledError:
            self.redis.again(tick, now() + timedelta(seconds=_LOCKED_S))
        except TickAgainError as again:
            self.redis.again(tick, again.at or now() + timedelta(seconds=fault_ceiling_s(1)))
        except (StoreUnavailableError, QueueUnavailableError, asyncio.CancelledError):
            self.redis.again(tick, now() + timedelta(seconds=fault_ceiling_s(1)))

    async def _work(self, tick: Queued, floor: Floor) -> None:
        if tick.name == GATE:
            await floor.gates.open(cast("TenantId", tick.args[0]), aside=":gate")
        else:
            await floor.execute(Tick(*cast("tuple[TenantId, JobId, int, int]", tick.args)))

    async def settle(self, within_s: float) -> None:
        """End all trouble, and let time pass until every job has ended and nothing is due, `within_s` at most."""
        self.redis.away = False
        self.suspended.clear()
        self.agents.agent = self.agent
        for process in tuple(self.standing):
            await self.go_on(process)
        end_s = self.clock.monotonic() + within_s
        while self.clock.monotonic() < end_s:
            await self.ticks.pay()
            await self.sweep()
            for _ in range(3):
                for tick in self.due():
                    await self.run(tick)
            if not self.due() and self.history.over:
                return
            await self.clock.advance(5)

    def lose(self, job: JobRecord) -> None:
        """End a job's microVM, if it has one."""
        if job.session_id in self.runtime.live_sessions:
            if job.job_id in self.runtime.effects and self.history.unacknowledged(job.job_id):
                self.history.excused[job.job_id] += 1
            self.runtime.kill(job.session_id)


def _refuse(violation: TenantAccessViolation) -> None:
    raise violation
