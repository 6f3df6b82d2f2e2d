"""The parent of several gateway workers: starts them, replaces them, ends them, and speaks for all of them.

It binds the public sockets, one a worker by SO_REUSEPORT, and neither listens nor accepts: no byte of a caller's ever
reaches it. Because it holds them, a worker's successor takes over the very queue its predecessor leaves, and nobody
who has connected is reset. A crashed worker's socket is closed instead: the kernel then sends new callers to others.
"""

import asyncio
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from ops import telemetry
from ops.listen import bind
from ops.restarts import Restarts
from ops.settings import Settings
from ops.speaker import Speaker
from ops.workers import COMMAND, Worker, start_worker
from tenancy.clock import Clock, SystemClock

# How long a new worker may take until it is ready; one that is not is no successor.
READY_S: Final = 60.0
LOOK_S: Final = 0.1
# Beyond its grace a worker that has not ended hangs.
KILL_S: Final = 30.0

Bind = Callable[[], socket.socket]
StartWorker = Callable[[int, socket.socket], Awaitable[Worker]]
_log = structlog.get_logger("ops.supervise")


class Slot:
    """One worker's place: `current` serves in it, `workers` are all that live, those that leave included."""

    def __init__(self, number: int, bind: Bind, start: StartWorker, clock: Clock) -> None:
        self.number = number
        self.current: Worker | None = None
        self.workers: set[Worker] = set()
        self._bind = bind
        self._start = start
        self._clock = clock
        self._listener: socket.socket | None = None
        self._restarts = Restarts()
        self._changing = asyncio.Lock()

    async def keep(self) -> None:
        """Have a worker in the place at all times; raises CrashLoopError."""
        while True:
            async with self._changing:
                worker = self.current = self.current or await self._started()
            await worker.leaving.wait()
            async with self._changing:
                if self.current is worker:
                    self.current = None
                    await self._clock.sleep(self._pause_s(worker))

    async def replace(self) -> bool:
        """Put a new worker in the place of the one that serves, and return once that one is gone.

        False where the new one did not become ready: then the old one stays.
        """
        async with self._changing:
            old = self.current
            if old is None:
                return True
            new = await self._started()
            if not await self._becomes_ready(new):
                _log.error("a new worker did not become ready", worker=self.number, pid=new.process.pid)
                new.drain()
                return False
            self.current = new
        old.drain()
        await old.ended.wait()
        return True

    def close(self) -> None:
        """Let go of the socket, and tell whoever is here to drain."""
        self._let_go()
        for worker in self.workers:
            worker.drain()

    def _pause_s(self, left: Worker) -> float:
        _log.error("worker left by itself", worker=self.number, pid=left.process.pid, code=left.exit_code)
        if left.ended.is_set():
            # While its socket is open, the kernel goes on sending callers to it.
            self._let_go()
        return self._restarts.pause_s(self._clock.monotonic() - left.started_s)

    def _let_go(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _started(self) -> Worker:
        if self._listener is None:
            self._listener = self._bind()
        worker = await self._start(self.number, self._listener)
        self.workers.add(worker)
        _log.info("worker started", worker=self.number, pid=worker.process.pid)
        return worker

    async def _becomes_ready(self, worker: Worker) -> bool:
        until_s = self._clock.monotonic() + READY_S
        while not worker.leaving.is_set() and self._clock.monotonic() < until_s:
            answer = await worker.ask("/ready") if worker.serving.is_set() else None
            if answer is not None and answer.status == web.HTTPOk.status_code:
                return True
            await self._clock.sleep(LOOK_S)
        return False


class Supervisor:
    """All places."""

    def __init__(
        self,
        workers: int,
        bind: Bind,
        folder: Path,
        metrics: CollectorRegistry,
        clock: Clock,
        *,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Keep private sockets in `folder`; `command` is what a worker is started by."""
        self._clock = clock
        self._command = command
        self._paths = (folder / str(number) for number in count())
        self._following: set[asyncio.Task[None]] = set()
        self._started = Counter("lockgate_workers_started_total", "Worker processes started", registry=metrics)
        self.slots = [Slot(number, bind, self._start, clock) for number in range(1, workers + 1)]
        self.speaker = Speaker(self.slots, metrics)

    async def run(self, stopping: asyncio.Event, renewing: asyncio.Event, kill_s: float) -> None:
        """Keep all places until `stopping`, then drain; replace every worker on `renewing`. Raises CrashLoopError.

        A worker that takes longer than `kill_s` to drain hangs, and is killed.
        """
        stop = asyncio.create_task(stopping.wait())
        works = [self._renew(renewing), *(slot.keep() for slot in self.slots)]
        tasks: set[asyncio.Task[object]] = {stop, *map(asyncio.create_task, works)}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end(kill_s)
        for task in done:
            task.result()

    async def _renew(self, renewing: asyncio.Event) -> None:
        while True:
            await renewing.wait()
            renewing.clear()
            _log.info("replacing workers")
            for slot in self.slots:
                if not await slot.replace():
                    break

    async def _start(self, slot: int, listener: socket.socket) -> Worker:
        worker = await start_worker(
            slot, listener, next(self._paths), now_s=self._clock.monotonic(), command=self._command
        )
        self._started.inc()
        following = asyncio.create_task(self._follow(worker))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return worker

    async def _follow(self, worker: Worker) -> None:
        await worker.follow()
        self.slots[worker.slot - 1].workers.discard(worker)
        self.speaker.ended(worker)
        _log.info("worker ended", worker=worker.slot, pid=worker.process.pid, code=worker.exit_code)

    async def _end(self, kill_s: float) -> None:
        self.speaker.draining = True
        _log.info("draining")
        for slot in self.slots:
            slot.close()
        try:
            async with asyncio.timeout(kill_s):
                await self._all_ended()
        except TimeoutError:
            for worker in [worker for slot in self.slots for worker in slot.workers]:
                worker.kill()
            await self._all_ended()

    async def _all_ended(self) -> None:
        while self._following:
            await asyncio.wait(tuple(self._following))


async def supervise(settings: Settings, *, workers: int, host: str, port: int, private_port: int) -> None:
    """Serve with several workers until SIGTERM or SIGINT, then drain; SIGHUP replaces the workers one by one.

    Raises PortTakenError, and CrashLoopError where a worker cannot live.
    """
    told, metrics = telemetry.configure(settings, "gateway"), CollectorRegistry()
    told.measured(metrics)
    stopping, renewing = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number, order in ((signal.SIGTERM, stopping), (signal.SIGINT, stopping), (signal.SIGHUP, renewing)):
        loop.add_signal_handler(number, order.set)
    with bind(host, port):
        # Sharing is for our own workers: a port that another program has, sharing or not, is refused.
        pass
    async with AsyncExitStack() as stack:
        private = stack.enter_context(bind("127.0.0.1", private_port))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockgate-")))
        supervisor = Supervisor(workers, partial(bind, host, port, shared=True), folder, metrics, SystemClock())
        runner = web.AppRunner(supervisor.speaker.build(), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, private).start()
        _log.info("supervising", workers=workers, host=host, port=port, private_port=private_port)
        await supervisor.run(stopping, renewing, settings.drain_grace_s + KILL_S)
    _log.info("ended")
