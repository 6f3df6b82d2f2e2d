import asyncio
from contextvars import ContextVar

import pytest

from tenancy import snapshots as snapshots_module
from tenancy.errors import StoreUnavailableError
from tenancy.snapshots import BLIND_S, RETRY_S, Snapshots
from tests.clock import FakeClock

FRESH_S = 30.0
STALE_S = 300.0


class Store:
    """Records by key, read slowly where a gate is shut, failing where told to."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {"a": "a1"}
        self.reads: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, key: str) -> str | None:
        self.reads.append(key)
        self.begun.put_nowait(key)
        found = self.records.get(key)
        await self.gate.wait()
        if self.failing:
            raise OSError("store away")
        return found


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def snapshots(store: Store, clock: FakeClock) -> Snapshots[str, str]:
    return Snapshots(store.load, clock=clock, fresh_s=FRESH_S, stale_s=STALE_S, size=3)


async def settled(snapshots: Snapshots[str, str]) -> None:
    await asyncio.gather(*snapshots._tasks, return_exceptions=True)


async def test_a_fresh_copy_is_served_without_reading(snapshots: Snapshots[str, str], store: Store) -> None:
    assert [await snapshots.get("a") for _ in range(3)] == ["a1", "a1", "a1"]
    assert snapshots.peek("a") == "a1"
    assert store.reads == ["a"]


async def test_peek_never_reads(snapshots: Snapshots[str, str], store: Store) -> None:
    assert snapshots.peek("a") is None
    assert store.reads == []


async def test_many_that_miss_share_one_read(snapshots: Snapshots[str, str], store: Store) -> None:
    assert await asyncio.gather(*(snapshots.get("a") for _ in range(50))) == ["a1"] * 50
    assert store.reads == ["a"]


async def test_a_stale_copy_is_served_while_one_read_renews_it(
    snapshots: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    await snapshots.get("a")
    store.records["a"] = "a2"
    await clock.advance(FRESH_S)
    assert snapshots.peek("a") is None
    assert [await snapshots.get("a") for _ in range(3)] == ["a1", "a1", "a1"]
    await settled(snapshots)
    assert snapshots.peek("a") == "a2"
    assert store.reads == ["a", "a"]


async def test_a_failing_renewal_serves_the_stale_copy_until_it_is_too_old_then_raises(
    snapshots: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    await snapshots.get("a")
    store.failing = True
    await clock.advance(STALE_S - 1)
    assert await snapshots.get("a") == "a1"
    await settled(snapshots)
    assert snapshots.failures == 1
    await clock.advance(1)
    with pytest.raises(OSError, match="store away"):
        await snapshots.get("a")


async def test_a_failing_renewal_is_tried_again_only_after_a_pause(
    snapshots: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    await snapshots.get("a")
    store.failing = True
    await clock.advance(FRESH_S)
    for _ in range(5):
        await snapshots.get("a")
        await settled(snapshots)
    assert len(store.reads) == 2
    await clock.advance(1.0)
    store.failing = False
    await snapshots.get("a")
    await settled(snapshots)
    assert len(store.reads) == 3
    assert snapshots.peek("a") == "a1"


async def test_all_who_wait_see_a_failed_read_and_the_next_reads_again(
    snapshots: Snapshots[str, str], store: Store
) -> None:
    store.failing = True
    outcomes = await asyncio.gather(snapshots.get("a"), snapshots.get("a"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]
    store.failing = False
    assert await snapshots.get("a") == "a1"
    assert store.reads == ["a", "a"]


async def test_absence_is_remembered_for_two_seconds_at_most(
    snapshots: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    assert await snapshots.get("b") is None
    store.records["b"] = "b1"
    await clock.advance(1.9)
    assert await snapshots.get("b") is None
    await clock.advance(0.1)
    assert await snapshots.get("b") == "b1"


async def test_a_record_found_deleted_is_served_no_longer(
    snapshots: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    await snapshots.get("a")
    del store.records["a"]
    await clock.advance(FRESH_S)
    await snapshots.get("a")
    await settled(snapshots)
    assert await snapshots.get("a") is None


async def test_what_was_loading_when_its_key_was_invalidated_is_not_kept(
    snapshots: Snapshots[str, str], store: Store
) -> None:
    store.gate.clear()
    early = asyncio.create_task(snapshots.get("a"))
    await store.begun.get()
    store.records["a"] = "a2"
    snapshots.invalidate("a")
    late = asyncio.create_task(snapshots.get("a"))
    await store.begun.get()
    store.gate.set()
    assert (await early, await late) == ("a1", "a2")
    await settled(snapshots)
    assert snapshots.peek("a") == "a2"


async def test_what_was_loading_when_everything_was_cleared_is_not_kept(
    snapshots: Snapshots[str, str], store: Store
) -> None:
    store.gate.clear()
    early = asyncio.create_task(snapshots.get("a"))
    await store.begun.get()
    snapshots.clear()
    store.gate.set()
    await early
    assert snapshots.peek("a") is None


async def test_a_failure_of_a_superseded_read_leaves_the_new_copy_alone(
    snapshots: Snapshots[str, str], store: Store
) -> None:
    store.gate.clear()
    early = asyncio.create_task(snapshots.get("b"))
    await store.begun.get()
    snapshots.invalidate("b")
    store.records["b"] = "b1"
    store.gate.set()
    assert await snapshots.get("b") == "b1"
    assert await early is None
    assert snapshots.peek("b") == "b1"


async def test_invalidating_forgets_absence_too(snapshots: Snapshots[str, str], store: Store) -> None:
    assert await snapshots.get("b") is None
    store.records["b"] = "b1"
    snapshots.invalidate("b")
    assert await snapshots.get("b") == "b1"


async def test_the_least_recently_used_copy_goes_first(snapshots: Snapshots[str, str], store: Store) -> None:
    store.records.update(b="b1", c="c1", d="d1")
    for key in "abc":
        await snapshots.get(key)
    assert snapshots.peek("a") == "a1"
    await snapshots.get("d")
    assert [snapshots.peek(key) for key in "abcd"] == ["a1", None, "c1", "d1"]


async def test_remembered_absence_is_bounded(snapshots: Snapshots[str, str], store: Store) -> None:
    for number in range(10):
        await snapshots.get(f"none{number}")
    assert await snapshots.get("none9") is None
    assert len(store.reads) == 10
    await snapshots.get("none0")
    assert len(store.reads) == 11


async def test_one_who_gives_up_waiting_does_not_end_the_read_for_the_others(
    snapshots: Snapshots[str, str], store: Store
) -> None:
    store.gate.clear()
    impatient, patient = (asyncio.create_task(snapshots.get("a")) for _ in range(2))
    await store.begun.get()
    impatient.cancel()
    store.gate.set()
    assert await patient == "a1"
    assert impatient.cancelled()
    assert store.reads == ["a"]


async def test_a_shared_read_runs_in_no_caller_s_context(clock: FakeClock) -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")

    async def load(_: str) -> str:
        return caller.get()

    snapshots: Snapshots[str, str] = Snapshots(load, clock=clock, fresh_s=1, stale_s=2, size=1)
    caller.set("acme")
    assert await snapshots.get("a") == "nobody"


async def test_closing_ends_the_reads_under_way(snapshots: Snapshots[str, str], store: Store) -> None:
    store.gate.clear()
    waiting = asyncio.create_task(snapshots.get("a"))
    await store.begun.get()
    await snapshots.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not snapshots._tasks


class Sight:
    """Whether word of changes comes in, as the test says."""

    def __init__(self) -> None:
        self.clear = True

    def __call__(self) -> bool:
        return self.clear


@pytest.fixture
def sight() -> Sight:
    return Sight()


@pytest.fixture
def sighted(store: Store, clock: FakeClock, sight: Sight) -> Snapshots[str, str]:
    async def load(key: str) -> str | None:
        try:
            return await store.load(key)
        except OSError:
            raise StoreUnavailableError from None

    return Snapshots(load, clock=clock, fresh_s=FRESH_S, stale_s=STALE_S, size=3, sighted=sight)


async def test_with_sight_of_changes_an_aged_copy_needs_no_read(
    sighted: Snapshots[str, str], store: Store, clock: FakeClock
) -> None:
    await sighted.get("a")
    await clock.advance(BLIND_S)
    assert sighted.peek("a") == await sighted.get("a") == "a1"
    assert store.reads == ["a"]


async def test_the_blind_look_for_themselves(
    sighted: Snapshots[str, str], store: Store, clock: FakeClock, sight: Sight
) -> None:
    await sighted.get("a")
    store.records["a"], sight.clear = "a2", False
    assert sighted.peek("a") == "a1"
    await clock.advance(BLIND_S)
    assert sighted.peek("a") is None
    assert await asyncio.gather(*(sighted.get("a") for _ in range(10))) == ["a2"] * 10
    assert store.reads == ["a", "a"]
    assert sighted.peek("a") == "a2"


async def test_the_blind_serve_what_they_knew_where_the_store_is_away_too(
    sighted: Snapshots[str, str], store: Store, clock: FakeClock, sight: Sight
) -> None:
    await sighted.get("a")
    store.failing, sight.clear = True, False
    await clock.advance(BLIND_S)
    assert [await sighted.get("a") for _ in range(3)] == ["a1"] * 3
    assert store.reads == ["a", "a"]
    store.failing, store.records["a"] = False, "a2"
    await clock.advance(RETRY_S)
    assert await sighted.get("a") == "a2"


async def test_the_blind_do_not_wait_for_ever(
    sighted: Snapshots[str, str], store: Store, clock: FakeClock, sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots_module, "LOOK_S", 0)
    await sighted.get("a")
    store.gate.clear()
    sight.clear = False
    await clock.advance(BLIND_S)
    assert await sighted.get("a") == "a1"
    await sighted.aclose()
