"""Spares a runtime that is down: while its breaker is open, calls fail at once instead of queueing up on it.

One breaker per runtime. Only faults of the runtime itself count (it cannot be reached, or answers 5xx of its own):
what an agent's code does with one tenant's input must not shut the agent for the others. After OPEN_S one call at a
time is let through; the first that is answered closes the breaker.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from agents.errors import RuntimeBrokenError, RuntimeFaultError, RuntimeSparedError, RuntimeUnreachableError
from tenancy.clock import Clock
from tenancy.data_models import region_of

FAULTS_TO_OPEN: Final = 5
OPEN_S: Final = 5.0
_RUNTIMES: Final = 10_000
_COUNTED: Final = (RuntimeUnreachableError, RuntimeBrokenError)

_log = structlog.get_logger("agents.breaker")


@dataclass(slots=True)
class _State:
    faults: int = 0
    retry_at_s: float = 0.0
    probing: bool = False


class Breakers:
    """The breakers of one process, by runtime ARN (which names region and agent) and what is asked of it."""

    def __init__(self, clock: Clock, metrics: CollectorRegistry) -> None:
        self._monotonic = clock.monotonic
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._opened = Counter("lockgate_breaker_opened_total", "Times a runtime's breaker opened", registry=metrics)
        self._spared = Counter("lockgate_breaker_spared_total", "Calls refused by an open breaker", registry=metrics)

    @contextmanager
    def watching(self, runtime: str) -> Iterator[None]:
        """Make a call to the runtime in the block; raises RuntimeSparedError where its breaker is open."""
        state = self._states.get(runtime)
        probing = state is not None and self._admit(state)
        try:
            yield
        except _COUNTED as fault:
            self._count(runtime, fault)
            raise
        except RuntimeFaultError:
            self._close(runtime)
            raise
        else:
            self._close(runtime)
        finally:
            if probing and state is not None:
                state.probing = False

    def forget(self, serving: str) -> None:
        """Forget the runtimes of every region but the one that serves now: hardly anything calls them any more."""
        for runtime in [runtime for runtime in self._states if region_of(runtime) != serving]:
            del self._states[runtime]

    async def check(self) -> None:
        """Raise RuntimeSparedError while a runtime that was called has not answered again."""
        if any(state.faults >= FAULTS_TO_OPEN for state in self._states.values()):
            raise RuntimeSparedError

    def _admit(self, state: _State) -> bool:
        """Tell whether the call is the one that tries an open breaker."""
        if state.faults < FAULTS_TO_OPEN:
            return False
        if state.probing or self._monotonic() < state.retry_at_s:
            self._spared.inc()
            raise RuntimeSparedError
        state.probing = True
        return True

    def _count(self, runtime: str, fault: RuntimeFaultError) -> None:
        state = self._states.setdefault(runtime, _State())
        self._states.move_to_end(runtime)
        state.faults += 1
        if state.faults >= FAULTS_TO_OPEN:
            state.retry_at_s = self._monotonic() + OPEN_S
        if state.faults == FAULTS_TO_OPEN:
            self._opened.inc()
            _log.warning("runtime_spared", runtime=runtime, code=fault.code)
        if len(self._states) > _RUNTIMES:
            self._states.popitem(last=False)

    def _close(self, runtime: str) -> None:
        state = self._states.pop(runtime, None)
        if state is not None and state.faults >= FAULTS_TO_OPEN:
            _log.info("runtime_back", runtime=runtime)
