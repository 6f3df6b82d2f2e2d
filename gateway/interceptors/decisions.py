"""What interceptors decided: a counter, and a line for each; neither ever holds what was judged."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import structlog
from prometheus_client import CollectorRegistry, Counter

from tenancy.ids import TenantId

_log = structlog.get_logger("gateway.interceptors")


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
            "lockgate_interceptor_decisions_total",
            "Decisions of interceptors.",
            ("interceptor", "outcome"),
            registry=metrics,
        )

    def __call__(self, decision: Decision) -> None:
        """Count one."""
        self._decisions.labels(decision.interceptor, decision.outcome).inc()


class Decisions:
    """Tells every decision: one line, one count."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._count = DecisionCounter(metrics)

    def about(self, tenant_id: TenantId, agent: str, subject: str) -> OnDecision:
        """Return who tells decisions on what passes for an invocation or a job."""

        def tell(decision: Decision) -> None:
            self._count(decision)
            _log.info(
                "interceptor",
                interceptor=decision.interceptor,
                outcome=decision.outcome.value,
                reason=decision.reason,
                matches=decision.matches,
                tenant=tenant_id,
                agent=agent,
                about=subject,
            )

        return tell
