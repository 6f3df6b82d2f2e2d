"""The delivery log of a tenant's webhooks, and sending again by hand.

A delivery is one event for one endpoint; its id follows from both, so there can be one only. Sending again begins
its schedule anew under a higher fence: a tick that was asked for before then finds nothing to do.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, TypeAlias

from boto3.dynamodb.conditions import Attr
from pydantic import JsonValue

from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import Delivery, OutboxEvent, WebhookEndpoint
from tenancy.errors import ConditionFailedError
from tenancy.ids import DeliveryId, TenantId, WebhookId, delivery_id_of, new_event_id
from tenancy.paging import filtered
from tenancy.steps import Page
from tenancy.store import TenantStores
from webhooks.endpoints import Endpoints
from webhooks.errors import DeliveryUnknownError, EndpointInactiveError
from webhooks.events import TEST, payload_of_test
from webhooks.ticks import AskDelivery, DeliveryTick

KEPT: Final = timedelta(days=30)
# Deliveries sent again by one call; where there are more, the answer says where to go on.
RECOVER_LIMIT: Final = 1_000
_PAGE: Final = 100

DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many deliveries are sent again; `rest_since_at` is where to go on if that was not all."""

    count: int
    rest_since_at: datetime | None


class Deliveries:
    """The deliveries of any tenant, each reached through that tenant's own door."""

    def __init__(self, stores: TenantStores, endpoints: Endpoints, ask: AskDelivery, *, clock: Clock) -> None:
        self._stores = stores
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock

    async def get(self, tenant_id: TenantId, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Return one delivery of a webhook; raises EndpointUnknownError, DeliveryUnknownError."""
        await self._endpoints.get(tenant_id, webhook_id)
        return await self._get(tenant_id, webhook_id, delivery_id)

    async def list(
        self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        *,
        limit: int,
        after: str | None = None,
        status: DeliveryStatus | None = None,
    ) -> Page[Delivery]:
        """Return up to `limit` deliveries, the newest event first; a filtered page may hold fewer though more follow.

        Raises EndpointUnknownError.
        """
        await self._endpoints.get(tenant_id, webhook_id)
        if status is None:
            return await self._page(tenant_id, webhook_id, limit, after)
        read = partial(self._page, tenant_id, webhook_id)
        return await filtered(read, lambda delivery: delivery.status == status, limit, after)

    async def send_test(self, tenant_id: TenantId, webhook_id: WebhookId) -> Delivery:
        """Send a `webhook.test` event, whatever the webhook's filter.

        Raises EndpointUnknownError, EndpointInactiveError.
        """
        endpoint = await self._active(tenant_id, webhook_id)
        now = self._clock.now()
        event = OutboxEvent(
            tenant_id=tenant_id,
            event_id=new_event_id(now),
            event_type=TEST,
            payload_json=payload_of_test(webhook_id, now),
            webhook_id=webhook_id,
            created_at=now,
            ttl=int((now + KEPT).timestamp()),
        )
        # A delivery is as durable as an event: this one needs no outbox to come from.
        delivery = delivery_of(event, endpoint, now)
        await self._stores.db(tenant_id).put(delivery)
        await self._ask(tick_of(delivery), at=now)
        return delivery

    async def redeliver(self, tenant_id: TenantId, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Send one delivery again now, whatever came of it, and return it; one under way stays as it is.

        Raises EndpointUnknownError, EndpointInactiveError, DeliveryUnknownError.
        """
        await self._active(tenant_id, webhook_id)
        return await self._again(await self._get(tenant_id, webhook_id, delivery_id))

    async def recover(
        self, tenant_id: TenantId, webhook_id: WebhookId, *, since: datetime, until: datetime | None = None
    ) -> Recovered:
        """Send every failed delivery of an event from `since` to before `until` again, the oldest first.

        Raises EndpointUnknownError, EndpointInactiveError.
        """
        await self._active(tenant_id, webhook_id)
        end, count, after = until or self._clock.now(), 0, None
        while True:
            page = await self._page(tenant_id, webhook_id, _PAGE, after, newest_first=False)
            for delivery in page.items:
                if delivery.created_at >= end:
                    return Recovered(count, None)
                if delivery.status != "failed" or delivery.created_at < since:
                    continue
                if count == RECOVER_LIMIT:
                    return Recovered(count, delivery.created_at)
                await self._again(delivery)
                count += 1
            after = page.after
            if after is None:
                return Recovered(count, None)

    async def _again(self, delivery: Delivery) -> Delivery:
        now = self._clock.now()
        if is_held(delivery, now):
            return delivery
        again = delivery.model_copy(
            update={"status": "pending", "scheduled_attempts": 0, "next_attempt_at": now, "lease_until_at": None}
        )
        try:
            again = await self._stores.db(delivery.tenant_id).update(
                Delivery,
                delivery.key(),
                difference(delivery, again),
                add={"fence": 1},
                condition=Attr("fence").eq(delivery.fence),
            )
        except ConditionFailedError:
            # Somebody was quicker to do the same, or an attempt has begun.
            return await self._get(delivery.tenant_id, delivery.webhook_id, delivery.delivery_id)
        await self._ask(tick_of(again), at=now)
        return again

    async def _active(self, tenant_id: TenantId, webhook_id: WebhookId) -> WebhookEndpoint:
        endpoint = await self._endpoints.get(tenant_id, webhook_id)
        if endpoint.status != "active":
            raise EndpointInactiveError
        return endpoint

    async def _get(self, tenant_id: TenantId, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        key = Delivery.key_to(tenant_id, webhook_id, delivery_id)
        found = await self._stores.db(tenant_id).get(Delivery, key, consistent=True)
        if found is None:
            raise DeliveryUnknownError
        return found

    async def _page(
        self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        limit: int,
        after: str | None,
        *,
        newest_first: bool = True,
    ) -> Page[Delivery]:
        return await self._stores.db(tenant_id).query(
            Delivery,
            tables.tenant_partition(tenant_id),
            sort_prefix=Delivery.prefix_of(webhook_id),
            limit=limit,
            after=after,
            newest_first=newest_first,
        )


def delivery_of(event: OutboxEvent, endpoint: WebhookEndpoint, now: datetime) -> Delivery:
    """Return the delivery of an event to an endpoint, due now; one that is not active gets nothing sent."""
    active = endpoint.status == "active"
    return Delivery(
        tenant_id=event.tenant_id,
        delivery_id=delivery_id_of(event.event_id, endpoint.webhook_id, event.created_at),
        webhook_id=endpoint.webhook_id,
        event_id=event.event_id,
        event_type=event.event_type,
        payload_json=event.payload_json,
        status="pending" if active else "failed",
        next_attempt_at=now if active else None,
        created_at=event.created_at,
        ttl=int((now + KEPT).timestamp()),
    )


def tick_of(delivery: Delivery) -> DeliveryTick:
    """Return the tick that may claim the delivery as it stands."""
    return DeliveryTick(delivery.tenant_id, delivery.webhook_id, delivery.delivery_id, delivery.fence)


def is_held(delivery: Delivery, now: datetime) -> bool:
    """Tell whether an attempt is being made, as far as its lease tells."""
    return delivery.lease_until_at is not None and now <= delivery.lease_until_at


def difference(held: Delivery, changed: Delivery) -> dict[str, JsonValue]:
    """Return what to write where `held` is stored and `changed` is wanted."""
    old, new = _attributes(held), _attributes(changed)
    return {name: new.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _attributes(delivery: Delivery) -> dict[str, JsonValue]:
    return delivery.model_dump(mode="json", exclude_none=True) | delivery.index_keys()
