"""The whole way on the machine's own clock: event, queue in a real Redis, worker, sender, receiver."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook

from jobs.metrics import JobMetrics
from jobs.queue import WebhookTicks
from jobs.ticks import TickQueue, connect
from jobs.worker import TickWorker, webhook_line
from ops.settings import Settings
from ops.webhooks import Webhooks, webhooks
from tenancy.audit import AuditTrail
from tenancy.clock import SystemClock
from tenancy.data_models import Delivery, TenantStatus
from tenancy.ids import TenantId
from tenancy.store import TenantStores
from tests.conftest import Aws
from tests.webhooks.conftest import put_event, refuse
from tests.webhooks.receivers import Receiver, receiving
from webhooks.ticks import DeliveryTick, RunDelivery

pytestmark = pytest.mark.stack


class Line:
    """A process's webhooks over a real store and Redis."""

    def __init__(self, stores: TenantStores, floor: Webhooks, ticks: WebhookTicks, tenant_id: TenantId) -> None:
        self.stores = stores
        self.floor = floor
        self.ticks = ticks
        self.tenant_id = tenant_id

    async def until_ended(self, webhook_id: str, count: int) -> tuple[Delivery, ...]:
        """Return a webhook's deliveries once so many have ended."""
        endpoint = (await self.floor.endpoints.all(self.tenant_id))[0]
        assert endpoint.webhook_id == webhook_id
        async with asyncio.timeout(60):
            while True:
                page = await self.floor.deliveries.list(self.tenant_id, endpoint.webhook_id, limit=99)
                ended = tuple(one for one in page.items if one.status != "pending")
                if len(ended) >= count:
                    return ended
                await SystemClock().sleep(0.02)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@asynccontextmanager
async def working(
    aws: Aws, redis_url: str, tenant_id: TenantId, receiver: Receiver, around: Callable[[RunDelivery], RunDelivery]
) -> AsyncIterator[Line]:
    """Run a worker for as long as the block; leaving it drains the worker."""
    clock, registry, redis = SystemClock(), CollectorRegistry(), connect(redis_url)
    stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=refuse)
    metrics, audit = JobMetrics(registry), AuditTrail(clock=clock, metrics=registry)
    ticks = WebhookTicks(TickQueue(redis, clock=clock, metrics=metrics))
    settings = Settings(environment="local", webhook_allow=f"127.0.0.1:{receiver.port}")
    stopping = asyncio.Event()
    with webhooks(settings, stores, audit, ticks.delivery, clock=clock, registry=registry) as floor:
        line = webhook_line(floor.fan_out, around(floor.deliver(served)))
        running = asyncio.create_task(TickWorker(line, redis, clock=clock, metrics=metrics).run(stopping, grace_s=30))
        try:
            yield Line(stores, floor, ticks, tenant_id)
        finally:
            stopping.set()
            await running
            await redis.aclose()


async def served(_: TenantId) -> TenantStatus:
    return TenantStatus.ACTIVE


def untouched(deliver: RunDelivery) -> RunDelivery:
    return deliver


async def test_an_event_reaches_its_receiver_signed(
    aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId], receiver: Receiver
) -> None:
    async with working(aws, redis_url, tenant_id(), receiver, untouched) as line:
        endpoint = await line.floor.endpoints.create(line.tenant_id, url=receiver.url)
        now = SystemClock().now()
        event = await put_event(line.stores, line.tenant_id, "job.succeeded", now)
        await line.ticks.outbox(line.tenant_id, event.event_id, at=now)
        [done] = await line.until_ended(endpoint.webhook_id, 1)
    [got] = receiver.got
    assert (done.status, done.event_id, got.body) == ("delivered", event.event_id, event.payload_json.encode())
    assert Webhook(endpoint.secret).verify(got.body, got.headers) == {
        "type": "job.succeeded",
        "timestamp": got.body.decode().split('"timestamp":"')[1].split('"')[0],
        "data": {"jobId": "job_1"},
    }


async def test_a_receiver_that_fails_once_is_tried_again_by_itself(
    aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId], receiver: Receiver
) -> None:
    receiver.answers = [(500, {}, b""), (204, {}, b"")]
    async with working(aws, redis_url, tenant_id(), receiver, untouched) as line:
        endpoint = await line.floor.endpoints.create(line.tenant_id, url=receiver.url)
        await line.floor.deliveries.send_test(line.tenant_id, endpoint.webhook_id)
        [done] = await line.until_ended(endpoint.webhook_id, 1)
    assert [attempt.status for attempt in done.attempts] == [500, 204]
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


async def test_an_attempt_that_finds_no_room_is_made_later(
    aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId], receiver: Receiver
) -> None:
    put_off: list[DeliveryTick] = []

    def full_at_first(deliver: RunDelivery) -> RunDelivery:
        async def run(tick: DeliveryTick) -> datetime | None:
            if len(put_off) < 3:
                put_off.append(tick)
                return SystemClock().now() + timedelta(milliseconds=50)
            return await deliver(tick)

        return run

    async with working(aws, redis_url, tenant_id(), receiver, full_at_first) as line:
        endpoint = await line.floor.endpoints.create(line.tenant_id, url=receiver.url)
        await line.floor.deliveries.send_test(line.tenant_id, endpoint.webhook_id)
        [done] = await line.until_ended(endpoint.webhook_id, 1)
    assert (done.status, len(done.attempts), len(set(put_off)), len(put_off)) == ("delivered", 1, 1, 3)


async def test_many_deliveries_to_one_endpoint_all_arrive_five_at_once(
    aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId], receiver: Receiver
) -> None:
    async with working(aws, redis_url, tenant_id(), receiver, untouched) as line:
        endpoint = await line.floor.endpoints.create(line.tenant_id, url=receiver.url)
        for _ in range(15):
            await line.floor.deliveries.send_test(line.tenant_id, endpoint.webhook_id)
        ended = await line.until_ended(endpoint.webhook_id, 15)
    assert {one.status for one in ended} == {"delivered"}
    assert len({got.headers["webhook-id"] for got in receiver.got}) == len(receiver.got) == 15
    assert receiver.most_at_once <= 5
