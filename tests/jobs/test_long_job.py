"""A job as long as a microVM lives, on a clock that only the test moves: a deployment every hour, a worker killed.

The jobs and webhooks floors are whole, over the store and the queue in memory; the receiver is a real one. Each hour
the worker that runs is told to end while it asks the agent how the job stands, and another one takes over.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook

from agents.behalf import OnBehalf
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from jobs.lease import LEASE_S
from jobs.queue import DELIVERY, OUTBOX, WebhookTicks
from jobs.sweep import SWEEP_S
from jobs.ticks import WEBHOOKS
from jobs.worker import DELIVERY_TIMEOUT_S
from ops.settings import Settings
from ops.work import GRACE_S
from tenancy.audit import AuditTrail
from tenancy.data_models import AgentVersion, JobRecord, Status, TenantStatus
from tenancy.ids import JobId, SessionId, TenantId, event_id_of, parse_delivery_id, parse_event_id, parse_webhook_id
from tests.jobs.memory.redis import Queued
from tests.jobs.memory.world import POLL_S, Floor, Kind, Process, WorkerKilledError, World, stores_of
from tests.jobs.parts import FakeRuntime
from tests.webhooks.conftest import resolves_to_a_public_address
from tests.webhooks.receivers import Receiver, receiving
from webhooks.delivery import Deliver
from webhooks.endpoints import Endpoints
from webhooks.fanout import FanOut
from webhooks.health import Health
from webhooks.lookup import Destinations
from webhooks.metrics import WebhookMetrics
from webhooks.room import Room
from webhooks.sender import Sender
from webhooks.ticks import DeliveryTick
from webhooks.urls import UrlRules

ACME: Final = TenantId("acme")
EPOCH: Final = datetime.fromtimestamp(0, UTC)
HOUR_S: Final = 3600.0
TIMEOUT_S: Final = cast("int", Settings.model_fields["job_timeout_s"].default)
WORK_S: Final = TIMEOUT_S - 60
# How often anything is looked at in this test: every other sweep.
STEP_S: Final = 2 * SWEEP_S
# AgentCore's own: a session that nobody calls, and one that has lived long enough.
IDLE_S: Final = 900.0
LIFETIME_S: Final = 28_800.0
# What a tick that looks at a running job calls: the store to claim it, then the agent.
ASKING: Final = 2
# What an attempt calls: the store to claim it, and for its endpoint; then it posts, and writes down what came of it.
WRITING_DOWN: Final = 3
# How much longer than its time-out arq keeps the tick of a worker that was killed.
ARQ_LOCKED_S: Final = 10.0


class ReapedRuntime(FakeRuntime):
    """An agent host that ends sessions as AgentCore does, and counts a call as the only sign of life."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self._world = world
        self._born_s: dict[str, float] = {}
        self._called_s: dict[str, float] = {}
        self.reaped: list[str] = []

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
        self._called(session_id)
        return await super().start_job(agent, session_id, job_id, body, trace, behalf=behalf)

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        self._called(session_id)
        return await super().probe_job(agent, session_id, job_id)

    def _called(self, session_id: str) -> None:
        now_s = self._world.clock.monotonic()
        for session in self.live_sessions:
            if now_s - self._called_s[session] >= IDLE_S or now_s - self._born_s[session] >= LIFETIME_S:
                self.reaped.append(session)
                self.kill(session)
        self._born_s.setdefault(session_id, now_s)
        self._called_s[session_id] = now_s


class Hooks:
    """The webhooks floor of a process over what is stored."""

    def __init__(self, world: World, receiver: Receiver, process: Process | None = None) -> None:
        stores, clock, registry = stores_of(world.items, process), world.clock, CollectorRegistry()
        rng = random.Random(0)  # noqa: S311 - the same in each run
        metrics, audit = WebhookMetrics(registry), AuditTrail(clock=clock, metrics=registry)
        rules, ask = UrlRules(frozenset({("127.0.0.1", receiver.port)})), WebhookTicks(world.ticks).delivery
        self.endpoints = Endpoints(stores, Destinations(rules, resolves_to_a_public_address), clock=clock)
        self._fan_out = FanOut(stores, self.endpoints, ask, clock=clock, metrics=metrics)
        self._deliver = Deliver(
            stores,
            self.endpoints,
            Sender(rules, resolves_to_a_public_address, clock=clock),
            ask,
            status_of=_active,
            room=Room(clock, rng),
            health=Health(stores, audit, clock=clock, metrics=metrics),
            clock=clock,
            metrics=metrics,
            rng=rng,
        )

    async def run(self, tick: Queued) -> datetime | None:
        """Run a tick; return when to run it again, if so."""
        tenant, *about = cast("list[str]", list(tick.args))
        if tick.name == OUTBOX:
            await self._fan_out(TenantId(tenant), parse_event_id(about[0]))
            return None
        ids = TenantId(tenant), parse_webhook_id(about[0]), parse_delivery_id(about[1])
        return await self._deliver(DeliveryTick(*ids, cast("int | None", tick.args[3])))


class Service:
    """The workers of one deployment after the other; `worker` is the one that runs now."""

    def __init__(self, world: World, receiver: Receiver) -> None:
        self._world = world
        self._receiver = receiver
        self._hooks = Hooks(world, receiver)
        self.sweeping = Floor(world, Process()).sweeper
        self.endpoints = self._hooks.endpoints
        self.killed_in_an_attempt = False

    async def go_on(self, seconds: float, *, until: Status | None = None) -> None:
        """Let time pass, with one worker at work; `until` ends it once that is what has become of the job."""
        end_s = self._world.clock.monotonic() + seconds
        while self._world.clock.monotonic() < end_s:
            await self._turn()
            if until in self._world.history.statuses.values():
                return
            await self._world.clock.advance(STEP_S)

    async def deploy(self, *, after_s: float) -> None:
        """Replace the worker: the tick it is in gets its answer within the grace, or is cut off by its end."""
        old = await self._caught(Kind.HUNG)
        before, self.sweeping = self.sweeping, Floor(self._world, Process()).sweeper
        await _ended(before.run())
        await self.go_on(min(after_s, GRACE_S))
        if after_s > GRACE_S:
            assert old.task is not None
            old.task.cancel()
        await self._world.go_on(old)

    async def kill(self) -> None:
        """Kill the worker in the middle of a tick, its sweeper with it, and have another one started."""
        await self._caught(Kind.KILLED_AFTER)
        self.sweeping = Floor(self._world, Process()).sweeper

    async def _caught(self, kind: Kind) -> Process:
        """Return the process whose call to the agent met its end."""
        while not self._world.due():
            await self._world.clock.advance(1)
        process = Process(kind, ASKING)
        [tick] = self._world.due()
        await self._world.run(tick, process)
        assert process.dead or process.stands_still
        return process

    async def _turn(self) -> None:
        await self.sweeping.look()
        for tick in self._world.due():
            await self._world.run(tick)
        for tick in self._world.redis.due(WEBHOOKS):
            await self._run(tick)

    async def _run(self, tick: Queued) -> None:
        hooks = self._hooks
        if tick.name == DELIVERY and not self.killed_in_an_attempt:
            self.killed_in_an_attempt = True
            hooks = Hooks(self._world, self._receiver, Process(Kind.KILLED_BEFORE, WRITING_DOWN))
        try:
            again_at = await hooks.run(tick)
        except WorkerKilledError:
            again_at = self._world.clock.now() + timedelta(seconds=DELIVERY_TIMEOUT_S + ARQ_LOCKED_S)
        if again_at is None:
            self._world.redis.done(tick)
        else:
            self._world.redis.again(tick, again_at)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[tuple[Service, Receiver]]:
    async with receiving() as receiver:
        yield Service(world, receiver), receiver


async def test_a_job_of_eight_hours_outlives_hourly_deployments_and_a_killed_worker_and_leaves_nothing() -> None:
    tasks = asyncio.all_tasks()
    world = World({ACME: 2}, timeout_s=TIMEOUT_S)
    world.runtime = runtime = ReapedRuntime(world)
    async with served(world) as (service, receiver):
        endpoint = await service.endpoints.create(ACME, url=receiver.url)
        job = await world.submit(ACME, b'{"prompt":"hi","durationS":%d}' % WORK_S)
        assert job is not None
        for hour in range(1, int(TIMEOUT_S // HOUR_S) + 1):
            await service.go_on(hour * HOUR_S - world.clock.monotonic())
            if hour == 4:
                await service.kill()
                killed = await stored(world, job)
                await service.go_on(LEASE_S + 2 * STEP_S + POLL_S)
                assert (await stored(world, job)).fence > killed.fence
            else:
                await service.deploy(after_s=5 if hour % 2 else 2 * GRACE_S)
            world.history.check()
        await service.go_on(HOUR_S, until=Status.SUCCEEDED)
        await service.go_on(HOUR_S / 12)

        done = await stored(world, job)
        assert (done.status, done.run, done.dead_letter) == (Status.SUCCEEDED, 1, False)
        assert (done.result_json, runtime.effects) == ('{"echo": "hi"}', {job.job_id: 1})
        # The worker that was killed before it could write down the attempt sent it: again, under the one id.
        ids = Counter(verified(endpoint.secret, got.headers, got.body) for got in receiver.got)
        assert ids == {event_id_of(job.job_id): 2}
        await _ended(service.sweeping.run())

    world.history.check_rest(runtime.effects, 1)
    assert (runtime.live_sessions, runtime.reaped) == (set(), [])
    assert (world.redis.held, world.standing, world.clock.sleepers) == ({}, [], 0)
    left = [item for item in world.items.held.values() if item.keys() & {"lease_until_at", "sweep_pk", "next_tick_at"}]
    assert left == []
    # Nobody sweeps: whoever did last has said so.
    assert [item["holder"] for item in world.items.held.values() if "holder" in item] == [{"NULL": True}]
    assert asyncio.all_tasks() == tasks


async def stored(world: World, job: JobRecord) -> JobRecord:
    found = await Floor(world, Process()).store.get(job.tenant_id, job.job_id, consistent=True)
    assert found is not None
    return found


def verified(secret: str, headers: dict[str, str], body: bytes) -> str:
    """Return the id of what came, signed as the public library signs it."""
    signed_at = timedelta(seconds=int(headers["webhook-timestamp"]))
    expected = Webhook(secret).sign(headers["webhook-id"], EPOCH + signed_at, body.decode())
    assert headers["webhook-signature"] == expected
    return headers["webhook-id"]


async def _active(_: TenantId) -> TenantStatus:
    return TenantStatus.ACTIVE


async def _ended(running: Awaitable[None]) -> None:
    """Begin what runs until it is cancelled, and cancel it."""
    task = asyncio.ensure_future(running)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
