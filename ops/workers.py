"""A worker process as its parent holds it: started, heard, asked, told to drain.

The line to a worker closes with this object's own end and with nothing else, so a worker drains exactly once.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from ops.lifeline import DRAINING, SERVING, Place

ASK_S: Final = 3.0
COMMAND: Final = (sys.executable, "-m", "ops.cli.main", "serve")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said on its private port."""

    status: int
    body: bytes


@dataclass(slots=True, eq=False)
class Worker:
    """One process. `serving` is set once it accepts connections, `leaving` once it says that it will not any more."""

    place: Place
    process: asyncio.subprocess.Process
    line: socket.socket
    started_s: float
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def slot(self) -> int:
        """The number of its place."""
        return self.place.slot

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs; a negative number is the signal that ended it."""
        return self.process.returncode

    def drain(self) -> None:
        """Tell it to drain and end; one that does not serve yet has nothing to drain."""
        if not self.serving.is_set():
            self.kill()
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def follow(self) -> None:
        """Hear what it says until it has ended."""
        reader, writer = await asyncio.open_connection(sock=self.line)
        try:
            async for word in reader:
                said = {SERVING: self.serving, DRAINING: self.leaving}.get(word.strip())
                if said is not None:
                    said.set()
            await self.process.wait()
        finally:
            writer.close()
            self.leaving.set()
            self.ended.set()

    async def ask(self, path: str) -> Answer | None:
        """GET a path of its private port; None where it does not answer."""
        connector = aiohttp.UnixConnector(path=str(self.place.private))
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
                http.get(f"http://worker{path}") as answer,
            ):
                return Answer(answer.status, await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    def last_metrics(self) -> bytes | None:
        """Return what it counted to its end; None after a crash."""
        with contextlib.suppress(OSError):
            return self.place.last_metrics.read_bytes()
        return None


async def start_worker(
    slot: int, listener: socket.socket, private: Path, *, now_s: float, command: Sequence[str] = COMMAND
) -> Worker:
    """Start a worker on a bound socket, with this process's environment and output."""
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as unless_started:
        unless_started.callback(ours.close)
        ours.setblocking(False)
        place = Place(slot, listener.fileno(), theirs.fileno(), private)
        process = await asyncio.create_subprocess_exec(
            *command,
            f"--as-worker={place}",
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(place.listener, place.lifeline),
        )
        unless_started.pop_all()
    return Worker(place, process, ours, now_s)
