"""Tells when somebody else's lease has run out without comparing clocks.

A lease has run out once its record has not changed for as long as it says, by the watcher's own clock. What the
watcher has not looked at yet has only just been seen.
"""

from dataclasses import dataclass

from tenancy.clock import Clock
from tenancy.data_models import OpsLock


@dataclass(frozen=True, slots=True)
class _Seen:
    version: str
    at_s: float


class Watched:
    """What one watcher has seen of leases, by name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def left_s(self, lock: OpsLock) -> float:
        """Return for how long a lease, as just read, has to stay unchanged from now on; 0 where it has run out."""
        if lock.holder is None:
            return 0.0
        now_s, seen = self._clock.monotonic(), self._seen.get(lock.name)
        if seen is None or seen.version != lock.record_version:
            seen = self._seen[lock.name] = _Seen(lock.record_version, now_s)
        return max(0.0, seen.at_s + lock.lease_s - now_s)
