"""Operators' locks and the flag they guard, on a clock that tests move."""

import asyncio

import pytest

from tenancy.errors import LockHeldError, LockLostError
from tenancy.failover_lock import FAILOVER, LEASE_S, OperatorLocks
from tenancy.region_flag import RegionSwitch
from tests.clock import FakeClock
from tests.tenancy.flags import MemoryFlags

DUBLIN, FRANKFURT = "eu-west-1", "eu-central-1"
ANNA, BORIS = "anna", "boris"


@pytest.fixture
def flags() -> MemoryFlags:
    return MemoryFlags()


def locks_of(flags: MemoryFlags, clock: FakeClock) -> OperatorLocks:
    return OperatorLocks(flags, clock)


def switch_of(flags: MemoryFlags, clock: FakeClock) -> RegionSwitch:
    return RegionSwitch(flags, clock, home=DUBLIN)


async def test_a_fence_rises_with_every_holder_and_never_falls(flags: MemoryFlags, clock: FakeClock) -> None:
    locks = locks_of(flags, clock)
    first = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    released = await locks.release(FAILOVER, ANNA, first.fence)
    second = await locks.acquire(FAILOVER, ANNA, "once more")
    stolen = await locks.steal(FAILOVER, BORIS, "Anna's laptop is gone")
    assert (first.fence, released.fence, second.fence, stolen.fence) == (1, 1, 2, 3)
    assert (released.holder, stolen.holder, stolen.reason) == (None, BORIS, "Anna's laptop is gone")


async def test_a_held_lock_is_refused_to_everybody_its_own_holder_included(
    flags: MemoryFlags, clock: FakeClock
) -> None:
    locks = locks_of(flags, clock)
    await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    for holder in (ANNA, BORIS):
        with pytest.raises(LockHeldError) as refused:
            await locks.acquire(FAILOVER, holder, "me too")
        assert (refused.value.holder, refused.value.fence, refused.value.retry_after_s) == (ANNA, 1, LEASE_S)


async def test_of_two_that_race_one_gets_the_lock(flags: MemoryFlags, clock: FakeClock) -> None:
    racers = [locks_of(flags, clock).acquire(FAILOVER, name, "race") for name in (ANNA, BORIS)]
    outcomes = await asyncio.gather(*racers, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LockHeldError", "OpsLock"]


async def test_a_lock_is_taken_over_once_it_was_watched_unchanged_for_a_whole_lease(
    flags: MemoryFlags, clock: FakeClock
) -> None:
    held = await locks_of(flags, clock).acquire(FAILOVER, ANNA, "Dublin is down")
    await clock.advance(10 * LEASE_S)
    watcher = locks_of(flags, clock)
    with pytest.raises(LockHeldError):
        # Who has only just looked cannot tell for how long it has been so.
        await watcher.acquire(FAILOVER, BORIS, "she is silent")
    await clock.advance(LEASE_S - 1)
    with pytest.raises(LockHeldError) as refused:
        await watcher.acquire(FAILOVER, BORIS, "she is silent")
    assert refused.value.retry_after_s == 1
    await clock.advance(1)
    taken = await watcher.acquire(FAILOVER, BORIS, "she is silent")
    assert (taken.holder, taken.fence) == (BORIS, held.fence + 1)


async def test_a_holder_that_renews_keeps_its_lock(flags: MemoryFlags, clock: FakeClock) -> None:
    holder, watcher = locks_of(flags, clock), locks_of(flags, clock)
    held = await holder.acquire(FAILOVER, ANNA, "Dublin is down")
    for _ in range(5):
        with pytest.raises(LockHeldError):
            await watcher.acquire(FAILOVER, BORIS, "mine")
        await clock.advance(LEASE_S - 1)
        renewed = await holder.renew(FAILOVER, ANNA, held.fence)
    assert renewed.fence == held.fence


async def test_a_holder_that_wakes_after_a_takeover_can_do_nothing_any_more(
    flags: MemoryFlags, clock: FakeClock
) -> None:
    locks = locks_of(flags, clock)
    old = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    await locks.steal(FAILOVER, BORIS, "she is asleep")
    for attempt in (locks.renew, locks.release, locks.held):
        with pytest.raises(LockLostError):
            await attempt(FAILOVER, ANNA, old.fence)


async def test_a_fence_is_no_use_to_another_operator(flags: MemoryFlags, clock: FakeClock) -> None:
    locks = locks_of(flags, clock)
    held = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    with pytest.raises(LockLostError):
        await locks.release(FAILOVER, BORIS, held.fence)
    assert (await locks.read(FAILOVER))[0] == held


async def test_a_write_whose_answer_was_lost_is_known_to_have_been_done(flags: MemoryFlags, clock: FakeClock) -> None:
    locks, switch = locks_of(flags, clock), switch_of(flags, clock)
    flags.unheard = 1
    held = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    flags.unheard = 1
    assert (await switch.switch(FRANKFURT, held, by=ANNA, reason="down")).region == FRANKFURT
    flags.unheard = 1
    assert (await locks.release(FAILOVER, ANNA, held.fence)).holder is None


async def test_a_switch_says_who_and_why(flags: MemoryFlags, clock: FakeClock) -> None:
    held = await locks_of(flags, clock).acquire(FAILOVER, ANNA, "Dublin is down")
    switch = switch_of(flags, clock)
    assert await switch.read() is None
    flag = await switch.switch(FRANKFURT, held, by=ANNA, reason="no answer for 3 minutes")
    assert (flag.region, flag.fence, flag.changed_by, flag.reason, flag.changed_at) == (
        FRANKFURT,
        held.fence,
        ANNA,
        "no answer for 3 minutes",
        clock.now(),
    )
    assert flags.flag == flag


async def test_a_paused_holder_is_refused_before_its_successor_has_switched(
    flags: MemoryFlags, clock: FakeClock
) -> None:
    locks, switch = locks_of(flags, clock), switch_of(flags, clock)
    paused = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    await switch.guard(paused)
    taken = await locks.steal(FAILOVER, BORIS, "she is asleep")
    await switch.guard(taken)
    with pytest.raises(LockLostError):
        await switch.switch(FRANKFURT, paused, by=ANNA, reason="I was first")
    assert flags.flag is not None
    assert (flags.flag.region, flags.flag.fence) == (DUBLIN, taken.fence)


async def test_a_paused_holder_cannot_undo_what_its_successor_has_switched(
    flags: MemoryFlags, clock: FakeClock
) -> None:
    locks, switch = locks_of(flags, clock), switch_of(flags, clock)
    paused = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    taken = await locks.steal(FAILOVER, BORIS, "she is asleep")
    await switch.switch(FRANKFURT, taken, by=BORIS, reason="down")
    for late in (switch.guard(paused), switch.switch(DUBLIN, paused, by=ANNA, reason="I was first")):
        with pytest.raises(LockLostError):
            await late
    assert flags.flag is not None
    assert flags.flag.region == FRANKFURT


async def test_guarding_the_flag_leaves_what_it_says(flags: MemoryFlags, clock: FakeClock) -> None:
    locks, switch = locks_of(flags, clock), switch_of(flags, clock)
    first = await locks.acquire(FAILOVER, ANNA, "Dublin is down")
    switched = await switch.switch(FRANKFURT, first, by=ANNA, reason="down")
    await locks.release(FAILOVER, ANNA, first.fence)
    second = await locks.acquire(FAILOVER, BORIS, "a look")
    await switch.guard(second)
    assert flags.flag is not None
    assert flags.flag.model_dump(exclude={"fence", "record_version"}) == switched.model_dump(
        exclude={"fence", "record_version"}
    )
    assert flags.flag.fence == second.fence
