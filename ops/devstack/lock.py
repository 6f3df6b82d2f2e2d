"""One stack per state directory: a lock that goes with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.devstack.layout import Layout
from tenancy.errors import LockgateError


class StackRunningError(LockgateError):
    """Another stack runs on the same state."""

    code = "stack_running"

    def __init__(self, state: Path, pid: str) -> None:
        super().__init__(
            f"a stack runs on {state} already (pid {pid or 'unknown'}).\n"
            "  use it:   .venv/bin/lockgate dev status\n"
            "  end it:   Ctrl-C in its terminal" + (f", or kill -INT {pid}" if pid else "") + "\n"
            "  or give a second one ports and state of its own:  "
            "PORT_OFFSET=100 LOCKGATE_DEV_STATE=.lockgate/second make dev"
        )
        self.pid = pid


@contextmanager
def only_stack(layout: Layout) -> Iterator[None]:
    """Hold the state directory; raises StackRunningError."""
    descriptor = os.open(layout.pid_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackRunningError(layout.state, os.pread(descriptor, 20, 0).decode().strip()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
