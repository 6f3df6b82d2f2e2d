"""The one place that reads the time, so that tests can move it.

Every other module takes a Clock; reading the time directly is refused by lint.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations, and sleeping."""

    def now(self) -> datetime:
        """Return the current time, UTC-aware."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the current time, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Return after this many seconds of the machine's clock: for programs without an event loop.

    Ctrl-C ends it at once, and leaves nothing half torn down as it may where a loop is run only to wait.
    """
    time.sleep(seconds)
