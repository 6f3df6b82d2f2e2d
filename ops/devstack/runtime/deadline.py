"""A time limit on the injected clock, which can be moved or ended early from outside.

`asyncio.timeout` does the interrupting, so cancellation from elsewhere keeps its meaning; only the time comes from
the Clock.
"""

import asyncio
from types import TracebackType
from typing import Self

from tenancy.clock import Clock

_AT_ONCE = 0.0  # on the loop's own clock, which is always later


class Deadline:
    """Interrupts its body with TimeoutError when the time is up, or when `cut` is called first."""

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.Task[None] | None = None
        self.was_cut = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self.restart(self._limit_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._timeout.__aexit__(kind, error, trace)

    def restart(self, limit_s: float) -> None:
        """Count this many seconds from now instead."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().create_task(self._expire(limit_s))

    def cut(self) -> None:
        """Interrupt the body now; without effect once it has ended."""
        if self._timer is not None and not self._timeout.expired():
            self.was_cut = True
            self._timeout.reschedule(_AT_ONCE)

    async def _expire(self, limit_s: float) -> None:
        await self._clock.sleep(limit_s)
        self._timeout.reschedule(_AT_ONCE)
