"""The webhooks floor put together over the real store, on a clock that only the test moves."""

import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from aiohttp.abc import ResolveResult
from prometheus_client import CollectorRegistry

from tenancy.audit import AuditTrail
from tenancy.data_models import Delivery, OutboxEvent, TenantStatus, WebhookEndpoint
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId, WebhookId, new_event_id
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from webhooks.deliveries import Deliveries
from webhooks.delivery import Deliver
from webhooks.endpoints import Endpoints
from webhooks.fanout import FanOut
from webhooks.health import Health
from webhooks.lookup import Destinations
from webhooks.metrics import WebhookMetrics
from webhooks.outbox import moment
from webhooks.room import Room
from webhooks.sender import Sender
from webhooks.ticks import DeliveryTick
from webhooks.urls import UrlRules

PUBLIC = "https://hooks.example.com/in"


async def resolves_to_a_public_address(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    return [found(host, "93.184.216.34", port)]


def found(host: str, address: str, port: int) -> ResolveResult:
    """Return one address as a resolver gives it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=flags)


def refuse(violation: TenantAccessViolation) -> None:
    raise violation


async def put_event(
    stores: TenantStores, tenant_id: TenantId, event_type: str, now: datetime, only: WebhookId | None = None
) -> OutboxEvent:
    """Store an event as the end of a job does."""
    event = OutboxEvent(
        tenant_id=tenant_id,
        event_id=new_event_id(now),
        event_type=event_type,
        payload_json=f'{{"type":"{event_type}","timestamp":"{moment(now)}","data":{{"jobId":"job_1"}}}}',
        webhook_id=only,
        created_at=now,
        next_tick_at=now,
        ttl=int(now.timestamp()) + 86_400,
    )
    await stores.db(tenant_id).put(event)
    return event


class Asked(list[tuple[DeliveryTick, datetime]]):
    """Remembers the ticks it is asked for; a webhooks.ticks.AskDelivery."""

    async def __call__(self, tick: DeliveryTick, *, at: datetime) -> None:
        self.append((tick, at))

    def take(self) -> tuple[DeliveryTick, datetime]:
        """Return the one tick asked for since."""
        [one] = self
        self.clear()
        return one


@dataclass(slots=True)
class Floor:
    """One tenant's webhooks, with every part at hand."""

    tenant_id: TenantId
    stores: TenantStores
    clock: FakeClock
    registry: CollectorRegistry
    endpoints: Endpoints
    deliveries: Deliveries
    fan_out: FanOut
    health: Health
    audit: AuditTrail
    metrics: WebhookMetrics
    another: Callable[[], "Floor"]
    asked: Asked = field(default_factory=Asked)
    allow: set[tuple[str, int]] = field(default_factory=set)
    statuses: dict[TenantId, TenantStatus | None] = field(default_factory=dict)

    async def status_of(self, tenant_id: TenantId) -> TenantStatus | None:
        return self.statuses.get(tenant_id, TenantStatus.ACTIVE)

    def deliver(self, *, deadline_s: float = 60.0) -> Deliver:
        """Return what one worker process runs its ticks with."""
        rng = random.SystemRandom()
        return Deliver(
            self.stores,
            self.endpoints,
            Sender(
                UrlRules(frozenset(self.allow)),
                resolves_to_a_public_address,
                clock=self.clock,
                deadline_s=deadline_s,
            ),
            self.asked,
            status_of=self.status_of,
            room=Room(self.clock, rng),
            health=self.health,
            clock=self.clock,
            metrics=self.metrics,
            rng=rng,
        )

    async def put_event(
        self, event_type: str = "job.succeeded", *, at: datetime | None = None, endpoint: WebhookEndpoint | None = None
    ) -> OutboxEvent:
        """Store an event as the end of a job does."""
        only = None if endpoint is None else endpoint.webhook_id
        return await put_event(self.stores, self.tenant_id, event_type, at or self.clock.now(), only)

    async def delivery(self, tick: DeliveryTick) -> Delivery:
        """Return a delivery as it is stored."""
        key = Delivery.key_to(tick.tenant_id, tick.webhook_id, tick.delivery_id)
        stored = await self.stores.db(tick.tenant_id).get(Delivery, key, consistent=True)
        assert stored is not None
        return stored

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def floor(aws: Aws, clock: FakeClock, tenant_id: Callable[[], TenantId]) -> Floor:
    """Return the webhooks floor for a fresh tenant."""
    return make_floor(aws, clock, tenant_id)


def make_floor(aws: Aws, clock: FakeClock, tenant_id: Callable[[], TenantId]) -> Floor:
    stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=refuse)
    registry, asked, allow = CollectorRegistry(), Asked(), set[tuple[str, int]]()
    metrics, audit = WebhookMetrics(registry), AuditTrail(clock=clock, metrics=registry)
    endpoints = Endpoints(stores, _Destinations(allow), clock=clock)
    return Floor(
        tenant_id=tenant_id(),
        stores=stores,
        clock=clock,
        registry=registry,
        endpoints=endpoints,
        deliveries=Deliveries(stores, endpoints, asked, clock=clock),
        fan_out=FanOut(stores, endpoints, asked, clock=clock, metrics=metrics),
        health=Health(stores, audit, clock=clock, metrics=metrics),
        audit=audit,
        metrics=metrics,
        another=lambda: make_floor(aws, clock, tenant_id),
        asked=asked,
        allow=allow,
    )


class _Destinations(Destinations):
    """Admits by the rules as they stand: receivers of tests get their ports late."""

    def __init__(self, allow: set[tuple[str, int]]) -> None:
        super().__init__(UrlRules(), resolves_to_a_public_address)
        self._allow = allow

    async def admit(self, text: str) -> str:
        return await Destinations(UrlRules(frozenset(self._allow)), resolves_to_a_public_address).admit(text)
