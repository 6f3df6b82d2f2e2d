"""Local copies of slow-moving records, so that a warm request reads no store.

A copy is served as it is while fresh, served while one background load renews it once stale, and never after
`stale_s`. While this process is blind, hearing of no changes, a copy older than BLIND_S is loaded anew before it is
served; only where the store does not answer is the old one served. What was loading when its key was invalidated is
not kept. Size is bounded, absence is remembered briefly.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from tenancy.clock import Clock
from tenancy.errors import StoreUnavailableError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ABSENT_S: Final = 2.0
RETRY_S: Final = 1.0
BLIND_S: Final = 1.5
LOOK_S: Final = 2.0

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Copy(Generic[V]):
    value: V
    sure_until: float
    fresh_until: float
    stale_until: float
    refresh_at: float


class Snapshots(Generic[K, V]):
    """Copies of what `load` returns, by key; None from `load` means that there is no such record.

    `fresh_s` and `stale_s` count from the moment a load ended. `sighted` tells whether word of changes comes in; it is
    asked only for copies older than BLIND_S. `size` bounds the copies, the least recently used
    go first. One loop only; `aclose` ends the loads under way.
    """

    def __init__(
        self,
        load: Callable[[K], Awaitable[V | None]],
        *,
        clock: Clock,
        fresh_s: float,
        stale_s: float,
        size: int,
        sighted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._load = load
        self._monotonic = clock.monotonic
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._absent_s = min(ABSENT_S, fresh_s)
        self._size = size
        self._sighted = sighted
        self._copies: OrderedDict[K, _Copy[V]] = OrderedDict()
        self._absent: OrderedDict[K, float] = OrderedDict()
        # The load whose result will be kept; invalidating a key takes its load out.
        self._loads: dict[K, asyncio.Task[V | None]] = {}
        self._tasks: set[asyncio.Task[V | None]] = set()
        self.hits = self.loads = self.failures = 0

    def peek(self, key: K) -> V | None:
        """Return the copy if it is fresh; None says nothing about the record."""
        copy = self._copies.get(key)
        now = self._monotonic()
        if copy is None or now >= copy.fresh_until or not self._sure(copy, now):
            return None
        self._copies.move_to_end(key)
        self.hits += 1
        return copy.value

    async def get(self, key: K) -> V | None:
        """Return the record, or None where there is none; raises what `load` raises when no copy may be served."""
        now = self._monotonic()
        copy = self._copies.get(key)
        if copy is not None and now < copy.stale_until:
            self._copies.move_to_end(key)
            if not self._sure(copy, now):
                return await self._sighting(key, copy)
            if now >= copy.refresh_at:
                self._loading(key)
            self.hits += 1
            return copy.value
        if now < self._absent.get(key, now):
            self.hits += 1
            return None
        return await asyncio.shield(self._loading(key))

    def invalidate(self, key: K) -> None:
        """Forget the key; the next `get` loads anew, whatever is loading now."""
        self._copies.pop(key, None)
        self._absent.pop(key, None)
        self._loads.pop(key, None)

    def clear(self) -> None:
        """Forget every key."""
        self._copies.clear()
        self._absent.clear()
        self._loads.clear()

    async def aclose(self) -> None:
        """End the loads under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _sure(self, copy: _Copy[V], now: float) -> bool:
        """Tell whether a change of the record would have dropped the copy."""
        return now < copy.sure_until or self._sighted()

    async def _sighting(self, key: K, copy: _Copy[V]) -> V | None:
        """Look for oneself; what the store does not tell in time is served as it was known."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await asyncio.shield(self._loading(key))
        except (StoreUnavailableError, TimeoutError):
            copy.sure_until = self._monotonic() + RETRY_S
            return copy.value

    def _loading(self, key: K) -> asyncio.Task[V | None]:
        task = self._loads.get(key)
        if task is None:
            # A load is shared by all who wait for it, so it runs in nobody's context (scope, trace, log fields).
            task = asyncio.get_running_loop().create_task(self._run(key), context=Context())
            self._loads[key] = task
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._settle(key, done))
        return task

    async def _run(self, key: K) -> V | None:
        self.loads += 1
        return await self._load(key)

    def _settle(self, key: K, task: asyncio.Task[V | None]) -> None:
        self._tasks.discard(task)
        wanted = self._loads.get(key) is task
        if wanted:
            del self._loads[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._note_failure(key, error)
        elif wanted:
            self._keep(key, task.result())

    def _note_failure(self, key: K, error: BaseException) -> None:
        self.failures += 1
        copy = self._copies.get(key)
        if copy is not None:
            copy.refresh_at = self._monotonic() + RETRY_S
        _log.warning("snapshot_load_failed", error=type(error).__name__, serving_stale=copy is not None)

    def _keep(self, key: K, value: V | None) -> None:
        now = self._monotonic()
        if value is None:
            self._copies.pop(key, None)
            _put(self._absent, key, now + self._absent_s, self._size)
        else:
            self._absent.pop(key, None)
            fresh_until = now + self._fresh_s
            copy = _Copy(value, now + BLIND_S, fresh_until, now + self._stale_s, fresh_until)
            _put(self._copies, key, copy, self._size)


T = TypeVar("T")


def _put(entries: "OrderedDict[K, T]", key: K, entry: T, size: int) -> None:
    entries[key] = entry
    entries.move_to_end(key)
    if len(entries) > size:
        entries.popitem(last=False)
