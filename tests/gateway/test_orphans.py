"""What a dead process was serving: found by its index, taken once, carried on by who took it."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from gateway.orphans import LOOK_S, Orphans
from gateway.processes import LEASE_S, Watch
from tenancy.data_models import InvocationRecord, Mode, ProcessLease, Status
from tenancy.errors import StoreUnavailableError
from tenancy.ids import AgentName, InvocationId, SessionId, TenantId, new_invocation_id
from tenancy.platform_store import Owed, PlatformStore
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.gateway.leases import LeaseTable

NewTenant = Callable[[], TenantId]


@dataclass
class Index:
    """The index of the store, which may be away, and may still show what was there before."""

    store: PlatformStore
    away: bool = False
    stale: tuple[Owed, ...] = ()

    async def open_invocations(self, process: str, *, limit: int) -> tuple[Owed, ...]:
        if self.away:
            raise StoreUnavailableError
        return self.stale or await self.store.open_invocations(process, limit=limit)


@dataclass
class Ground:
    """A store in which a process has died."""

    stores: TenantStores
    index: Index
    table: LeaseTable
    clock: FakeClock
    dead: str = field(default_factory=lambda: secrets.token_hex(8))
    one: str = field(default_factory=lambda: secrets.token_hex(8))
    other: str = field(default_factory=lambda: secrets.token_hex(8))
    carried: list[tuple[str, InvocationId]] = field(default_factory=list)
    resting: bool = False

    def survivor(self, process: str) -> Orphans:
        async def carry(record: InvocationRecord) -> None:
            self.carried.append((process, record.invocation_id))

        return Orphans(
            Watch(self.table, self.clock, process),
            self.index,
            self.stores,
            carry,
            process=process,
            clock=self.clock,
            resting=lambda: self.resting,
            metrics=CollectorRegistry(),
        )

    async def serves(self, tenants: Sequence[TenantId]) -> list[InvocationRecord]:
        """Have the dead process serve an invocation of each tenant."""
        records = [self.record(tenant_id) for tenant_id in tenants]
        for record in records:
            await self.stores.db(record.tenant_id).put(record)
        return records

    def record(self, tenant_id: TenantId, **fields: object) -> InvocationRecord:
        return InvocationRecord.model_validate(
            {
                "tenant_id": tenant_id,
                "invocation_id": new_invocation_id(self.clock.now()),
                "agent": AgentName("echo-agent"),
                "agent_version": "1.0.0",
                "mode": Mode.STREAM,
                "status": Status.RUNNING,
                "session_id": SessionId("ses_1"),
                "principal": "p",
                "request_id": "req_1",
                "created_at": self.clock.now(),
                "process": self.dead,
                "ttl": 0,
            }
            | fields
        )

    async def now(self, record: InvocationRecord) -> InvocationRecord:
        found = await self.stores.db(record.tenant_id).get(InvocationRecord, record.key(), consistent=True)
        assert found is not None
        return found

    async def dies(self) -> None:
        lease = ProcessLease(process=self.dead, record_version="1", lease_s=LEASE_S)
        await self.table.put_process(lease, seen=None)

    async def looks(self, orphans: Orphans, seconds: float = LEASE_S + 2 * LOOK_S) -> int:
        """Look every LOOK_S for so long; return how many were taken over."""
        taken = await orphans.look()
        for _ in range(int(seconds / LOOK_S)):
            await self.clock.advance(LOOK_S)
            taken += await orphans.look()
        return taken


@pytest.fixture
def ground(aws: Aws, clock: FakeClock) -> Ground:
    stores = TenantStores(
        aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=lambda _: None
    )
    platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None)
    return Ground(stores, Index(platform), LeaseTable(), clock)


async def test_what_a_dead_process_served_is_taken_over_whoever_it_belongs_to(
    ground: Ground, tenant_id: NewTenant
) -> None:
    records = await ground.serves([tenant_id() for _ in range(3)])
    over = ground.record(tenant_id(), status=Status.SUCCEEDED)
    await ground.stores.db(over.tenant_id).put(over)
    await ground.dies()
    assert await ground.looks(ground.survivor(ground.one)) == 3
    assert sorted(ground.carried) == sorted((ground.one, record.invocation_id) for record in records)
    for record in records:
        taken = await ground.now(record)
        assert (taken.process, taken.fence, taken.status) == (ground.one, 1, Status.RUNNING)
    assert await ground.now(over) == over


async def test_what_a_living_process_serves_is_left_to_it(ground: Ground, tenant_id: NewTenant) -> None:
    [record] = await ground.serves([tenant_id()])
    await ground.dies()
    survivor = ground.survivor(ground.one)
    for version in range(2, 12):
        [lease] = ground.table.rows.values()
        await ground.table.put_process(lease.model_copy(update={"record_version": str(version)}), seen=lease)
        assert await ground.looks(survivor, LOOK_S) == 0
    assert await ground.now(record) == record


async def test_each_invocation_is_taken_by_one_of_two_rivals(ground: Ground, tenant_id: NewTenant) -> None:
    records = await ground.serves([tenant_id()] * 25)
    rivals = [ground.survivor(ground.one), ground.survivor(ground.other)]
    lease = ProcessLease(process=ground.dead, record_version="1", lease_s=LEASE_S)
    taken = await asyncio.gather(*(rival._take_all(lease) for rival in rivals))
    assert sum(taken) == 25
    assert sorted(invocation for _, invocation in ground.carried) == sorted(one.invocation_id for one in records)
    assert {(await ground.now(record)).fence for record in records} == {1}


async def test_who_takes_over_may_die_as_well(ground: Ground, tenant_id: NewTenant) -> None:
    [record] = await ground.serves([tenant_id()])
    await ground.dies()
    assert await ground.looks(ground.survivor(ground.one)) == 1
    ground.dead = ground.one
    await ground.dies()
    assert await ground.looks(ground.survivor(ground.other)) == 1
    taken = await ground.now(record)
    assert (taken.process, taken.fence) == (ground.other, 2)


async def test_a_process_is_forgotten_only_once_a_second_look_found_nothing(
    ground: Ground, tenant_id: NewTenant
) -> None:
    await ground.dies()
    survivor = ground.survivor(ground.one)
    assert await ground.looks(survivor) == 0
    assert [lease.taken for lease in ground.table.rows.values()] == [1]
    # The index had not shown it.
    [record] = await ground.serves([tenant_id()])
    assert await ground.looks(survivor) == 1
    assert [lease.taken for lease in ground.table.rows.values()] == [2]
    await ground.looks(survivor)
    assert ground.table.rows == {}
    assert (await ground.now(record)).fence == 1


async def test_what_an_index_still_shows_is_not_taken_twice(ground: Ground, tenant_id: NewTenant) -> None:
    [record] = await ground.serves([tenant_id()])
    ground.index.stale = (Owed(record.tenant_id, record.invocation_id, record.created_at),)
    await ground.dies()
    assert await ground.looks(ground.survivor(ground.one), 60) == 1
    assert len(ground.carried) == 1


async def test_an_invocation_whose_taking_was_not_confirmed_is_carried_on_once(
    ground: Ground, tenant_id: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    [record] = await ground.serves([tenant_id()])
    await ground.dies()
    survivor, db = ground.survivor(ground.one), type(ground.stores.db(record.tenant_id))
    update = db.update

    async def unheard(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(db, "update", update)
        await update(*arguments, **named)  # type: ignore[arg-type]
        raise StoreUnavailableError

    monkeypatch.setattr(db, "update", unheard)
    looking = asyncio.ensure_future(ground.looks(survivor))
    async with asyncio.timeout(10):
        await ground.clock.until_sleeping()
        await ground.clock.advance(LOOK_S)
        assert await looking == 1
    assert ground.carried == [(ground.one, record.invocation_id)]
    assert (await ground.now(record)).fence == 1


async def test_a_store_that_was_away_is_looked_at_again(ground: Ground, tenant_id: NewTenant) -> None:
    await ground.serves([tenant_id()])
    await ground.dies()
    survivor = ground.survivor(ground.one)
    ground.index.away = True
    with pytest.raises(StoreUnavailableError):
        await ground.looks(survivor)
    ground.index.away = False
    assert await ground.looks(survivor) == 1


async def test_one_that_is_about_to_end_takes_nothing_over(ground: Ground, tenant_id: NewTenant) -> None:
    [record] = await ground.serves([tenant_id()])
    await ground.dies()
    ground.resting = True
    async with ground.survivor(ground.one).looking():
        for _ in range(10):
            await ground.clock.until_sleeping()
            await ground.clock.advance(LOOK_S)
    assert await ground.now(record) == record
    assert [lease.taken for lease in ground.table.rows.values()] == [0]
