"""The webhooks floor of a process, built once: what the API asks of it, and what a worker runs."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from ops.settings import Settings
from tenancy.audit import AuditTrail
from tenancy.clock import Clock
from tenancy.store import TenantStores
from webhooks.deliveries import Deliveries
from webhooks.delivery import Deliver, StatusOf
from webhooks.endpoints import Endpoints
from webhooks.fanout import FanOut
from webhooks.health import Health
from webhooks.lookup import Destinations, Lookup
from webhooks.metrics import WebhookMetrics
from webhooks.room import Room
from webhooks.sender import Sender
from webhooks.ticks import AskDelivery
from webhooks.urls import UrlRules, parse_allow


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What is done with webhooks, by either kind of process; `deliver` makes what a worker attempts them with."""

    endpoints: Endpoints
    deliveries: Deliveries
    fan_out: FanOut
    deliver: Callable[[StatusOf], Deliver]


@contextmanager
def webhooks(
    settings: Settings,
    stores: TenantStores,
    audit: AuditTrail,
    ask: AskDelivery,
    *,
    clock: Clock,
    registry: CollectorRegistry,
) -> Iterator[Webhooks]:
    """Build the floor, and close it when left."""
    rules, lookup, metrics, rng = (
        UrlRules(parse_allow(settings.webhook_allow)),
        Lookup(),
        WebhookMetrics(registry),
        random.SystemRandom(),
    )
    endpoints = Endpoints(stores, Destinations(rules, lookup), clock=clock)

    def deliver(status_of: StatusOf) -> Deliver:
        return Deliver(
            stores,
            endpoints,
            Sender(rules, lookup, clock=clock),
            ask,
            status_of=status_of,
            room=Room(clock, rng),
            health=Health(stores, audit, clock=clock, metrics=metrics),
            clock=clock,
            metrics=metrics,
            rng=rng,
        )

    try:
        yield Webhooks(
            endpoints=endpoints,
            deliveries=Deliveries(stores, endpoints, ask, clock=clock),
            fan_out=FanOut(stores, endpoints, ask, clock=clock, metrics=metrics),
            deliver=deliver,
        )
    finally:
        lookup.close()
