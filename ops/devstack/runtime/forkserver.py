"""The runtime's side of a zygote: orders processes, learns of their end, signals them.

A signal goes through the zygote, which alone reaps: a process number can never be taken for another's.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import orjson
from pydantic import BaseModel

from ops.devstack.runtime.errors import AgentFaultError
from ops.devstack.runtime.owned import OwnedTasks

_ZYGOTE = Path(__file__).with_name("zygote.py")
_LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class ForkOrder:
    """One agent process to be: where it listens, what it runs, where its output goes."""

    socket: str
    folder: str
    entry: str
    log: str
    env: Mapping[str, str]


class _Report(BaseModel):
    event: Literal["ready", "forked", "exited", "refused"]
    id: int
    pid: int = 0
    status: int = 0
    reason: str = ""


class AgentProcess:
    """A running agent process; `exited` is done, with the exit code, once the process is gone and reaped."""

    def __init__(self, server: "ForkServer", number: int, pid: int) -> None:
        self._server = server
        self._number = number
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL goes to everything the agent started, too. Nothing happens to one that is gone."""
        self._server.send({"op": "signal", "id": self._number, "signal": int(number)})


class ForkServer:
    """A running zygote."""

    def __init__(self, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._writer = writer
        self._tasks = OwnedTasks()
        self._next = 1
        self._asked: dict[int, asyncio.Future[_Report]] = {0: asyncio.get_running_loop().create_future()}
        self._running: dict[int, AgentProcess] = {}
        self._unwanted: set[int] = set()

    @classmethod
    async def start(cls, python: Path, log: Path) -> Self:
        """Start a zygote on this interpreter and return once it has imported everything; raises AgentFaultError."""
        log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        try:
            with theirs, log.open("ab") as sink:
                process = await asyncio.create_subprocess_exec(
                    *(str(python), "-I", "-u", str(_ZYGOTE), str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise AgentFaultError(f"{python} cannot be started: {error.strerror}") from error
        except asyncio.CancelledError:
            ours.close()
            raise
        reader, writer = await asyncio.open_connection(sock=ours)
        server = cls(process, writer)
        server._tasks.spawn(server._listen(reader))
        try:
            report = await asyncio.shield(server._asked[0])
        except asyncio.CancelledError:
            # It has no agents yet, and listens only once it has imported everything.
            process.kill()
            await server.aclose()
            raise
        if report.event != "ready":
            await server.aclose()
            raise AgentFaultError(f"{python} ended before it could start an agent; see {log}")
        return server

    @property
    def alive(self) -> bool:
        """Tell whether the zygote still takes orders."""
        return not self._writer.is_closing()

    async def fork(self, order: ForkOrder) -> AgentProcess:
        """Return a new process of an agent, not yet ready to serve; raises AgentFaultError."""
        if len(os.fsencode(order.socket)) > _LONGEST_SOCKET_PATH:
            raise AgentFaultError(f"{order.socket} is too long for a socket: set TMPDIR to a shorter folder")
        number, self._next = self._next, self._next + 1
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send({"op": "fork", "id": number} | asdict(order))
        try:
            report = await asyncio.shield(asked)
        except asyncio.CancelledError:
            self._unwanted.add(number)
            raise
        if report.event != "forked":
            raise AgentFaultError(f"the agent could not be started: {report.reason}")
        return self._running[number]

    def send(self, order: Mapping[str, object]) -> None:
        """Send one order; lost if the zygote is gone, as are its processes."""
        if self.alive:
            self._writer.write(orjson.dumps(order) + b"\n")

    async def aclose(self) -> None:
        """End the zygote and every process it still has."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._process.wait()
        await self._tasks.aclose()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            async for line in reader:
                self._on_report(_Report.model_validate_json(line))
        except ConnectionError:
            pass  # as good as the end of the stream
        finally:
            self._on_end()

    def _on_report(self, report: _Report) -> None:
        if report.event == "exited":
            self._running.pop(report.id).exited.set_result(report.status)
            return
        if report.event == "forked":
            self._running[report.id] = AgentProcess(self, report.id, report.pid)
        asked = self._asked.pop(report.id)
        asked.set_result(report)
        if report.id in self._unwanted and report.event == "forked":
            self._unwanted.discard(report.id)
            self._running[report.id].signal(signal.SIGKILL)

    def _on_end(self) -> None:
        self._writer.close()
        for number, asked in self._asked.items():
            asked.set_result(_Report(event="refused", id=number, reason="its parent process ended"))
        for process in self._running.values():
            process.exited.set_result(-int(signal.SIGKILL))
        self._asked.clear()
        self._running.clear()
