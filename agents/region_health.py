"""How each region has answered lately, as this process saw it: it suggests a failover, an operator decides on it.

What counts against a region is its own: it cannot be reached, answers errors of its own, goes silent, or is being
spared for one of these. What an agent does wrong does not.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter

from agents.errors import (
    RuntimeBrokenError,
    RuntimeFaultError,
    RuntimeSparedError,
    RuntimeTimeoutError,
    RuntimeUnreachableError,
)
from tenancy.clock import Clock
from tenancy.data_models import ProcessLease

WINDOW_S: Final = 60.0
# Fewer calls say nothing about a region.
_ENOUGH_CALLS: Final = 20
_PART_S: Final = 5.0
REGION_FAULTS: Final = (RuntimeUnreachableError, RuntimeSparedError, RuntimeTimeoutError, RuntimeBrokenError)


@dataclass(slots=True)
class _Part:
    began_s: float
    calls: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Lately:
    """How many calls went to a region within WINDOW_S, and how many of them it failed."""

    calls: int
    faults: int

    @classmethod
    def of(cls, leases: Iterable[ProcessLease]) -> Self:
        """Add up what processes say of the region they serve."""
        leases = tuple(leases)
        return cls(sum(lease.calls for lease in leases), sum(lease.faults for lease in leases))

    @property
    def failing(self) -> bool:
        """Whether the region failed half of the calls, and there were enough of them to tell."""
        return self.calls >= _ENOUGH_CALLS and 2 * self.faults >= self.calls


class RegionHealth:
    """Counts by region, for metrics and over a window."""

    def __init__(self, clock: Clock, metrics: CollectorRegistry) -> None:
        self._monotonic = clock.monotonic
        self._parts: dict[str, deque[_Part]] = {}
        self._calls = Counter("lockgate_region_calls_total", "Calls to AgentCore", ["region"], registry=metrics)
        self._faults = Counter(
            "lockgate_region_faults_total", "Calls that a region failed", ["region"], registry=metrics
        )

    def answered(self, region: str) -> None:
        """Count a call that the region carried, whatever the agent made of it."""
        self._part(region).calls += 1
        self._calls.labels(region).inc()

    def failed(self, region: str, fault: RuntimeFaultError) -> None:
        """Count a call that came to nothing."""
        self.answered(region)
        if isinstance(fault, REGION_FAULTS):
            self._part(region).faults += 1
            self._faults.labels(region).inc()

    def anew(self, region: str) -> None:
        """Look back no further than now: the region serves again, and what it failed before is why it did not."""
        self._parts.pop(region, None)

    def lately(self, region: str) -> Lately:
        """Return what was counted within WINDOW_S."""
        oldest_s = self._monotonic() - WINDOW_S
        parts = [part for part in self._parts.get(region, ()) if part.began_s > oldest_s]
        return Lately(sum(part.calls for part in parts), sum(part.faults for part in parts))

    def _part(self, region: str) -> _Part:
        parts = self._parts.get(region)
        if parts is None:
            parts = self._parts[region] = deque(maxlen=int(WINDOW_S / _PART_S))
        now_s = self._monotonic()
        if not parts or now_s - parts[-1].began_s >= _PART_S:
            parts.append(_Part(now_s))
        return parts[-1]
