"""Which region's AgentCore serves: one flag, written only by who holds the failover lock under the newest fence.

Whoever acquires the lock first puts its fence on the flag. From then on the store itself refuses what the holder
before it still writes, so that nothing depends on when that one wakes.
"""

import secrets
from typing import Final, Protocol

from tenancy.clock import Clock
from tenancy.data_models import OpsLock, RegionFlag
from tenancy.errors import ConditionFailedError, LockLostError

# What changes are announced as.
KIND: Final = "region"
_INITIALLY: Final = "nobody has switched yet"


class Flags(Protocol):
    """The flag; both raise StoreUnavailableError."""

    async def region_flag(self) -> RegionFlag | None:
        """Return it as last written."""
        ...

    async def put_region_flag(self, flag: RegionFlag, *, seen: RegionFlag | None) -> None:
        """Write it in place of what was seen of it; raises ConditionFailedError also for a fence that is too low."""
        ...


class RegionSwitch:
    """Switches between regions; `home` serves while nobody has ever switched."""

    def __init__(self, flags: Flags, clock: Clock, *, home: str) -> None:
        self._flags = flags
        self._clock = clock
        self.home = home

    async def read(self) -> RegionFlag | None:
        """Return the flag as last written."""
        return await self._flags.region_flag()

    async def guard(self, lock: OpsLock) -> None:
        """Shut out who held the failover lock before; raises LockLostError where `lock` has been taken over itself."""
        await self._write(lock.fence, {})

    async def switch(self, region: str, lock: OpsLock, *, by: str, reason: str) -> RegionFlag:
        """Have `region` serve from now on; raises LockLostError for a holder that is not the newest any more."""
        said = {"region": region, "changed_by": by, "reason": reason, "changed_at": self._clock.now()}
        return await self._write(lock.fence, said)

    async def _write(self, fence: int, said: dict[str, object]) -> RegionFlag:
        version = secrets.token_hex(8)
        while True:
            seen = await self._flags.region_flag()
            if seen is not None and seen.record_version == version:
                # It was written, though the first answer was lost.
                return seen
            if seen is not None and seen.fence > fence:
                raise LockLostError
            flag = (seen or self._initial()).model_copy(update={**said, "fence": fence, "record_version": version})
            try:
                await self._flags.put_region_flag(flag, seen=seen)
            except ConditionFailedError:
                continue
            return flag

    def _initial(self) -> RegionFlag:
        return RegionFlag(
            region=self.home,
            fence=0,
            record_version="",
            changed_by="platform",
            reason=_INITIALLY,
            changed_at=self._clock.now(),
        )
