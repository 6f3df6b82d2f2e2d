"""The parts of a running stack: started in the order they need each other, watched, stopped in reverse.

Nothing is restarted by itself. What dies without being asked to is reported at once, whatever else goes on.
"""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from ops.alarms.watch import AlarmState
from ops.devstack.process import stop
from tenancy.clock import Clock
from tenancy.errors import LockgateError

_GRACE_S: Final = 8.0


class PartUnknownError(LockgateError):
    """The stack has no such part, or it is a step without a process."""

    code = "part_unknown"


class PartStateError(LockgateError):
    """The part is already as it was asked to be."""

    code = "part_state"


class State(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    DEAD = "dead"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Part:
    """A process, or a step that only prepares something: then `step` is set and `start` returns None.

    `start` returns once the part is ready and raises PartFailedError; `healthy` asks it again later.
    """

    name: str
    start: Callable[[], Awaitable[Process | None]]
    needs: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    healthy: Callable[[], Awaitable[bool]] | None = None
    step: bool = False


class Watcher(Protocol):
    """Is told what becomes of the parts, as it happens."""

    def starting(self, part: str) -> None:
        """Say that a part is being started."""
        ...

    def ready(self, part: str, seconds: float) -> None:
        """Say that a part is ready after this long."""
        ...

    def failed(self, part: str) -> None:
        """Say that a part did not become ready."""
        ...

    def died(self, part: str, status: str) -> None:
        """Say that a part that was ready is no more, though nobody asked it to end."""
        ...

    def stopped(self, part: str) -> None:
        """Say that a part ended because it was asked to."""
        ...

    def rang(self, alarm: AlarmState) -> None:
        """Say that an alarm rings, or that it does no more."""
        ...

    def ending(self) -> None:
        """Say that everything is being stopped."""
        ...


class Parts:
    """The parts by name; `processes` holds those that are alive."""

    def __init__(self, parts: Iterable[Part], *, watcher: Watcher, clock: Clock) -> None:
        self._parts: Final = {part.name: part for part in parts}
        self._watcher: Final = watcher
        self._clock: Final = clock
        self._waiters: Final[dict[str, asyncio.Task[None]]] = {}
        # One command at a time for a part; one that waits for another part must not keep that from starting.
        self._commands: Final = {name: asyncio.Lock() for name in self._parts}
        self._preparing: Final = asyncio.Lock()
        self.processes: Final[dict[str, Process]] = {}
        self.states: Final = dict.fromkeys(self._parts, State.WAITING)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts.values())

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the pid of every living part."""
        return {name: process.pid for name, process in self.processes.items()}

    async def start_all(self) -> None:
        """Start everything, as much at a time as the needs allow; raises the first part's PartFailedError."""
        done = {name: asyncio.Event() for name in self._parts}
        try:
            async with asyncio.TaskGroup() as group:
                for part in self:
                    group.create_task(self._start_in_turn(part, done))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def start(self, name: str) -> int:
        """Start a part that is down, then what has to be prepared on it again; return its pid."""
        part = self._process_part(name)
        async with self._commands[name]:
            if name in self.processes:
                raise PartStateError(f"{name} is running already (pid {self.processes[name].pid})")
            await self._start(part)
            async with self._preparing:
                for step in self._steps_on(name):
                    await self._start(step)
            if name not in self.processes:
                raise PartStateError(f"{name} came up and died again")
            return self.processes[name].pid

    async def stop(self, name: str) -> None:
        """Stop a part; it stays down until it is started again."""
        self._process_part(name)
        async with self._commands[name]:
            if name not in self.processes:
                raise PartStateError(f"{name} is not running")
            await self._stop(name)

    async def stop_all(self) -> None:
        """Stop everything that runs, what needs others first."""
        self._watcher.ending()
        depths = {name: self._depth(name) for name in self.processes}
        for depth in sorted(set(depths.values()), reverse=True):
            await asyncio.gather(*(self._stop(name) for name in depths if depths[name] == depth))

    async def _start_in_turn(self, part: Part, done: Mapping[str, asyncio.Event]) -> None:
        for need in part.needs:
            await done[need].wait()
        await self._start(part)
        done[part.name].set()

    async def _start(self, part: Part) -> None:
        began = self._clock.monotonic()
        self.states[part.name] = State.STARTING
        self._watcher.starting(part.name)
        try:
            process = await part.start()
        except asyncio.CancelledError:
            self.states[part.name] = State.STOPPED
            raise
        except BaseException:
            self.states[part.name] = State.FAILED
            self._watcher.failed(part.name)
            raise
        self.states[part.name] = State.READY
        if process is not None:
            self.processes[part.name] = process
            self._waiters[part.name] = asyncio.create_task(self._wait(part.name, process))
        self._watcher.ready(part.name, self._clock.monotonic() - began)

    async def _stop(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None:
            return
        self.states[name] = State.STOPPED
        await stop(process, grace_s=_GRACE_S)
        await self._waiters[name]

    async def _wait(self, name: str, process: Process) -> None:
        status = await process.wait()
        del self.processes[name]
        if self.states[name] is State.STOPPED:
            self._watcher.stopped(name)
        else:
            self.states[name] = State.DEAD
            self._watcher.died(name, _describe(status))

    def _process_part(self, name: str) -> Part:
        part = self._parts.get(name)
        if part is None or part.step:
            known = ", ".join(each.name for each in self if not each.step)
            raise PartUnknownError(f"no part is called {name!r}; there are: {known}")
        return part

    def _steps_on(self, name: str) -> list[Part]:
        """Return the steps that need a part, directly or through other steps, in order."""
        touched = {name}
        for part in self:
            if part.step and touched.intersection(part.needs):
                touched.add(part.name)
        return [part for part in self if part.name in touched - {name}]

    def _depth(self, name: str) -> int:
        return 1 + max(map(self._depth, self._parts[name].needs), default=0)


def _describe(status: int) -> str:
    return f"signal {-status}: {signal.strsignal(-status)}" if status < 0 else f"exit code {status}"
