"""Leases of processes: kept while the process lives, found to have run out by those that watch, and lost for good."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.processes import LEASE_S, LOOKED_S, RENEW_S, SURE_S, Leases, Standing, Watch
from tenancy.data_models import ProcessLease
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.platform_store import PlatformStore
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.gateway.leases import LeaseTable

LOOK_S = 3.0
SOME = "0123456789abcdef"


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable()


@pytest.fixture
def watch(table: LeaseTable, clock: FakeClock) -> Watch:
    return Watch(table, clock, "f" * 16)


@pytest.fixture
async def standing(table: LeaseTable, clock: FakeClock) -> AsyncIterator[Standing]:
    standing = Standing(table, clock)
    async with standing.held():
        yield standing


async def looks(watch: Watch, clock: FakeClock, seconds: float) -> list[str]:
    """Look every LOOK_S for so long; return what was found to have run out at the last look."""
    found: list[ProcessLease] = []
    for _ in range(int(seconds / LOOK_S)):
        await clock.advance(LOOK_S)
        found = await watch.lapsed()
    return [lease.process for lease in found]


async def dead(table: LeaseTable, process: str = SOME) -> ProcessLease:
    """Return the lease of a process that renews no more."""
    lease = ProcessLease(process=process, record_version="1", lease_s=LEASE_S)
    await table.put_process(lease, seen=None)
    return lease


@pytest.fixture(params=["in memory", "in the store"])
def leases(request: pytest.FixtureRequest, table: LeaseTable) -> Leases:
    if request.param == "in memory":
        return table
    aws: Aws = request.getfixturevalue("aws")
    return PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None)


async def test_a_lease_is_written_over_only_by_who_has_seen_it_last(leases: Leases) -> None:
    first = ProcessLease(process=SOME, record_version="1", lease_s=LEASE_S)
    second = first.model_copy(update={"record_version": "2", "taken": 1})
    await leases.put_process(first, seen=None)
    for write in (leases.put_process(second, seen=None), leases.put_process(second, seen=second)):
        with pytest.raises(ConditionFailedError):
            await write
    await leases.put_process(second, seen=first)
    assert [lease for lease in await leases.processes() if lease.process == SOME] == [second]
    with pytest.raises(ConditionFailedError):
        await leases.delete_process(first)
    await leases.delete_process(second)
    assert [lease for lease in await leases.processes() if lease.process == SOME] == []
    with pytest.raises(ConditionFailedError):
        await leases.put_process(second, seen=first)


async def test_a_process_that_lives_is_sure_and_never_found_dead(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    assert standing.sure
    written = set()
    for _ in range(40):
        assert await looks(watch, clock, LOOK_S) == []
        written.add(table.rows[standing.process].record_version)
        assert standing.sure_s >= SURE_S - RENEW_S
    assert len(written) == 40


async def test_a_lease_has_run_out_once_it_was_seen_unchanged_for_as_long_as_it_says(
    table: LeaseTable, watch: Watch, clock: FakeClock
) -> None:
    lease = await dead(table)
    assert await watch.lapsed() == []
    assert await looks(watch, clock, 9) == []
    assert await looks(watch, clock, LOOK_S) == [lease.process]


async def test_what_nobody_looked_at_has_not_run_out(table: LeaseTable, watch: Watch, clock: FakeClock) -> None:
    lease = await dead(table)
    await watch.lapsed()
    await clock.advance(LOOKED_S + LEASE_S)
    assert await watch.lapsed() == []
    assert await looks(watch, clock, 9) == []
    assert await looks(watch, clock, LOOK_S) == [lease.process]


async def test_a_lease_that_ran_out_is_taken_by_one_alone(table: LeaseTable, watch: Watch, clock: FakeClock) -> None:
    await dead(table)
    rival = Watch(table, clock, "e" * 16)
    for each in (watch, rival):
        await each.lapsed()
    for _ in range(4):
        await clock.advance(LOOK_S)
        found, also = await watch.lapsed(), await rival.lapsed()
    assert len(found) == len(also) == 1
    taken = await watch.taken(found[0])
    assert taken is not None
    assert taken.taken == 1
    assert await rival.taken(also[0]) is None


async def test_one_that_renews_in_time_is_not_taken(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    seen = table.rows[standing.process]
    await clock.advance(RENEW_S)
    assert await watch.taken(seen) is None
    assert not standing.lost.is_set()


async def test_a_process_that_cannot_renew_is_no_longer_sure_before_others_may_take_it(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    await watch.lapsed()
    table.away = True
    await clock.advance(SURE_S)
    assert (standing.sure, standing.sure_s) == (False, 0.0)
    waiting = asyncio.ensure_future(standing.settled())
    await clock.advance(1)
    assert not waiting.done()
    table.away = False
    await clock.advance(RENEW_S)
    await waiting
    assert standing.sure


async def test_a_renewal_that_did_not_come_through_is_soon_tried_again(
    table: LeaseTable, standing: Standing, clock: FakeClock
) -> None:
    table.away = True
    await clock.advance(RENEW_S)
    table.away = False
    await clock.advance(0.5)
    assert standing.sure_s == SURE_S


async def test_a_process_that_was_taken_for_dead_learns_of_it_and_is_never_sure_again(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    assert await watch.taken(table.rows[standing.process]) is not None
    waiting = asyncio.ensure_future(standing.lost.wait())
    await clock.advance(RENEW_S)
    assert waiting.done()
    settled = asyncio.ensure_future(standing.settled())
    await clock.advance(LEASE_S)
    assert (standing.sure, settled.done()) == (False, False)
    settled.cancel()
    [lease] = table.rows.values()
    assert lease.taken == 1


async def test_a_process_that_was_forgotten_meanwhile_has_lost_as_well(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    taken = await watch.taken(table.rows[standing.process])
    assert taken is not None
    await watch.forget(taken)
    await clock.advance(RENEW_S)
    assert standing.lost.is_set()
    assert table.rows == {}


async def test_a_renewal_whose_answer_was_lost_harms_nothing(
    table: LeaseTable, standing: Standing, clock: FakeClock
) -> None:
    table.mute = True
    before = table.rows[standing.process]
    await clock.advance(RENEW_S)
    assert table.rows[standing.process] != before
    await clock.advance(1)
    assert not standing.lost.is_set()
    assert standing.sure_s > SURE_S - 1


async def test_a_first_lease_whose_answer_was_lost_is_the_processs_own(table: LeaseTable, clock: FakeClock) -> None:
    table.mute = True
    standing = Standing(table, clock)
    async with standing.held():
        assert (len(table.rows), standing.sure) == (1, False)
        await clock.until_sleeping()
        await clock.advance(1)
        assert standing.sure
        assert not standing.lost.is_set()


async def test_a_renewal_that_crashes_is_not_the_last(
    table: LeaseTable, standing: Standing, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.delattr(LeaseTable, "put_process")
        await clock.advance(RENEW_S)
    await clock.advance(0.5)
    assert standing.sure_s == SURE_S


async def test_who_leaves_gives_the_lease_back(table: LeaseTable, standing: Standing, clock: FakeClock) -> None:
    await standing.leave()
    assert table.rows == {}
    await clock.advance(LEASE_S)
    assert table.rows == {}


async def test_who_was_taken_for_dead_takes_no_lease_away_in_leaving(
    table: LeaseTable, standing: Standing, watch: Watch, clock: FakeClock
) -> None:
    await watch.taken(table.rows[standing.process])
    await standing.leave()
    assert len(table.rows) == 1
    await clock.advance(LEASE_S)
    assert len(table.rows) == 1


async def test_a_store_that_is_away_lets_nobody_be_found_dead(
    table: LeaseTable, watch: Watch, clock: FakeClock
) -> None:
    await dead(table)
    await watch.lapsed()
    table.away = True
    for _ in range(5):
        await clock.advance(LOOK_S)
        with pytest.raises(StoreUnavailableError):
            await watch.lapsed()
    table.away = False
    assert await watch.lapsed() == []
