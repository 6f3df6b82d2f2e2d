"""Nothing that the stack started outlives it, not even what a killed part leaves behind.

The stack's process adopts its descendants' orphans (Linux), so that at the end its children are all that is left.
For a process whose every child is the stack's: the command, never a test runner.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children() -> None:
    """End every child at once, with what it started in its own process group."""
    for pid in _living_children():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def end_leftovers() -> int:
    """Kill what is still there, children of children included; return how many there were."""
    ended = 0
    # Each round's orphans become children of this process, to be found by the next.
    while pids := _living_children():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        ended += len(pids)
    return ended


def _living_children() -> list[int]:
    found = set[int]()
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, listing.read_text().split()))
    return sorted(found)
