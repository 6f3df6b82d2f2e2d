"""Units of a limit, taken from Redis some at a time and handed out one by one without a trip.

What is taken is spent in Redis at once, so all processes together never hand out more than the limit. What one holds
unused another cannot have: so batches are small, go back when idle, and a limit of few units is taken unit by unit.
A refusal is remembered for as long as it must hold: a flood of refused callers costs no trip each.
"""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Protocol

from tenancy.clock import Clock
from tenancy.trips import RedisAwayError

# Units not used for this long go back.
IDLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a pool gave: units, how many it has left, and where none came, the seconds until there may be one."""

    units: int
    left: float
    wait_s: float = 0.0


class Pool(Protocol):
    """Where all of a limit's units are."""

    async def ask(self, units: int) -> Grant:
        """Take up to `units`; raises RedisAwayError."""
        ...

    def give(self, units: int) -> None:
        """Put units back with the next trip."""
        ...

    def without(self, units: int) -> Grant:
        """Decide what this process may hand out while Redis is away."""
        ...


class Lease:
    """One limit's units on this process."""

    def __init__(self, pool: Pool, batch: int, clock: Clock) -> None:
        self._pool = pool
        self._batch = batch
        self._monotonic = clock.monotonic
        self._units = 0
        self._left = 0.0
        self._waiting = 0
        self._refused_until_s = self._used_at_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    @property
    def remaining(self) -> int:
        """Units left as far as this process knows: its own, and the pool's when it last asked."""
        return self._units + int(self._left)

    async def take(self) -> float | None:
        """Spend one unit and return None, or return the seconds until it is worth trying again."""
        self._used_at_s = self._monotonic()
        while self._units == 0:
            wait_s = self._refused_until_s - self._monotonic()
            if wait_s > 0:
                return wait_s
            self._waiting += 1
            try:
                await asyncio.shield(self._ask())
            finally:
                self._waiting -= 1
        self._units -= 1
        if self._units * 2 < self._batch > 1:
            # The next batch is fetched before this one is used up, so that nobody waits for it.
            self._ask()
        return None

    def put_back(self) -> None:
        """Take back one unit that was spent for nothing."""
        self._units += 1

    def rest(self, *, now: bool = False) -> bool:
        """Give back what was not used for a while, or `now`; tells whether the lease is idle."""
        idle = now or self._monotonic() - self._used_at_s >= IDLE_S
        if idle and self._units > 0:
            self._pool.give(self._units)
            self._units = 0
        return idle and self._asking is None

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._fetch(), context=Context())
        return self._asking

    async def _fetch(self) -> None:
        try:
            wanted = max(self._waiting, 1) + self._batch - 1
            try:
                grant = await self._pool.ask(wanted)
            except RedisAwayError:
                grant = self._pool.without(wanted)
            self._units += grant.units
            self._left = grant.left
            if grant.units == 0:
                self._refused_until_s = self._monotonic() + grant.wait_s
        finally:
            self._asking = None
