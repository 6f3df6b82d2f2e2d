"""Lines of a process's log, written by a thread of their own, so that a full pipe holds up nobody.

What is not written yet is bounded: further lines are dropped and counted, and the count is told once lines flow again.
Lines go out in pieces that a pipe takes whole, so those of several processes on one pipe do not mix.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

LIMIT: Final = 10_000
# One wake-up for all lines of this time: a thread that is woken for each costs more than the lines themselves.
GATHER_S: Final = 0.1
CLOSE_S: Final = 1.0


class LineWriter:
    """Writes to a file descriptor; `put` never waits. `close` writes what is left, for at most CLOSE_S."""

    def __init__(self, fd: int, told: Callable[[int], bytes], *, limit: int = LIMIT) -> None:
        """Take the descriptor, and how a number of dropped lines is told, as a line."""
        self._fd = fd
        self._told = told
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._pending = threading.Event()
        self._closing = threading.Event()
        self._reported = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have a line written soon; it needs no line end."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._pending.is_set():
            self._pending.set()

    def close(self) -> None:
        """Write what is left, unless the reader does not take it."""
        self._closing.set()
        self._pending.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._closing.is_set() or self._lines:
            self._pending.wait()
            self._closing.wait(GATHER_S)
            self._pending.clear()
            self._write_all()

    def _write_all(self) -> None:
        while self._lines:
            if self.dropped > self._reported:
                dropped, self._reported = self.dropped - self._reported, self.dropped
                self._write(self._told(dropped) + b"\n")
            self._write(self._piece())

    def _piece(self) -> bytes:
        """Take as many lines as a pipe writes whole, at least one."""
        piece = self._lines.popleft() + b"\n"
        while self._lines and len(piece) + len(self._lines[0]) < select.PIPE_BUF:
            piece += self._lines.popleft() + b"\n"
        return piece

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except OSError:
                # Nobody reads any more, and there is no other place to say so.
                self.dropped += data.count(b"\n")
                return
