"""The parent of several workers, with real processes that do little."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from ops.errors import CrashLoopError
from ops.listen import bind
from ops.supervise import Supervisor
from ops.workers import Worker
from tenancy.clock import SystemClock
from tests.clock import FakeClock

pytestmark = pytest.mark.stack

HOST = "127.0.0.1"
WORKER = (sys.executable, "-m", "tests.ops.plain_worker")


@dataclass(frozen=True, slots=True)
class Running:
    supervisor: Supervisor
    port: int
    renewing: asyncio.Event
    stopping: asyncio.Event
    private: TestClient  # type: ignore[type-arg]
    run: asyncio.Task[None]

    def current(self) -> list[Worker]:
        return [slot.current for slot in self.supervisor.slots if slot.current is not None]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def served(self) -> int:
        """Return the pid of the worker that serves a new connection."""
        async with ClientSession() as http, http.get(f"http://{HOST}:{self.port}/") as answer:
            return int(await answer.text())

    async def ready(self) -> tuple[int, dict[str, object]]:
        async with self.private.get("/ready") as answer:
            return answer.status, await answer.json()

    async def made(self) -> float:
        async with self.private.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("made_total ")))

    async def all_ready(self) -> None:
        async with asyncio.timeout(20):
            while (await self.ready())[0] != 200:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(folder: Path, how: str = "well", workers: int = 2, kill_s: float = 20) -> AsyncIterator[Running]:
    with bind(HOST, 0, shared=True) as port_held:
        port = port_held.getsockname()[1]
        supervisor = Supervisor(
            workers,
            partial(bind, HOST, port, shared=True),
            folder,
            CollectorRegistry(),
            SystemClock(),
            command=(*WORKER, how, str(folder / "mark")),
        )
        stopping, renewing = asyncio.Event(), asyncio.Event()
        async with TestClient(TestServer(supervisor.speaker.build())) as private:
            run = asyncio.create_task(supervisor.run(stopping, renewing, kill_s))
            try:
                yield Running(supervisor, port, renewing, stopping, private, run)
            finally:
                stopping.set()
                await asyncio.gather(run, return_exceptions=True)


async def test_it_is_ready_once_all_its_workers_are_and_each_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        _, told = await parent.ready()
        pids = {str(worker.slot): worker.process.pid for worker in parent.current()}
        assert {slot: state["pid"] for slot, state in told["workers"].items()} == pids  # type: ignore[attr-defined]
        assert set(pids) == {"1", "2"}


async def test_a_worker_that_is_not_ready_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, "second-unready") as parent:
        await parent.until(lambda: len(parent.current()) == 2)
        for worker in parent.current():
            await worker.serving.wait()
        status, told = await parent.ready()
        states = sorted(state["ready"] for state in told["workers"].values())  # type: ignore[attr-defined]
        assert (status, states) == (503, [False, True])


async def test_a_killed_worker_is_replaced_and_the_others_serve_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        killed, other = parent.current()
        killed.kill()
        await killed.ended.wait()
        await parent.until(lambda: parent.supervisor.slots[0].current is not killed)
        assert await parent.served() == other.process.pid
        await parent.until(lambda: len(parent.current()) == 2)
        await parent.all_ready()
        assert killed.process.pid not in {worker.process.pid for worker in parent.current()}


async def test_a_worker_that_cannot_start_ends_the_parent_and_its_siblings(tmp_path: Path, clock: FakeClock) -> None:
    with bind(HOST, 0, shared=True) as held:
        supervisor = Supervisor(
            1,
            partial(bind, HOST, held.getsockname()[1], shared=True),
            tmp_path,
            CollectorRegistry(),
            clock,
            command=(*WORKER, "crash", ""),
        )
        passing = asyncio.create_task(clock.run())
        with pytest.raises(CrashLoopError):
            await supervisor.run(asyncio.Event(), asyncio.Event(), 20)
        passing.cancel()
        assert [slot.workers for slot in supervisor.slots] == [set()]


async def test_renewing_replaces_every_worker_and_serves_whoever_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        before = {worker.process.pid for worker in parent.current()}
        parent.renewing.set()
        answered = set()
        while before & {worker.process.pid for worker in parent.current()}:
            answered.add(await parent.served())
        after = {worker.process.pid for worker in parent.current()}
        assert len(after) == 2
        assert answered <= before | after


async def test_a_successor_that_is_not_ready_leaves_the_old_worker_in_its_place(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with running(tmp_path, "second-unready", workers=1) as parent:
        await parent.all_ready()
        [old] = parent.current()
        slot = parent.supervisor.slots[0]
        slot._clock = clock
        replaced = asyncio.create_task(slot.replace())
        await parent.until(lambda: len(slot.workers) == 2)
        passing = asyncio.create_task(clock.run())
        assert await replaced is False
        passing.cancel()
        assert parent.current() == [old]
        assert await parent.served() == old.process.pid


async def test_what_ended_workers_counted_stays_in_the_sum(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        assert await parent.made() == 2
        first = parent.current()[0]
        assert await parent.supervisor.slots[0].replace()
        await parent.until(lambda: first not in parent.supervisor.slots[0].workers)
        assert await parent.made() == 3


async def test_the_end_of_the_parent_is_the_end_of_its_workers(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        workers = parent.current()
        for worker in workers:
            # As the kernel does for a parent that was killed.
            worker.line.shutdown(socket.SHUT_RDWR)
        for worker in workers:
            await asyncio.wait_for(worker.ended.wait(), 10)
        assert {worker.exit_code for worker in workers} == {0}


async def test_an_order_to_end_ends_every_worker_and_frees_the_port(tmp_path: Path) -> None:
    async with running(tmp_path) as parent:
        await parent.all_ready()
        workers = parent.current()
        parent.stopping.set()
        await parent.run
        assert {worker.exit_code for worker in workers} == {0}
        assert (await parent.ready())[1]["draining"] is True
    with bind(HOST, parent.port) as free:
        assert free.getsockname()[1] == parent.port


async def test_a_worker_that_hangs_in_its_drain_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, workers=1, kill_s=0) as parent:
        await parent.all_ready()
        [worker] = parent.current()
        worker.process.send_signal(signal.SIGSTOP)
        parent.stopping.set()
        await parent.run
        assert worker.exit_code == -signal.SIGKILL


async def test_a_worker_that_never_came_up_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, "stuck", workers=1, kill_s=3600) as parent:
        await parent.until(lambda: len(parent.current()) == 1)
        parent.stopping.set()
        await asyncio.wait_for(parent.run, 10)
