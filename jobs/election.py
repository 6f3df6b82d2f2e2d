"""Decides which process sweeps: a lease on one platform-wide record, renewed by whoever holds it.

No clock is compared with another: who wants the lease watches its record's version, and may take it once that has
not changed for as long as the record says, by the watcher's own clock.
"""

import secrets
from typing import Final, Protocol

from tenancy.clock import Clock
from tenancy.data_models import OpsLock
from tenancy.errors import ConditionFailedError
from tenancy.watched import Watched

LOCK: Final = "sweeper"
LEASE_S: Final = 20


class Locks(Protocol):
    """Platform-wide leases."""

    async def ops_lock(self, name: str) -> OpsLock | None:
        """Return a lease as last written."""
        ...

    async def put_ops_lock(self, lock: OpsLock, *, seen: OpsLock | None) -> None:
        """Write a lease in place of what was seen of it; raises ConditionFailedError where it is another by now."""
        ...


class Election:
    """Decides whether this process is the one that sweeps."""

    def __init__(self, locks: Locks, *, owner: str, clock: Clock) -> None:
        self._locks = locks
        self._owner = owner
        self._watched = Watched(clock)
        self._held: OpsLock | None = None

    async def won(self) -> bool:
        """Renew the lease, or take one that is free or has run out; tell whether this process holds it."""
        lock = await self._locks.ops_lock(LOCK)
        if lock is not None and not self._mine(lock) and self._watched.left_s(lock):
            self._held = None
            return False
        try:
            await self._write(self._owner, lock)
        except ConditionFailedError:
            self._held = None
            return False
        return True

    async def resign(self) -> None:
        """Give the lease back, so that another process need not wait for it to run out."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._write(None, held)

    def _mine(self, lock: OpsLock) -> bool:
        return self._held is not None and lock.record_version == self._held.record_version

    async def _write(self, holder: str | None, seen: OpsLock | None) -> None:
        lock = OpsLock(
            name=LOCK,
            holder=holder,
            record_version=secrets.token_hex(8),
            fence=1 if seen is None else seen.fence + (seen.holder != holder),
            lease_s=LEASE_S,
            reason="sweeps what is owed a tick",
        )
        await self._locks.put_ops_lock(lock, seen=seen)
        self._held = lock if holder is not None else None
