"""Following a job's events as they are written: one look at the store a second per job, however many follow it.

Events come in their order, without a gap, until the one that ends the job. A follower that begins in the past reads
that by itself and then waits with the others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Final, Protocol

from tenancy.clock import Clock
from tenancy.data_models import JobEvent
from tenancy.errors import StoreUnavailableError
from tenancy.ids import JobId, TenantId
from tenancy.steps import Page

LOOK_EVERY_S: Final = 1.0
# How many events one look or one reading of the past takes, and how many are kept for who waits.
PAGE: Final = 100


class Events(Protocol):
    """Where a job's events are read."""

    async def events(self, tenant_id: TenantId, job_id: JobId, *, after: int, limit: int) -> Page[JobEvent]:
        """Return up to `limit` of a job's events, in order, those after number `after`."""
        ...


def ends(event: JobEvent) -> bool:
    """Tell whether nothing follows an event."""
    return event.type in {"job.succeeded", "job.failed", "job.cancelled", "job.expired"}


class Followers:
    """All who follow a job on this process."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._tails: dict[tuple[TenantId, JobId], _Tail] = {}

    def __len__(self) -> int:
        """How many jobs are followed."""
        return len(self._tails)

    async def follow(
        self, tenant_id: TenantId, job_id: JobId, after: int
    ) -> AsyncGenerator[tuple[JobEvent, ...], None]:
        """Yield the events after a number as they come, some at a time, until the job has ended.

        A store that is away is asked again. Close it: it holds a place among the followers.
        """
        key = (tenant_id, job_id)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = _Tail(partial(self._page, tenant_id, job_id), self._clock)
        tail.followers += 1
        try:
            while True:
                events = await tail.after(after)
                if events:
                    yield events
                    after = events[-1].seq
                    if ends(events[-1]):
                        return
        finally:
            tail.followers -= 1
            if tail.followers == 0:
                del self._tails[key]
                tail.close()

    async def _page(self, tenant_id: TenantId, job_id: JobId, after: int) -> tuple[JobEvent, ...]:
        return (await self._events.events(tenant_id, job_id, after=after, limit=PAGE)).items


class _Tail:
    """The newest events of one job, and the look that finds more of them."""

    def __init__(self, read: Callable[[int], Awaitable[tuple[JobEvent, ...]]], clock: Clock) -> None:
        self.followers = 0
        self._read = read
        self._clock = clock
        self._recent: deque[JobEvent] = deque(maxlen=PAGE)
        # The last number anybody has come to; -1 before anybody has.
        self._seen = -1
        self._grown = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def after(self, number: int) -> tuple[JobEvent, ...]:
        """Return some of the events after a number once there are any; nothing where the store is away."""
        if number > self._seen:
            await self._begin(number)
        while number >= self._seen:
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look(), context=Context())
            await self._grown.wait()
        if self._recent and self._recent[0].seq <= number + 1:
            return tuple(event for event in self._recent if event.seq > number)
        with suppress(StoreUnavailableError):
            return await self._page(number)
        await self._clock.sleep(LOOK_EVERY_S)
        return ()

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _begin(self, number: int) -> None:
        """Look from a number on, which nobody has come to before."""
        events: tuple[JobEvent, ...] = ()
        with suppress(StoreUnavailableError):
            events = await self._page(number)
        if number > self._seen:
            self._recent.clear()
            self._seen = number
        self._add(events)

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            with suppress(StoreUnavailableError):
                self._add(await self._page(self._seen))

    async def _page(self, number: int) -> tuple[JobEvent, ...]:
        events = await self._read(number)
        # Nothing behind a gap: what is missing has been written before, and the next look finds it.
        return tuple(event for expected, event in enumerate(events, number + 1) if event.seq == expected)

    def _add(self, events: tuple[JobEvent, ...]) -> None:
        new = [event for event in events if event.seq > self._seen]
        if new:
            self._recent.extend(new)
            self._seen = new[-1].seq
            self._grown.set()
            self._grown = asyncio.Event()
