"""Who may try a delivery now: so many at once for an endpoint and for a tenant, and none that is being spared.

One process's own bookkeeping. Nobody waits here: what finds no room is told when to come again, so that a receiver
that hangs holds up its own deliveries and nobody else's.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from tenancy.clock import Clock
from tenancy.ids import TenantId, WebhookId

PER_ENDPOINT: Final = 5
PER_TENANT: Final = 20
PUT_OFF_S: Final = 1.0
# Failures in a row, of any of an endpoint's deliveries, that open its breaker; then one try at a time.
FAILURES_TO_OPEN: Final = 5
OPEN_S: Final = 30.0
_ENDPOINTS: Final = 10_000

K = TypeVar("K", WebhookId, TenantId)


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    spared_until_s: float = 0.0


class Room:
    """The room of one process."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._monotonic = clock.monotonic
        self._rng = rng
        self._endpoints: Counter[WebhookId] = Counter()
        self._tenants: Counter[TenantId] = Counter()
        self._breakers: OrderedDict[WebhookId, _Breaker] = OrderedDict()

    def pause_s(self, tenant_id: TenantId, webhook_id: WebhookId) -> float:
        """Return the seconds after which to ask again; 0 where there is room now."""
        if breaker := self._breakers.get(webhook_id):
            left_s = breaker.spared_until_s - self._monotonic()
            if left_s > 0:
                return left_s * self._rng.uniform(1.0, 1.2)
            if breaker.failures >= FAILURES_TO_OPEN and self._endpoints[webhook_id]:
                return self._put_off_s()
        full = self._endpoints[webhook_id] >= PER_ENDPOINT or self._tenants[tenant_id] >= PER_TENANT
        return self._put_off_s() if full else 0.0

    @contextmanager
    def taken(self, tenant_id: TenantId, webhook_id: WebhookId) -> Iterator[None]:
        """Hold room for one attempt."""
        self._endpoints[webhook_id] += 1
        self._tenants[tenant_id] += 1
        try:
            yield
        finally:
            _give_back(self._endpoints, webhook_id)
            _give_back(self._tenants, tenant_id)

    def succeeded(self, webhook_id: WebhookId) -> None:
        """Close the endpoint's breaker."""
        self._breakers.pop(webhook_id, None)

    def failed(self, webhook_id: WebhookId, *, spare_s: float = 0.0) -> None:
        """Count a failure; `spare_s` is what the receiver itself asks for."""
        breaker = self._breakers.setdefault(webhook_id, _Breaker())
        self._breakers.move_to_end(webhook_id)
        breaker.failures += 1
        if breaker.failures >= FAILURES_TO_OPEN:
            spare_s = max(spare_s, OPEN_S)
        breaker.spared_until_s = max(breaker.spared_until_s, self._monotonic() + spare_s)
        if len(self._breakers) > _ENDPOINTS:
            self._breakers.popitem(last=False)

    def _put_off_s(self) -> float:
        # Spread over a whole second: what comes back evenly keeps an endpoint's few places in use.
        return PUT_OFF_S * self._rng.uniform(0.5, 1.5)


def _give_back(held: Counter[K], key: K) -> None:
    held[key] -= 1
    if not held[key]:
        del held[key]
