import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tenancy import tables
from tenancy.audit import AuditTrail
from tenancy.data_models import AuditEvent, JobRecord
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.tenancy.faults import error, faulty, unprocessed
from tests.tenancy.samples import audit_event

pytestmark = pytest.mark.stack


class Trail:
    """An audit trail with what it counts into, and doors that report to it."""

    def __init__(self, aws: Aws, clock: FakeClock, *, queue_limit: int = 1_000) -> None:
        self.metrics = CollectorRegistry()
        self.audit = AuditTrail(clock=clock, metrics=self.metrics, queue_limit=queue_limit)
        self.stores = TenantStores(
            aws.dynamodb,
            aws.s3,
            table_prefix=aws.table_prefix,
            bucket=aws.bucket,
            on_violation=self.audit.on_violation,
        )

    def counted(self, layer: str, operation: str) -> float | None:
        return self.metrics.get_sample_value(
            "lockgate_tenant_access_violations_total", {"layer": layer, "operation": operation}
        )

    @property
    def dropped(self) -> float | None:
        return self.metrics.get_sample_value("lockgate_audit_events_dropped_total")

    async def stored(self, tenant_id: TenantId) -> tuple[AuditEvent, ...]:
        page = await self.stores.db(tenant_id).query(AuditEvent, tables.tenant_partition(tenant_id), limit=100)
        return page.items


@pytest.fixture
def trail(aws: Aws, clock: FakeClock) -> Trail:
    return Trail(aws, clock)


async def test_a_violation_is_counted_logged_and_stored_under_the_acting_tenant(
    trail: Trail, tenant_id: Callable[[], TenantId], clock: FakeClock
) -> None:
    own, victim = tenant_id(), tenant_id()
    trail.audit.start(trail.stores)
    with capture_logs() as lines, pytest.raises(TenantAccessViolation):
        await trail.stores.db(own).get(JobRecord, JobRecord.key_of(victim, "job_secret"))
    await trail.audit.aclose()

    assert trail.counted("door", "GetItem") == 1
    assert [(line["event"], line["tenant"], line["layer"], line["log_level"]) for line in lines] == [
        ("tenant access violation", own, "door", "error")
    ]
    assert victim not in str(lines)
    (event,) = await trail.stored(own)
    assert (event.actor, event.operation, event.outcome) == ("lockgate.door", "GetItem", "refused")
    assert event.at == clock.now()
    assert await trail.stored(victim) == ()


async def test_a_violation_in_no_tenants_name_is_counted_and_logged(trail: Trail) -> None:
    violation = TenantAccessViolation(
        tenant_id=None, layer="client_guard", operation="Scan", resource="jobs", reason="because"
    )
    with capture_logs() as lines:
        trail.audit.on_violation(violation)
    assert trail.counted("client_guard", "Scan") == 1
    assert len(lines) == 1
    trail.audit.start(trail.stores)
    await trail.audit.aclose()


async def test_what_is_queued_when_it_closes_is_stored_for_each_tenant(
    trail: Trail, tenant_id: Callable[[], TenantId]
) -> None:
    many, few = tenant_id(), tenant_id()
    events = [audit_event(many) for _ in range(30)]
    for event in [*events, audit_event(few)]:
        trail.audit.record(event)
    trail.audit.start(trail.stores)
    await trail.audit.aclose()
    assert {event.audit_id for event in await trail.stored(many)} == {event.audit_id for event in events}
    assert len(await trail.stored(few)) == 1


async def test_events_are_stored_while_the_trail_is_open(trail: Trail, tenant_id: Callable[[], TenantId]) -> None:
    own = tenant_id()
    trail.audit.start(trail.stores)
    trail.audit.record(audit_event(own))
    async with asyncio.timeout(10):
        while not await trail.stored(own):
            pass
    await trail.audit.aclose()


async def test_a_trail_that_was_never_started_closes_at_once(trail: Trail) -> None:
    await trail.audit.aclose()


async def test_an_event_too_many_is_dropped_and_counted(aws: Aws, clock: FakeClock) -> None:
    trail = Trail(aws, clock, queue_limit=2)
    with capture_logs() as lines:
        for _ in range(3):
            trail.audit.record(audit_event(TenantId("acme")))
    assert trail.dropped == 1
    assert len(lines) == 3


async def test_an_event_is_stored_once_the_store_is_back(aws: Aws, clock: FakeClock) -> None:
    trail = Trail(aws, clock)
    async with faulty(aws, error(500, "InternalServerError"), error(500, "X"), unprocessed(0)) as store:
        trail.audit.start(store.doors)
        trail.audit.record(audit_event(TenantId("acme")))
        passing = asyncio.create_task(clock.run())
        await trail.audit.aclose()
        passing.cancel()
        assert len(store.bodies) == 3
        assert store.bodies[0] == store.bodies[2]
    assert trail.dropped == 0


@pytest.mark.parametrize(
    ("status", "code", "tries"), [(500, "InternalServerError", 5), (400, "ValidationException", 1)]
)
async def test_an_event_that_cannot_be_stored_is_counted_and_does_not_stop_the_trail(
    aws: Aws, clock: FakeClock, status: int, code: str, tries: int
) -> None:
    trail = Trail(aws, clock)
    async with faulty(aws, *[error(status, code)] * tries, unprocessed(0)) as store:
        trail.audit.start(store.doors)
        trail.audit.record(audit_event(TenantId("acme")))
        passing = asyncio.create_task(clock.run())
        async with asyncio.timeout(10):
            while trail.dropped == 0:
                await clock.sleep(0)
        trail.audit.record(audit_event(TenantId("acme")))
        await trail.audit.aclose()
        passing.cancel()
        assert len(store.bodies) == tries + 1
    assert trail.dropped == 1
