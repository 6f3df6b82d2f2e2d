"""What a parent and a worker process have between them: a place, and a line that ends with either of them.

The worker says over the line that it serves, and that it is about to leave. The parent says one thing, by closing the
line: drain. A parent that is gone has closed it as well, so no worker outlives its parent by more than a drain.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVING: Final = b"serving"
DRAINING: Final = b"draining"


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given: its number, two inherited descriptors, and the path of its private socket."""

    slot: int
    listener: int
    lifeline: int
    private: Path

    def __str__(self) -> str:
        return f"{self.slot}:{self.listener}:{self.lifeline}:{self.private}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Return the place that was written as `text`."""
        slot, listener, lifeline, private = text.split(":", 3)
        return cls(int(slot), int(listener), int(lifeline), Path(private))

    @property
    def last_metrics(self) -> Path:
        """Where the worker leaves its metrics when it has ended."""
        return self.private.with_suffix(".metrics")

    def socket(self) -> socket.socket:
        """Return the public socket."""
        return socket.socket(fileno=self.listener)


class Lifeline:
    """A worker's end of the line."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    def tell(self, word: bytes) -> None:
        """Say a word to the parent, if there still is one."""
        with suppress(OSError):
            self._socket.send(word + b"\n")

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call `listener` once the parent has closed the line."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            # The parent never writes: what can be read is the end.
            loop.remove_reader(self._socket)
            listener()

        loop.add_reader(self._socket, ended)
