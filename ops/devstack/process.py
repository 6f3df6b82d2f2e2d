"""A child process of the local stack: started with its own log, waited for, stopped without leftovers.

A child lives in a session of its own, so that a terminal's Ctrl-C reaches only the stack, which then stops its
children in order; and it dies with the stack, however the stack ends.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class PartFailedError(Exception):
    """A part of the stack did not come up; says which, where its log is and what to do."""

    def __init__(self, part: str, log: Path, fix: str) -> None:
        super().__init__(f"{part} did not start; its log is {log}; {fix}")
        self.part = part
        self.log = log
        self.fix = fix


def free_port() -> int:
    """Return a port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def spawn(argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Start a child with exactly this environment; its output is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return await asyncio.create_subprocess_exec(
            *map(str, argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=dict(env),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


async def until_ready(
    part: str,
    process: asyncio.subprocess.Process,
    ready: Callable[[], Awaitable[bool]],
    *,
    log: Path,
    fix: str,
    timeout_s: float = 60.0,
) -> None:
    """Return once `ready` says so; raises PartFailedError if the child exits or the time is up.

    A child that is not waited for any longer is stopped, also when the wait is cancelled.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    if await ready():
                        return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 0.02)
    except TimeoutError:
        await stop(process)
    except BaseException:
        await stop(process)
        raise
    raise PartFailedError(part, log, fix)


async def listens(port: int) -> bool:
    """Tell whether something accepts connections on this loopback port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def stop(process: asyncio.subprocess.Process, *, grace_s: float = 10.0) -> None:
    """End a child: SIGTERM, then SIGKILL to its whole process group after the grace."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
