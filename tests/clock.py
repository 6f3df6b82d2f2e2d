"""A clock that tests move: time passes only where `advance` says so."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A tenancy.clock.Clock standing at `start` until moved."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._fell_asleep = asyncio.Event()

    def now(self) -> datetime:
        """Return the time the clock stands at."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Return the seconds moved so far."""
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        """Wake when the clock has been moved this far; a sleep of nothing only yields once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), woken))
        self._fell_asleep.set()
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def until_sleeping(self, count: int = 1) -> None:
        """Return once at least `count` tasks sleep on this clock."""
        while self.sleepers < count:
            self._fell_asleep.clear()
            await self._fell_asleep.wait()

    async def advance(self, seconds: float) -> None:
        """Move the clock, waking each sleeper at its own moment and letting it run before time moves on.

        A sleeper that goes back to sleep within the span wakes again.
        """
        target = self._elapsed_s + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, due)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._elapsed_s = target
        await settle()

    async def run(self) -> None:
        """Move on whenever a task sleeps, until cancelled: for tests that only care that time passes."""
        while True:
            await self.until_sleeping()
            await self.advance(1)


async def settle(turns: int = 20) -> None:
    """Let every task run that needs no I/O to go on."""
    for _ in range(turns):
        await asyncio.sleep(0)
