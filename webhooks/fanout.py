"""Makes of one stored event a delivery for each endpoint that wants it.

May be run any number of times: a delivery's id follows from event and endpoint, and one that is there is left alone.
The event is settled only once every delivery is stored.
"""

from contextlib import suppress

import structlog
from boto3.dynamodb.conditions import Attr
from pydantic import JsonValue

from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import OutboxEvent, WebhookEndpoint
from tenancy.errors import ConditionFailedError
from tenancy.ids import EventId, TenantId
from tenancy.steps import NEW, CheckStep, PutStep
from tenancy.store import TenantStores
from webhooks.deliveries import delivery_of, tick_of
from webhooks.endpoints import Endpoints
from webhooks.metrics import WebhookMetrics
from webhooks.ticks import AskDelivery

_SETTLED: dict[str, JsonValue] = {
    "next_tick_at": None,
    tables.SWEEP_INDEX.partition_key: None,
    tables.SWEEP_INDEX.sort_key: None,
}


_log = structlog.get_logger("webhooks.fanout")


class FanOut:
    """Hands events to endpoints; a webhooks.ticks.RunOutbox."""

    def __init__(
        self, stores: TenantStores, endpoints: Endpoints, ask: AskDelivery, *, clock: Clock, metrics: WebhookMetrics
    ) -> None:
        self._stores = stores
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, tenant_id: TenantId, event_id: EventId) -> None:
        """Store the event's deliveries and ask for their first attempts; raises StoreUnavailableError."""
        key = OutboxEvent.key_of(tenant_id, event_id)
        event = await self._stores.db(tenant_id).get(OutboxEvent, key, consistent=True)
        if event is None or event.next_tick_at is None:
            return
        wanted = [endpoint for endpoint in await self._endpoints.all(tenant_id) if _wants(endpoint, event)]
        for endpoint in wanted:
            await self._hand(event, endpoint)
        # Gone meanwhile: its time was over.
        with suppress(ConditionFailedError):
            await self._stores.db(tenant_id).update(OutboxEvent, key, _SETTLED)
        _log.info(
            "webhook.fanned_out", tenant=tenant_id, event_id=event_id, type=event.event_type, endpoints=len(wanted)
        )

    async def _hand(self, event: OutboxEvent, endpoint: WebhookEndpoint) -> None:
        now = self._clock.now()
        delivery = delivery_of(event, endpoint, now)
        # Only while there is an event: who was held up for long must not bring back what was erased meanwhile.
        still_there = CheckStep(OutboxEvent, event.key(), Attr(tables.PARTITION_KEY).exists())
        # One that is there already may be one whose tick was never asked for: a tick too many changes nothing.
        with suppress(ConditionFailedError):
            await self._stores.db(event.tenant_id).transact([PutStep(delivery, NEW), still_there])
            self._metrics.deliveries.inc()
        if delivery.status == "pending":
            await self._ask(tick_of(delivery), at=now)


def _wants(endpoint: WebhookEndpoint, event: OutboxEvent) -> bool:
    if event.webhook_id is not None:
        return endpoint.webhook_id == event.webhook_id
    return not endpoint.events or event.event_type in endpoint.events
