"""One worker process of jobs and webhooks, measured: over a store in memory, so that no store bounds the figures.

`python -m tests.bench.jobfloor ORDER`, an order as JSON, prints its figures as JSON. Redis, arq, the ticks and the
sender are the real ones; the agent's host answers at once.
"""

import asyncio
import logging
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter, process_time
from typing import Final, Literal

import orjson
import structlog
from arq.connections import ArqRedis
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from jobs.execute import Execute
from jobs.finish import Finish
from jobs.gate import Gates
from jobs.lease import Leases
from jobs.metrics import JobMetrics
from jobs.queue import JobQueue, WebhookTicks
from jobs.store import JobStore
from jobs.ticks import JOBS, TickQueue, connect
from jobs.worker import Line, TickWorker, job_line, webhook_line
from ops.work import ATTEMPTS_AT_ONCE
from tenancy.audit import AuditTrail
from tenancy.clock import SystemClock
from tenancy.data_models import Delivery, TenantStatus
from tenancy.ids import TenantId
from tests.jobs.memory.items import Items
from tests.jobs.memory.world import PREFIX, stores_of
from tests.jobs.parts import FakeAgents, FakeRuntime, FreeSpending, make_agent, make_context
from tests.webhooks.conftest import put_event, resolves_to_a_public_address
from webhooks.delivery import Deliver
from webhooks.endpoints import Endpoints
from webhooks.fanout import FanOut
from webhooks.health import Health
from webhooks.lookup import Destinations
from webhooks.metrics import WebhookMetrics
from webhooks.room import Room
from webhooks.sender import Sender
from webhooks.urls import UrlRules

# As many as may be under way at once for all of them together; of one endpoint it is five.
TENANTS: Final = 40
_LOOK_S: Final = 0.25
_NEVER_S: Final = 1e6


class Order(BaseModel):
    """What to measure: ticks of `many` live jobs, or `many` deliveries, each for so long or at such a rate."""

    what: Literal["ticks", "deliveries", "first attempts"]
    redis_url: str
    many: int
    poll_s: float = 10.0
    seconds: float = 20.0
    receiver_port: int = 0


class Figures(BaseModel):
    """Things done, in how many seconds, on how many of CPU; and what was sampled meanwhile, in seconds."""

    done: int
    seconds: float
    cpu_s: float
    sampled_s: list[float] = []


class Bench:
    """The floors of the process."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.clock = SystemClock()
        self.items = Items()
        self.stores = stores_of(self.items)
        self.redis: ArqRedis = connect(order.redis_url)
        self.registry = CollectorRegistry()
        self.metrics = JobMetrics(self.registry)
        self.ticks = TickQueue(self.redis, clock=self.clock, metrics=self.metrics)

    def count(self, name: str) -> int:
        """Return a counter's sum over its labels."""
        found = (sample for metric in self.registry.collect() for sample in metric.samples if sample.name == name)
        return int(sum(sample.value for sample in found))

    @asynccontextmanager
    async def working(self, line: Line) -> AsyncIterator[None]:
        """Run a worker of a line for the block, the one there is."""
        worker, stopping = TickWorker(line, self.redis, clock=self.clock, metrics=self.metrics), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run(stopping, grace_s=10))
            yield
            stopping.set()
        await self.redis.aclose()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self.clock.sleep(0.05)


async def ticks(order: Order) -> Figures:
    """Have jobs live that never end, and look at the queue once all of them are polled at their pace."""
    bench = Bench(order)
    queue, line = _jobs(bench, order)
    ctx, agent = make_context(TenantId("acme")), make_agent()
    async with bench.working(line):
        for _ in range(order.many):
            body = b'{"prompt":"hi","durationS":%d}' % _NEVER_S
            await queue.submit(
                ctx,
                agent,
                body=body,
                principal="p",
                request_id="r",
                metadata_json=None,
                webhook_id=None,
                traceparent=None,
            )
        await bench.until(lambda: bench.count("lockgate_jobs_started_total") == order.many)
        # The first looks follow one another closely; from here on all have the same pause.
        await bench.clock.sleep(2.5 * order.poll_s)
        before, began_s, used_s = bench.count("lockgate_job_ticks_total"), perf_counter(), process_time()
        lags: list[float] = []
        while perf_counter() - began_s < order.seconds:
            await bench.clock.sleep(_LOOK_S)
            lags.append(await _oldest_s(bench))
        done = bench.count("lockgate_job_ticks_total") - before
        return Figures(done=done, seconds=perf_counter() - began_s, cpu_s=process_time() - used_s, sampled_s=lags)


async def _oldest_s(bench: Bench) -> float:
    """Return how long the tick that is due the longest has been so."""
    first = await bench.redis.zrange(JOBS, 0, 0, withscores=True)
    return max(0.0, bench.clock.now().timestamp() - first[0][1] / 1000) if first else 0.0


def _jobs(bench: Bench, order: Order) -> tuple[JobQueue, Line]:
    store, clock, metrics = JobStore(bench.stores, bench.clock), bench.clock, bench.metrics
    agents, runtime, spending = FakeAgents(make_agent()), FakeRuntime(bench.clock), FreeSpending()
    queue = JobQueue(store, bench.ticks, clock=clock, metrics=metrics, job_timeout_s=_NEVER_S)

    async def cap_of(_: TenantId) -> int:
        return order.many

    gates = Gates(store, queue, cap_of, clock=clock, metrics=metrics)
    told = WebhookTicks(bench.ticks).outbox
    finish = Finish(store, gates, told, agents, runtime, clock=clock, metrics=metrics, spending=spending)
    execute = Execute(
        store,
        Leases(store, clock, owner="bench"),
        queue,
        agents,
        runtime,
        gates=gates,
        finish=finish,
        clock=clock,
        metrics=metrics,
        spending=spending,
        poll_s=order.poll_s,
    )
    return queue, job_line(execute, gates)


async def deliveries(order: Order) -> Figures:
    """Fan out and deliver what is owed already, as fast as may be."""
    bench = Bench(order)
    line = await _webhooks(bench, order)
    for number in range(order.many):
        await _owe(bench, number)
    began_s, used_s = perf_counter(), process_time()
    async with bench.working(line):
        await bench.until(lambda: bench.count("lockgate_webhook_deliveries_ended_total") == order.many)
        return Figures(done=order.many, seconds=perf_counter() - began_s, cpu_s=process_time() - used_s)


async def first_attempts(order: Order) -> Figures:
    """Have events happen at a steady rate, and tell how long each one's first attempt took to begin."""
    bench = Bench(order)
    line = await _webhooks(bench, order)
    async with bench.working(line):
        began_s, used_s = perf_counter(), process_time()
        for number in range(order.many):
            await bench.clock.sleep(max(0.0, began_s + number * order.seconds / order.many - perf_counter()))
            await _owe(bench, number)
        await bench.until(lambda: bench.count("lockgate_webhook_deliveries_ended_total") == order.many)
        seconds, cpu_s = perf_counter() - began_s, process_time() - used_s
    waits_s = [wait_s async for wait_s in _waits(bench)]
    return Figures(done=order.many, seconds=seconds, cpu_s=cpu_s, sampled_s=waits_s)


async def _waits(bench: Bench) -> AsyncIterator[float]:
    for (table, _, _), item in bench.items.held.items():
        if table == PREFIX + Delivery.TABLE.name:
            tenant = TenantId(item["tenant_id"]["S"])
            key = Delivery.key_to(tenant, item["webhook_id"]["S"], item["delivery_id"]["S"])
            found = await bench.stores.db(tenant).get(Delivery, key)
            assert found is not None
            yield (found.attempts[0].at - found.created_at).total_seconds()


async def _owe(bench: Bench, number: int) -> None:
    now, tenant = bench.clock.now(), _tenant(number)
    event = await put_event(bench.stores, tenant, "job.succeeded", now)
    await WebhookTicks(bench.ticks).outbox(tenant, event.event_id, at=now)


async def _webhooks(bench: Bench, order: Order) -> Line:
    """Register a webhook for each tenant, and return the line that tells them."""
    clock, registry, rng = bench.clock, bench.registry, random.SystemRandom()
    metrics, audit = WebhookMetrics(registry), AuditTrail(clock=clock, metrics=registry)
    rules, ask = UrlRules(frozenset({("127.0.0.1", order.receiver_port)})), WebhookTicks(bench.ticks).delivery
    endpoints = Endpoints(bench.stores, Destinations(rules, resolves_to_a_public_address), clock=clock)
    for number in range(TENANTS):
        await endpoints.create(_tenant(number), url=f"http://127.0.0.1:{order.receiver_port}/in")

    async def status_of(_: TenantId) -> TenantStatus:
        return TenantStatus.ACTIVE

    deliver = Deliver(
        bench.stores,
        endpoints,
        Sender(rules, resolves_to_a_public_address, clock=clock),
        ask,
        status_of=status_of,
        room=Room(clock, rng),
        health=Health(bench.stores, audit, clock=clock, metrics=metrics),
        clock=clock,
        metrics=metrics,
        rng=rng,
    )
    fan_out = FanOut(bench.stores, endpoints, ask, clock=clock, metrics=metrics)
    return webhook_line(fan_out, deliver, at_once=ATTEMPTS_AT_ONCE)


def _tenant(number: int) -> TenantId:
    return TenantId(f"tenant-{number % TENANTS}")


_MEASURES: Final[dict[str, Callable[[Order], Awaitable[Figures]]]] = {
    "ticks": ticks,
    "deliveries": deliveries,
    "first attempts": first_attempts,
}


async def _measured(order: Order) -> Figures:
    return await _MEASURES[order.what](order)


if __name__ == "__main__":
    # Stdout is for the figures.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    wanted = Order.model_validate_json(sys.argv[1])
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(_measured(wanted)).model_dump()))
