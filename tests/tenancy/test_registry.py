import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from tenancy import registry as module
from tenancy.changes import ChangeFeed
from tenancy.clock import SystemClock
from tenancy.data_models import Tenant, TenantStatus
from tenancy.errors import ConditionFailedError, TenantAccessViolation, TenantUnknownError
from tenancy.ids import TenantId
from tenancy.registry import TenantRegistry
from tenancy.store import TenantStores
from tenancy.tiers import Tier
from tests.clock import FakeClock
from tests.conftest import Aws

pytestmark = pytest.mark.stack


class Process:
    """One process's registry on the shared store, counting its calls; `feed` hears the others when it runs."""

    def __init__(self, aws: Aws, redis: Redis, clock: FakeClock) -> None:
        self.reads = 0
        self.gaps = asyncio.Semaphore(0)
        self.feed = ChangeFeed(redis, clock=SystemClock())
        self.stores = TenantStores(
            aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=self._unexpected
        )
        self.registry = TenantRegistry(self.stores, self.feed, clock=clock)
        self.feed.on_gap(self.gaps.release)
        aws.dynamodb.meta.events.register("before-call.dynamodb.GetItem", self._count)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.feed.run())
        await self.gaps.acquire()
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def suspend(self, tenant_id: TenantId) -> None:
        key = Tenant.key_of(tenant_id, "METADATA")
        await self.stores.db(tenant_id).update(Tenant, key, {"status": TenantStatus.SUSPENDED})

    def _count(self, **_: object) -> None:
        self.reads += 1

    def _unexpected(self, violation: TenantAccessViolation) -> None:
        raise violation


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def process(aws: Aws, redis: Redis, clock: FakeClock) -> AsyncIterator[Process]:
    running = Process(aws, redis, clock)
    yield running
    await running.registry.aclose()


@pytest.fixture
async def other(aws: Aws, redis: Redis, clock: FakeClock) -> AsyncIterator[Process]:
    running = Process(aws, redis, clock)
    yield running
    await running.registry.aclose()


@pytest.fixture
def tenant(tenant_id: Callable[[], TenantId], clock: FakeClock) -> Tenant:
    return Tenant(tenant_id=tenant_id(), name="Acme", tier=Tier.PREMIUM, created_at=clock.now(), updated_at=clock.now())


async def test_a_tenant_is_read_once_and_then_served_from_the_copy(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    assert process.registry.peek(tenant.tenant_id) is None
    assert [await process.registry.get(tenant.tenant_id) for _ in range(5)] == [tenant] * 5
    assert process.registry.peek(tenant.tenant_id) == tenant
    assert process.reads == 1


async def test_an_id_is_taken_only_once(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    with pytest.raises(ConditionFailedError):
        await process.registry.create(tenant.model_copy(update={"name": "Impostor"}))
    assert (await process.registry.get(tenant.tenant_id)).name == "Acme"


async def test_a_tenant_that_is_not_there_is_unknown(process: Process, tenant: Tenant) -> None:
    with pytest.raises(TenantUnknownError):
        await process.registry.get(tenant.tenant_id)


async def test_a_new_tenant_is_known_at_once_to_a_process_that_just_missed_it(
    process: Process, other: Process, tenant: Tenant
) -> None:
    async with other.listening():
        with pytest.raises(TenantUnknownError):
            await other.registry.get(tenant.tenant_id)
        told = asyncio.Event()
        other.feed.on(module.KIND, lambda _: told.set())
        await process.registry.create(tenant)
        await asyncio.wait_for(told.wait(), 10)
        assert await other.registry.get(tenant.tenant_id) == tenant


async def test_word_of_a_change_drops_the_copy_elsewhere(process: Process, other: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    async with other.listening():
        await other.registry.get(tenant.tenant_id)
        told = asyncio.Event()
        other.feed.on(module.KIND, lambda _: told.set())
        await process.suspend(tenant.tenant_id)
        await process.feed.publish(module.KIND, tenant.tenant_id)
        await asyncio.wait_for(told.wait(), 10)
        assert (await other.registry.get(tenant.tenant_id)).status is TenantStatus.SUSPENDED


async def test_without_word_a_change_is_seen_by_age(process: Process, clock: FakeClock, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    await process.registry.get(tenant.tenant_id)
    await process.suspend(tenant.tenant_id)
    assert (await process.registry.get(tenant.tenant_id)).status is TenantStatus.ACTIVE
    await clock.advance(module.STALE_S)
    assert (await process.registry.get(tenant.tenant_id)).status is TenantStatus.SUSPENDED


async def test_a_gap_drops_every_copy(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    await process.registry.get(tenant.tenant_id)
    async with process.listening():
        assert process.registry.peek(tenant.tenant_id) is None
