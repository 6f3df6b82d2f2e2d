import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ops.alarms.watch import AlarmState
from ops.devstack.parts import Part, Parts, PartStateError, PartUnknownError, State
from ops.devstack.process import PartFailedError, spawn
from tests.clock import FakeClock


class Diary:
    """A Watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.death = asyncio.Event()

    def starting(self, part: str) -> None:
        self.lines.append(f"starting {part}")

    def ready(self, part: str, seconds: float) -> None:
        self.lines.append(f"ready {part}")

    def failed(self, part: str) -> None:
        self.lines.append(f"failed {part}")

    def died(self, part: str, status: str) -> None:
        self.lines.append(f"died {part} {status}")
        self.death.set()

    def stopped(self, part: str) -> None:
        self.lines.append(f"stopped {part}")

    def rang(self, alarm: AlarmState) -> None:
        self.lines.append(f"rang {alarm.name}")

    def ending(self) -> None:
        self.lines.append("ending")


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
async def make(tmp_path: Path, diary: Diary, clock: FakeClock) -> AsyncIterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def build(*parts: Part) -> Parts:
        made.append(Parts(parts, watcher=diary, clock=clock))
        return made[-1]

    yield build
    for each in made:
        await each.stop_all()


@pytest.fixture
def sleeper(tmp_path: Path) -> Callable[[], Awaitable[Process]]:
    async def start() -> Process:
        return await spawn(["/bin/sleep", "60"], env={}, log=tmp_path / "log")

    return start


def part(name: str, start: Callable[[], Awaitable[Process | None]], *needs: str) -> Part:
    return Part(name, start, needs=needs)


def step(name: str, act: Callable[[], None], *needs: str) -> Part:
    async def run() -> None:
        act()

    return Part(name, run, needs=needs, step=True)


async def fail() -> Process:
    raise PartFailedError("broken", Path("/log"), "mend it")


async def test_a_part_starts_after_what_it_needs_and_ends_before_it(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]], diary: Diary
) -> None:
    parts = make(part("gateway", sleeper, "tables"), step("tables", lambda: None, "store"), part("store", sleeper))
    await parts.start_all()
    assert [line for line in diary.lines if line.startswith("ready")] == [
        "ready store",
        "ready tables",
        "ready gateway",
    ]
    await parts.stop_all()
    assert diary.lines[-3:] == ["ending", "stopped gateway", "stopped store"]
    assert parts.pids == {}


async def test_parts_that_need_nothing_start_side_by_side(make: Callable[..., Parts]) -> None:
    both = asyncio.Barrier(2)

    async def meet() -> None:
        await both.wait()

    await make(Part("one", meet), Part("two", meet)).start_all()


async def test_a_failed_part_is_raised_and_what_needs_it_never_starts(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]], diary: Diary
) -> None:
    parts = make(part("broken", fail), part("gateway", sleeper, "broken"))
    with pytest.raises(PartFailedError, match="mend it"):
        await parts.start_all()
    assert diary.lines == ["starting broken", "failed broken"]
    assert parts.states == {"broken": State.FAILED, "gateway": State.WAITING}


async def test_a_killed_part_is_reported_at_once_and_stays_dead(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]], diary: Diary
) -> None:
    parts = make(part("worker", sleeper))
    await parts.start_all()
    os.kill(parts.pids["worker"], signal.SIGKILL)
    await diary.death.wait()
    assert diary.lines[-1] == "died worker signal 9: Killed"
    assert parts.states["worker"] is State.DEAD
    assert parts.pids == {}


async def test_a_part_that_exits_by_itself_is_reported_with_its_exit_code(
    make: Callable[..., Parts], diary: Diary, tmp_path: Path
) -> None:
    async def start() -> Process:
        return await spawn([sys.executable, "-S", "-c", "raise SystemExit(3)"], env={}, log=tmp_path / "log")

    await make(part("worker", start)).start_all()
    await diary.death.wait()
    assert diary.lines[-1] == "died worker exit code 3"


async def test_a_dead_part_starts_again_under_a_new_pid(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]], diary: Diary
) -> None:
    parts = make(part("worker", sleeper))
    await parts.start_all()
    first = parts.pids["worker"]
    os.kill(first, signal.SIGKILL)
    await diary.death.wait()
    second = await parts.start("worker")
    assert second != first
    assert parts.pids == {"worker": second}


async def test_a_part_that_waits_for_another_does_not_keep_it_from_starting(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]]
) -> None:
    waits, there = asyncio.Event(), asyncio.Event()

    async def gateway() -> Process:
        waits.set()
        await there.wait()
        return await sleeper()

    async def issuer() -> Process:
        there.set()
        return await sleeper()

    parts = make(part("gateway", gateway, "issuer"), part("issuer", issuer))
    starting = asyncio.create_task(parts.start("gateway"))
    await waits.wait()
    async with asyncio.timeout(10):
        started = {await parts.start("issuer"), await starting}
    assert started == set(parts.pids.values())


async def test_what_was_prepared_on_a_part_is_prepared_again_when_it_comes_back(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]]
) -> None:
    done: list[str] = []
    parts = make(
        part("store", sleeper),
        part("redis", sleeper),
        step("tables", lambda: done.append("tables"), "store"),
        step("seed", lambda: done.append("seed"), "tables"),
        step("other", lambda: done.append("other"), "redis"),
    )
    await parts.start_all()
    await parts.stop("store")
    done.clear()
    await parts.start("store")
    assert done == ["tables", "seed"]


async def test_a_stop_that_was_asked_for_is_no_death(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]], diary: Diary
) -> None:
    parts = make(part("worker", sleeper))
    await parts.start_all()
    await parts.stop("worker")
    assert diary.lines[-1] == "stopped worker"
    assert parts.states["worker"] is State.STOPPED


async def test_starting_what_runs_or_stopping_what_does_not_is_refused(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]]
) -> None:
    parts = make(part("worker", sleeper))
    await parts.start_all()
    with pytest.raises(PartStateError, match="running already"):
        await parts.start("worker")
    await parts.stop("worker")
    with pytest.raises(PartStateError, match="not running"):
        await parts.stop("worker")


async def test_an_unknown_part_is_refused_with_the_names_there_are(
    make: Callable[..., Parts], sleeper: Callable[[], Awaitable[Process]]
) -> None:
    parts = make(part("worker", sleeper), step("tables", lambda: None))
    for name in ("wroker", "tables"):
        with pytest.raises(PartUnknownError, match="there are: worker"):
            await parts.start(name)


async def test_a_part_that_ignores_sigterm_ends_all_the_same(
    make: Callable[..., Parts], diary: Diary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.devstack.parts._GRACE_S", 0.1)
    log = tmp_path / "log"

    async def start() -> Process:
        process = await spawn(["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"], env={}, log=log)
        while not log.read_bytes():
            await asyncio.sleep(0.01)
        return process

    parts = make(part("worker", start))
    await parts.start_all()
    await parts.stop("worker")
    assert diary.lines[-1] == "stopped worker"
