"""A budget for repeating calls, so that a runtime in trouble is not given a multiple of its load.

Every first try earns a fifth of a repeat, up to a few in hand: however many calls fail, repeats stay within a fifth
of all calls.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

EARNED: Final = 0.2
IN_HAND: Final = 10.0


class RetryBudget:
    """One process's repeats."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._budget = IN_HAND
        self._repeats = Counter(
            "lockgate_upstream_repeats_total",
            "Calls to AgentCore repeated or not, for want of budget",
            ["outcome"],
            registry=metrics,
        )

    def earn(self) -> None:
        """Count a first try."""
        self._budget = min(IN_HAND, self._budget + EARNED)

    def spend(self) -> bool:
        """Take one repeat out of the budget; False where there is none."""
        affordable = self._budget >= 1
        self._budget -= affordable
        self._repeats.labels("made" if affordable else "refused").inc()
        return affordable
