import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from tenancy import registry as module
from tenancy.changes import ChangeFeed
from tenancy.clock import SystemClock
from tenancy.data_models import Tenant, TenantStatus
from tenancy.errors import (
    TenantAccessViolation,
    TenantChangedError,
    TenantExistsError,
    TenantSuspendedError,
    TenantUnknownError,
)
from tenancy.ids import TenantId
from tenancy.registry import TenantRegistry
from tenancy.snapshots import BLIND_S
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

    async def suspend_silently(self, tenant_id: TenantId) -> None:
        key = Tenant.key_of(tenant_id, "METADATA")
        await self.stores.db(tenant_id).update(Tenant, key, {"status": TenantStatus.SUSPENDED})

    @property
    def sighted(self) -> bool:
        return self.feed.current

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
    with pytest.raises(TenantExistsError):
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
        await process.registry.suspend(tenant.tenant_id, "unpaid")
        await asyncio.wait_for(told.wait(), 10)
        assert (await other.registry.get(tenant.tenant_id)).status is TenantStatus.SUSPENDED


async def test_while_word_comes_in_a_copy_is_served_without_a_read(
    process: Process, clock: FakeClock, tenant: Tenant
) -> None:
    await process.registry.create(tenant)
    async with process.listening():
        await process.registry.get(tenant.tenant_id)
        await clock.advance(BLIND_S)
        assert process.sighted
        assert process.registry.peek(tenant.tenant_id) == tenant
        await process.registry.get(tenant.tenant_id)
    assert process.reads == 1


async def test_without_word_a_suspension_is_in_force_within_two_seconds(
    process: Process, clock: FakeClock, tenant: Tenant
) -> None:
    await process.registry.create(tenant)
    await process.registry.get(tenant.tenant_id)
    await process.suspend_silently(tenant.tenant_id)
    await process.registry.require_active(tenant.tenant_id)
    await clock.advance(BLIND_S)
    assert process.registry.peek(tenant.tenant_id) is None
    with pytest.raises(TenantSuspendedError):
        await process.registry.require_active(tenant.tenant_id)


async def test_a_suspended_tenant_stays_suspended_for_the_first_reason(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    first = await process.registry.suspend(tenant.tenant_id, "unpaid")
    again = await process.registry.suspend(tenant.tenant_id, "still unpaid")
    assert (first.before.status, first.after.status) == (TenantStatus.ACTIVE, TenantStatus.SUSPENDED)
    assert again.before == again.after == first.after == await process.registry.read(tenant.tenant_id)
    assert (first.after.version, first.after.status_reason) == (1, "unpaid")


async def test_only_a_suspended_tenant_is_reinstated(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    unchanged = await process.registry.reinstate(tenant.tenant_id, "paid")
    assert unchanged.after == tenant
    await process.registry.suspend(tenant.tenant_id, "unpaid")
    reinstated = await process.registry.reinstate(tenant.tenant_id, "paid")
    assert (reinstated.after.status, reinstated.after.version) == (TenantStatus.ACTIVE, 2)
    await process.registry.require_active(tenant.tenant_id)


async def test_changes_at_once_are_all_kept(process: Process, other: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)

    def longer(found: Tenant) -> Tenant:
        return found.model_copy(update={"name": found.name + "!"})

    await asyncio.gather(*(one.registry.update(tenant.tenant_id, longer) for one in (process, other, process)))
    stored = await process.registry.read(tenant.tenant_id)
    assert (stored.name, stored.version) == ("Acme!!!", 3)


async def test_a_change_of_another_version_than_was_seen_is_refused(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    await process.registry.suspend(tenant.tenant_id, "unpaid")
    with pytest.raises(TenantChangedError):
        await process.registry.update(
            tenant.tenant_id, lambda found: found.model_copy(update={"name": "Late"}), version=tenant.version
        )
    assert (await process.registry.read(tenant.tenant_id)).name == "Acme"


async def test_a_change_to_what_is_unknown_is_refused(process: Process, tenant: Tenant) -> None:
    with pytest.raises(TenantUnknownError):
        await process.registry.suspend(tenant.tenant_id, "unpaid")


async def test_a_gap_drops_every_copy(process: Process, tenant: Tenant) -> None:
    await process.registry.create(tenant)
    await process.registry.get(tenant.tenant_id)
    async with process.listening():
        assert process.registry.peek(tenant.tenant_id) is None
