"""`lockgate dev up` as a user has it before them, and the other terminal."""

import asyncio
import contextlib
import os
import secrets
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops.devstack.ports import Ports, PortTakenError
from ops.devstack.process import stop

COMMAND = (sys.executable, "-m", "ops.cli.main", "dev")


@dataclass(slots=True)
class Terminal:
    """One running `lockgate dev up` with everything it has printed so far."""

    process: Process
    variables: dict[str, str]
    lines: list[str] = field(default_factory=list)

    async def until(self, text: str) -> str:
        """Return the first line from here on that holds this text; what came before it is in `lines`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return self.lines[-1]
        raise AssertionError(f"ended before {text!r}:\n" + "\n".join(self.lines))

    async def other(self, *arguments: str) -> tuple[int, str, str]:
        """Run `lockgate dev …` in another terminal; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=self.variables, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def dev_up(state: Path) -> AsyncIterator[Terminal]:
    """Run `lockgate dev up` on ports that are free, and end it in the end if the test has not."""
    variables = {
        "PATH": os.defpath,
        "LOCKGATE_DEV_STATE": str(state),
        "PORT_OFFSET": str(_free_offset()),
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", env=variables, stdout=PIPE, stderr=STDOUT, start_new_session=True, limit=1 << 20
    )
    try:
        yield Terminal(process, variables)
    finally:
        await stop(process, grace_s=30)


def descendants(pid: int) -> set[int]:
    """Return the pids of every child, of their children, and so on."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            # A process may be gone by the time it is read.
            with contextlib.suppress(OSError):
                children = set(map(int, task.read_text().split())) - found
                found |= children
                waiting += children
    return found


def alive(pids: set[int]) -> set[int]:
    """Return those that still run."""
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def _free_offset() -> int:
    while True:
        offset = 10_000 + secrets.randbelow(40_000)
        try:
            Ports.documented(offset).check_free()
        except PortTakenError:
            continue
        return offset
