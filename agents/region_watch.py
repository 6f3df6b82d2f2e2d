"""Follows the flag that says which region serves: told of changes, and looking by itself where telling may fail.

While the store is away the last region known goes on serving; a process that has never read the flag is not ready.
"""

import asyncio
from typing import Final, Protocol

import structlog

from agents.regions import Regions
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import RegionFlag
from tenancy.errors import StoreUnavailableError
from tenancy.region_flag import KIND

# Every process follows a switch within this and one read, whatever becomes of the word of it.
POLL_S: Final = 2.0
# A read that hangs must not hold up the next.
PATIENCE_S: Final = 2.0

_log = structlog.get_logger("agents.region_watch")


class Flag(Protocol):
    """Where the flag is."""

    async def region_flag(self) -> RegionFlag | None:
        """Return it as last written, None where nobody has ever switched; raises StoreUnavailableError."""
        ...


class RegionUnknownError(Exception):
    """The process has not learnt yet which region serves."""


class RegionWatch:
    """Keeps a process's regions true while `run` runs."""

    def __init__(self, flag: Flag, regions: Regions, changes: ChangeFeed, *, clock: Clock) -> None:
        self._flag = flag
        self._regions = regions
        self._clock = clock
        self._doubt = asyncio.Event()
        self._fence = -1
        changes.on(KIND, lambda _: self._doubt.set())
        changes.on_gap(self._doubt.set)

    async def ready(self) -> None:
        """Raise RegionUnknownError until the flag was read once."""
        if self._fence < 0:
            raise RegionUnknownError

    async def run(self) -> None:
        """Look at once, at every word of a change, and every POLL_S, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remind())
            group.create_task(self._follow())

    async def _remind(self) -> None:
        while True:
            self._doubt.set()
            await self._clock.sleep(POLL_S)

    async def _follow(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    self._learn(await self._flag.region_flag())
            except (StoreUnavailableError, TimeoutError):
                _log.warning("region_not_read", serving=self._regions.serving)
            except Exception:
                # The boundary of one look: without a next one the process would never switch again.
                _log.exception("region_not_read", serving=self._regions.serving)

    def _learn(self, flag: RegionFlag | None) -> None:
        region, fence = (self._regions.home.region, 0) if flag is None else (flag.region, flag.fence)
        # Two looks may overtake one another.
        if fence >= self._fence:
            self._fence = fence
            self._regions.switch(region)
