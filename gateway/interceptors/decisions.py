"""What interceptors decided: a counter, and a line for each; neither ever holds what was judged."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter


class Outcome(StrEnum):
    """How an interceptor left what it judged."""

    PASSED = "passed"
    CHANGED = "changed"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """One interceptor's word on one input or answer; `reason` is a code or a kind, `matches` how many were replaced."""

    interceptor: str
    outcome: Outcome
    reason: str | None = None
    matches: int = 0


OnDecision: TypeAlias = Callable[[Decision], None]
"""Writes a decision's line, with the ids of the invocation it belongs to."""


class DecisionCounter:
    """Counts decisions by interceptor and outcome."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._decisions = Counter(
            "lockgate_interceptor_decisions",
            "Decisions of interceptors.",
            ("interceptor", "outcome"),
            registry=metrics,
        )

    def __call__(self, decision: Decision) -> None:
        """Count one."""
        self._decisions.labels(decision.interceptor, decision.outcome).inc()
