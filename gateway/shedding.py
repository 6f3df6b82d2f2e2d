"""When a process has more to do than it can: new requests are turned away before any work is done for them.

Two signs count: more requests open than the process may hold, or an event loop that comes round late twice in a
row. One late round alone is a pause, not an overload.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from tenancy.clock import Clock

SAMPLE_S: Final = 0.1
# What an operator or a load balancer asks while a process is overloaded.
EXEMPT: Final = frozenset({"/v1/health"})


class Overload:
    """Counts open requests and measures how late the event loop is."""

    def __init__(self, *, requests: int, lag_s: float, clock: Clock, metrics: CollectorRegistry) -> None:
        self._requests = requests
        self._limit_s = lag_s
        self._clock = clock
        self._open = 0
        self._last_s = 0.0
        self._lag_s = 0.0
        Gauge("lockgate_requests_in_flight", "Requests being answered", registry=metrics).set_function(
            lambda: self._open
        )
        Gauge("lockgate_loop_lag_seconds", "How late the event loop is", registry=metrics).set_function(
            lambda: self._lag_s
        )

    def over(self) -> bool:
        """Tell whether one more request is one too many."""
        return self._open >= self._requests or self._lag_s > self._limit_s

    def begun(self) -> None:
        """Count a request in; its end is told by `ended`."""
        self._open += 1

    def ended(self) -> None:
        """Count a request out."""
        self._open -= 1

    def observe(self, lag_s: float) -> None:
        """Take note of how late the event loop came round."""
        self._lag_s, self._last_s = min(lag_s, self._last_s), lag_s

    async def watch(self) -> None:
        """Measure the event loop until cancelled."""
        while True:
            asleep_s = self._clock.monotonic()
            await self._clock.sleep(SAMPLE_S)
            self.observe(self._clock.monotonic() - asleep_s - SAMPLE_S)
