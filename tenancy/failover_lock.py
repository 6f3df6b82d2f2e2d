"""Locks by which operators keep out of each other's way; the region in which agents run is switched under one.

Whoever acquires a lock is given its fence, which only ever rises, and shows it with everything done under the lock.
A holder renews before the lease is over. A lock whose lease has run out may be taken by whoever has watched its
record stay the same for the whole of it; one whose holder is known to be gone can be stolen, with a reason. In both
cases the old fence is worth nothing from then on, however late its holder wakes.
"""

import math
import secrets
from typing import Final, Protocol

from tenancy.clock import Clock
from tenancy.data_models import OpsLock
from tenancy.errors import ConditionFailedError, LockHeldError, LockLostError
from tenancy.watched import Watched

FAILOVER: Final = "failover"
LEASE_S: Final = 30
# How often a holder renews: two tries may fail before the lease is over.
RENEW_S: Final = 10.0


class Locks(Protocol):
    """Platform-wide leases; both raise StoreUnavailableError."""

    async def ops_lock(self, name: str) -> OpsLock | None:
        """Return a lease as last written."""
        ...

    async def put_ops_lock(self, lock: OpsLock, *, seen: OpsLock | None) -> None:
        """Write a lease in place of what was seen of it; raises ConditionFailedError where it is another by now."""
        ...


class OperatorLocks:
    """Acquires, renews, releases and steals locks; everything raises StoreUnavailableError.

    A lock is its holder's only together with its fence: two commands of one operator keep each other out as well.
    """

    def __init__(self, locks: Locks, clock: Clock) -> None:
        self._locks = locks
        self._watched = Watched(clock)

    async def read(self, name: str) -> tuple[OpsLock | None, int]:
        """Return a lock as last written, and for how many seconds it has to stay so until it can be taken."""
        lock = await self._locks.ops_lock(name)
        return lock, 0 if lock is None else math.ceil(self._watched.left_s(lock))

    async def acquire(self, name: str, holder: str, reason: str) -> OpsLock:
        """Take a lock that is free or has run out; raises LockHeldError."""
        seen, left_s = await self.read(name)
        if seen is not None and seen.holder is not None and left_s:
            raise LockHeldError(seen.holder, seen.fence, left_s)
        return await self._taken(name, holder, reason, seen)

    async def steal(self, name: str, holder: str, reason: str) -> OpsLock:
        """Take a lock from whoever holds it; raises LockHeldError where it has changed hands at this very moment."""
        return await self._taken(name, holder, reason, await self._locks.ops_lock(name))

    async def renew(self, name: str, holder: str, fence: int) -> OpsLock:
        """Go on holding a lock for another lease; raises LockLostError."""
        return await self._changed(await self.held(name, holder, fence), holder)

    async def release(self, name: str, holder: str, fence: int) -> OpsLock:
        """Give a lock back; raises LockLostError."""
        return await self._changed(await self.held(name, holder, fence), None)

    async def held(self, name: str, holder: str, fence: int) -> OpsLock:
        """Return a lock that is held by `holder` under `fence`; raises LockLostError."""
        lock = await self._locks.ops_lock(name)
        if lock is None or (lock.holder, lock.fence) != (holder, fence):
            raise LockLostError
        return lock

    async def _taken(self, name: str, holder: str, reason: str, seen: OpsLock | None) -> OpsLock:
        lock = OpsLock(
            name=name,
            holder=holder,
            record_version=secrets.token_hex(8),
            fence=1 if seen is None else seen.fence + 1,
            lease_s=LEASE_S,
            reason=reason,
        )
        stands = await self._written(lock, seen)
        if stands.record_version != lock.record_version:
            raise LockHeldError(stands.holder or "nobody", stands.fence, LEASE_S if stands.holder else 1)
        return lock

    async def _changed(self, seen: OpsLock, holder: str | None) -> OpsLock:
        lock = seen.model_copy(update={"holder": holder, "record_version": secrets.token_hex(8)})
        stands = await self._written(lock, seen)
        if (stands.holder, stands.fence) != (lock.holder, lock.fence):
            raise LockLostError
        return stands

    async def _written(self, lock: OpsLock, seen: OpsLock | None) -> OpsLock:
        """Write a lock and return what stands then: what was refused may be there, its first answer being lost."""
        try:
            await self._locks.put_ops_lock(lock, seen=seen)
        except ConditionFailedError:
            return await self._locks.ops_lock(lock.name) or lock.model_copy(update={"record_version": ""})
        return lock
