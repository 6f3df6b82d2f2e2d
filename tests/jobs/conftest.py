"""The jobs floor put together over the real store and a real Redis, with the agent host in process."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from arq.connections import ArqRedis
from prometheus_client import CollectorRegistry

from jobs.election import Election
from jobs.execute import Execute, TickOutcome
from jobs.finish import Finish
from jobs.gate import Gates
from jobs.guarded import GuardAnswer, unguarded
from jobs.lease import Leases, Tick
from jobs.metrics import JobMetrics
from jobs.queue import TICK, JobQueue, WebhookTicks
from jobs.store import JobStore
from jobs.sweep import Sweeper
from jobs.ticks import WEBHOOKS, TickQueue, connect
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, JobRecord
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.jobs.parts import FakeAgents, FakeRuntime, FreeSpending, make_agent, make_context

POLL_S = 5.0
CAP = 1000


@dataclass(frozen=True, slots=True)
class Floor:
    """One tenant's jobs, with every part at hand."""

    tenant_id: TenantId
    stores: TenantStores
    store: JobStore
    platform: PlatformStore
    redis: ArqRedis
    ticks: TickQueue
    queue: JobQueue
    caps: dict[TenantId, int]
    agents: FakeAgents
    runtime: FakeRuntime
    clock: Clock
    metrics: JobMetrics
    registry: CollectorRegistry
    spending: FreeSpending = field(default_factory=FreeSpending)
    disowned: set[TenantId] = field(default_factory=set)

    @property
    def agent(self) -> AgentVersion:
        assert self.agents.agent is not None
        return self.agents.agent

    def worker(self, owner: str = "worker-1", guard: GuardAnswer = unguarded) -> Execute:
        """Return what one worker process runs its ticks with."""
        return Execute(
            self.store,
            Leases(self.store, self.clock, owner=owner),
            self.queue,
            self.agents,
            self.runtime,
            gates=self.gates,
            finish=self.finish,
            clock=self.clock,
            metrics=self.metrics,
            spending=self.spending,
            guard=guard,
            poll_s=POLL_S,
            is_disowned=self.is_disowned,
        )

    async def is_disowned(self, tenant_id: TenantId) -> bool:
        return tenant_id in self.disowned

    @property
    def gates(self) -> Gates:
        async def cap_of(tenant_id: TenantId) -> int:
            return self.caps.get(tenant_id, CAP)

        return Gates(self.store, self.queue, cap_of, clock=self.clock, metrics=self.metrics)

    @property
    def finish(self) -> Finish:
        return Finish(
            self.store,
            self.gates,
            WebhookTicks(self.ticks).outbox,
            self.agents,
            self.runtime,
            clock=self.clock,
            metrics=self.metrics,
            spending=self.spending,
        )

    def sweeper(self, owner: str = "sweeper-1") -> Sweeper:
        """Return what one worker process sweeps with."""
        election = Election(self.platform, owner=owner, clock=self.clock)
        webhooks = WebhookTicks(self.ticks)
        return Sweeper(
            self.platform, election, self.store, self.queue, webhooks, clock=self.clock, metrics=self.metrics
        )

    async def submit(self, body: bytes = b'{"prompt":"hi"}', tenant_id: TenantId | None = None) -> JobRecord:
        return await self.queue.submit(
            make_context(tenant_id or self.tenant_id),
            self.agent,
            body=body,
            principal="sub-1",
            request_id="req-1",
            metadata_json=None,
            webhook_id=None,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )

    async def job(self, job: JobRecord) -> JobRecord:
        found = await self.store.get(job.tenant_id, job.job_id, consistent=True)
        assert found is not None
        return found

    async def due(self) -> list[Tick]:
        """Return every tick in Redis, the soonest first, whenever it is due."""
        return [Tick(*queued.args) for queued in await self.redis.queued_jobs() if queued.function == TICK]

    async def told(self) -> list[tuple[str, ...]]:
        """Return what is asked for in the webhooks' queue."""
        return [(queued.function, *queued.args) for queued in await self.redis.queued_jobs(queue_name=WEBHOOKS)]

    async def tick(self, tick: Tick, worker: Execute | None = None) -> TickOutcome:
        """Run one tick as arq would: it leaves the queue when it ends."""
        outcome = await (worker or self.worker())(tick)
        await self.redis.zrem(self.redis.default_queue_name, f"{tick.job_id}:{tick.fence}")
        await self.redis.delete(f"arq:job:{tick.job_id}:{tick.fence}")
        return outcome

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def agent() -> AgentVersion:
    """Return the agent of this test."""
    return make_agent()


@pytest.fixture
async def floor(
    aws: Aws, redis_url: str, clock: FakeClock, tenant_id: Callable[[], TenantId], agent: AgentVersion
) -> AsyncIterator[Floor]:
    """Return the jobs floor for a fresh tenant, on the clock that only the test moves."""
    redis = connect(redis_url)
    yield make_floor(aws, redis, clock, tenant_id(), agent)
    await redis.aclose()


def make_floor(
    aws: Aws,
    redis: ArqRedis,
    clock: Clock,
    tenant_id: TenantId,
    agent: AgentVersion,
    runtime: FakeRuntime | None = None,
) -> Floor:
    def refuse(violation: TenantAccessViolation) -> None:
        raise violation

    stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=refuse)
    registry = CollectorRegistry()
    platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=refuse)
    store, metrics = JobStore(stores), JobMetrics(registry)
    ticks = TickQueue(redis, clock=clock, metrics=metrics)
    return Floor(
        tenant_id=tenant_id,
        stores=stores,
        store=store,
        platform=platform,
        redis=redis,
        ticks=ticks,
        queue=JobQueue(store, ticks, clock=clock, metrics=metrics, job_timeout_s=3600),
        caps={},
        agents=FakeAgents(agent),
        runtime=runtime or FakeRuntime(clock),
        clock=clock,
        metrics=metrics,
        registry=registry,
    )
