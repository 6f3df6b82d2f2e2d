import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from gateway.errors import JournalFullError
from gateway.journal import BATCH, CAPACITY, Journal
from tenancy.clock import SystemClock
from tenancy.data_models import AuditEvent, TenantItem
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.scope import TenantScope, active_scope, entered
from tests.clock import FakeClock, settle

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


def record(tenant_id: TenantId, name: str, reason: str = "first") -> AuditEvent:
    return AuditEvent(
        tenant_id=tenant_id,
        audit_id=name,
        actor="someone",
        operation="test",
        outcome="allowed",
        reason=reason,
        at=SystemClock().now(),
    )


@dataclass
class Store:
    """Keeps what it is given; fails with `failures` first; waits at `gate` where it is shut."""

    batches: list[tuple[TenantId, list[TenantItem]]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    scopes: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def write(self, tenant_id: TenantId, items: Sequence[TenantItem]) -> None:
        self.scopes.append(active_scope())
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append((tenant_id, list(items)))

    def reasons(self) -> list[str]:
        return [item.reason for _, items in self.batches for item in items if isinstance(item, AuditEvent)]


def journal_of(store: Store, clock: FakeClock | None = None) -> Journal:
    return Journal(store.write, clock or FakeClock(), CollectorRegistry())


async def test_records_put_together_are_written_together() -> None:
    store = Store()
    journal = journal_of(store)
    await asyncio.gather(*(journal.stored(record(ACME, f"{n}")) for n in range(BATCH)))
    assert [len(items) for _, items in store.batches] == [BATCH]


async def test_a_batch_never_mixes_tenants() -> None:
    store = Store()
    journal = journal_of(store)
    await asyncio.gather(*(journal.stored(record(tenant, f"{n}")) for n in range(40) for tenant in (ACME, GLOBEX)))
    assert all({item.tenant_id for item in items} == {tenant} for tenant, items in store.batches)
    assert sum(len(items) for _, items in store.batches) == 80
    assert all(len(items) <= BATCH for _, items in store.batches)


async def test_an_items_later_state_is_written_last() -> None:
    store = Store()
    store.gate.clear()
    journal = journal_of(store)
    first = journal.stored(record(ACME, "a", "running"))
    while not store.scopes:
        await asyncio.sleep(0)
    journal.put(record(ACME, "a", "succeeded"))
    store.gate.set()
    await first
    await journal.flush()
    assert store.reasons() == ["running", "succeeded"]


async def test_two_states_before_the_first_write_become_one_write() -> None:
    store = Store()
    journal = journal_of(store)
    first = journal.stored(record(ACME, "a", "running"))
    journal.put(record(ACME, "a", "succeeded"))
    await first
    assert store.reasons() == ["succeeded"]


async def test_what_nobody_waits_for_rides_with_what_somebody_does() -> None:
    store = Store()
    journal = journal_of(store)
    journal.put(record(ACME, "a", "closed"))
    await settle()
    assert store.batches == []
    await journal.stored(record(ACME, "b", "begun"))
    assert [len(items) for _, items in store.batches] == [2]


async def test_what_is_wanted_soon_is_written_though_nobody_waits() -> None:
    store = Store()
    store.gate.clear()
    journal = journal_of(store)
    journal.put(record(ACME, "a", "lingers"))
    journal.put(record(ACME, "b", "failed"), soon=True)
    await settle()
    assert len(store.scopes) == 1
    store.gate.set()
    await journal.flush()
    assert store.reasons() == ["lingers", "failed"]


async def test_callers_that_come_together_are_gathered() -> None:
    store = Store()
    journal = journal_of(store)
    await asyncio.gather(*(journal.stored(record(ACME, f"{n}")) for n in range(2)))
    late = journal.stored(record(ACME, "one"))
    await settle()
    assert len(store.scopes) == 1
    await asyncio.gather(late, journal.stored(record(ACME, "another")))
    assert [len(items) for _, items in store.batches] == [2, 2]


async def test_a_record_is_known_until_it_is_written_and_only_to_its_tenant() -> None:
    store = Store()
    store.gate.clear()
    journal = journal_of(store)
    stored = journal.stored(record(ACME, "a", "running"))
    for _ in range(2):
        pending = journal.pending(AuditEvent, ACME, "a")
        assert pending is not None
        assert pending.reason == "running"
        assert journal.pending(AuditEvent, GLOBEX, "a") is None
        while not store.scopes:
            await asyncio.sleep(0)
    store.gate.set()
    await stored
    await journal.flush()
    assert journal.pending(AuditEvent, ACME, "a") is None


async def test_whoever_waits_is_told_that_the_store_is_away() -> None:
    store = Store(failures=[StoreUnavailableError()])
    journal = journal_of(store)
    with pytest.raises(StoreUnavailableError):
        await journal.stored(record(ACME, "a"))
    assert store.batches == []


async def test_what_nobody_waits_for_is_tried_until_it_is_written(clock: FakeClock) -> None:
    store = Store(failures=[StoreUnavailableError(), StoreUnavailableError()])
    journal = journal_of(store, clock)
    journal.put(record(ACME, "a"))
    for _ in range(2):
        await clock.until_sleeping()
        await clock.advance(2)
    await journal.flush()
    assert len(store.reasons()) == 1


async def test_a_newer_state_replaces_one_that_failed(clock: FakeClock) -> None:
    store = Store(failures=[StoreUnavailableError()])
    journal = journal_of(store, clock)
    journal.put(record(ACME, "a", "old"))
    await clock.until_sleeping()
    journal.put(record(ACME, "a", "new"))
    await clock.advance(2)
    await journal.flush()
    assert store.reasons() == ["new"]


async def test_a_batch_the_store_refuses_does_not_stop_the_lane() -> None:
    store = Store(failures=[ConditionFailedError()])
    journal = journal_of(store)
    with pytest.raises(ConditionFailedError):
        await journal.stored(record(ACME, "poison"))
    await journal.stored(record(ACME, "good"))
    assert len(store.batches) == 1


async def test_the_lane_does_not_inherit_the_scope_of_the_request_that_opens_it() -> None:
    store = Store()
    journal = journal_of(store)
    with entered(TenantScope(ACME)):
        stored = journal.stored(record(ACME, "a"))
    await stored
    assert store.scopes == [None]


async def test_memory_is_bounded_while_the_store_is_away(clock: FakeClock) -> None:
    store = Store()
    store.gate.clear()
    journal = journal_of(store, clock)
    for number in range(CAPACITY):
        journal.put(record(ACME, f"{number}"))
    with pytest.raises(JournalFullError):
        journal.stored(record(ACME, "one too many"))
    store.gate.set()
    await journal.flush()
    await journal.stored(record(ACME, "fits again"))
    await settle()
