"""Locks and the region's flag in memory: conditional as the store's, and unheard where a test wants it."""

import asyncio

from tenancy.data_models import OpsLock, RegionFlag
from tenancy.errors import ConditionFailedError, StoreUnavailableError


class MemoryFlags:
    """Keeps locks and the flag; `unheard` writes are done twice, as by a client that missed the first answer."""

    def __init__(self) -> None:
        self.locks: dict[str, OpsLock] = {}
        self.flag: RegionFlag | None = None
        self.unheard = 0
        self.away = False

    async def ops_lock(self, name: str) -> OpsLock | None:
        await self._answer()
        return self.locks.get(name)

    async def put_ops_lock(self, lock: OpsLock, *, seen: OpsLock | None) -> None:
        await self._answer()
        for _ in range(self._times()):
            stands = self.locks.get(lock.name)
            if (stands and stands.record_version) != (seen and seen.record_version):
                raise ConditionFailedError
            self.locks[lock.name] = lock

    async def region_flag(self) -> RegionFlag | None:
        await self._answer()
        return self.flag

    async def put_region_flag(self, flag: RegionFlag, *, seen: RegionFlag | None) -> None:
        await self._answer()
        for _ in range(self._times()):
            stands = self.flag
            if (stands and stands.record_version) != (seen and seen.record_version):
                raise ConditionFailedError
            if stands is not None and stands.fence > flag.fence:
                raise ConditionFailedError
            self.flag = flag

    async def _answer(self) -> None:
        # Who asks meanwhile has seen the same.
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError

    def _times(self) -> int:
        if not self.unheard:
            return 1
        self.unheard -= 1
        return 2
