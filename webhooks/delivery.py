"""One tick of one delivery, top to bottom: find room, claim, attempt, settle, ask for the next.

A claim raises the fence and takes a lease that outlasts any attempt. A worker that dies after the POST leaves a lease
that runs out: the next one posts the same body under the same `webhook-id`. One that comes back late writes nothing.
What a suspended or deleted tenant is owed is kept: nothing is sent, no attempt is used up, and it goes on afterwards.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Final, TypeAlias

import structlog
from boto3.dynamodb.conditions import Attr
from yarl import URL

from tenancy.clock import Clock
from tenancy.data_models import Attempt, Delivery, TenantStatus, WebhookEndpoint
from tenancy.errors import ConditionFailedError
from tenancy.ids import TenantId
from tenancy.store import TenantStores
from webhooks import schedule
from webhooks.deliveries import difference, is_held, tick_of
from webhooks.endpoints import Endpoints, signing_secrets
from webhooks.health import Health
from webhooks.metrics import WebhookMetrics
from webhooks.room import Room
from webhooks.sender import Outcome, Result, Sender
from webhooks.signing import signed_headers
from webhooks.ticks import AskDelivery, DeliveryTick

# Longer than an attempt's deadline and the writes around it.
LEASE_S: Final = 30
# The schedule's attempts, and the latest of those asked for by hand.
ATTEMPTS_KEPT: Final = 30
# A receiver that asks not to be troubled is left alone by this process, at most for so long.
SPARE_LIMIT_S: Final = 60.0
# How soon a suspended tenant's delivery is looked at again: ever later, the longer it is held.
HELD_LEAST_S: Final = 60.0
HELD_MOST_S: Final = 900.0

StatusOf: TypeAlias = Callable[[TenantId], Awaitable[TenantStatus | None]]
"""Tells how a tenant stands now; None where there is none. Raises StoreUnavailableError."""

_log = structlog.get_logger("webhooks.delivery")


class Deliver:
    """Runs ticks of deliveries; a webhooks.ticks.RunDelivery."""

    def __init__(
        self,
        stores: TenantStores,
        endpoints: Endpoints,
        sender: Sender,
        ask: AskDelivery,
        *,
        status_of: StatusOf,
        room: Room,
        health: Health,
        clock: Clock,
        metrics: WebhookMetrics,
        rng: Random,
    ) -> None:
        self._stores = stores
        self._endpoints = endpoints
        self._sender = sender
        self._status_of = status_of
        self._room = room
        self._health = health
        self._ask = ask
        self._clock = clock
        self._metrics = metrics
        self._rng = rng

    async def __call__(self, tick: DeliveryTick) -> datetime | None:
        """Run one tick; return when to run the same one again, or None. Raises StoreUnavailableError."""
        pause_s = self._room.pause_s(tick.tenant_id, tick.webhook_id)
        if pause_s:
            self._metrics.put_off.inc()
            return self._clock.now() + timedelta(seconds=pause_s)
        with self._room.taken(tick.tenant_id, tick.webhook_id):
            status = await self._status_of(tick.tenant_id)
            delivery = await self._claim(tick) if tick.fence is not None else await self._claim_overdue(tick)
            if delivery is None:
                return await self._held_until(tick)
            if status is None:
                await self._settle(delivery, _over(delivery, "failed"))
            elif status is not TenantStatus.ACTIVE:
                await self._settle(delivery, self._held(delivery))
            else:
                await self._send(delivery)
        return None

    async def _send(self, delivery: Delivery) -> None:
        endpoint = await self._endpoints.find(delivery.tenant_id, delivery.webhook_id)
        if endpoint is None or endpoint.status != "active":
            await self._settle(delivery, _over(delivery, "failed"))
        else:
            await self._try(delivery, endpoint)

    def _held(self, delivery: Delivery) -> Delivery:
        now = self._clock.now()
        grown_s = (now - delivery.created_at).total_seconds() / 4
        pause_s = min(HELD_MOST_S, max(HELD_LEAST_S, grown_s)) * self._rng.uniform(0.8, 1.0)
        self._metrics.held.inc()
        next_at = now + timedelta(seconds=pause_s)
        return delivery.model_copy(update={"next_attempt_at": next_at, "lease_until_at": None})

    async def _claim(self, tick: DeliveryTick) -> Delivery | None:
        now = self._clock.now()
        free = Attr("lease_until_at").not_exists() & Attr("fence").eq(tick.fence)
        run_out = Attr("lease_until_at").lt(_text(now))
        key = Delivery.key_to(tick.tenant_id, tick.webhook_id, tick.delivery_id)
        try:
            return await self._stores.db(tick.tenant_id).update(
                Delivery,
                key,
                {"lease_until_at": _text(now + timedelta(seconds=LEASE_S))},
                add={"fence": 1},
                condition=Attr("status").eq("pending") & (free | run_out),
            )
        except ConditionFailedError:
            return None

    async def _claim_overdue(self, tick: DeliveryTick) -> Delivery | None:
        """Claim for a sweep, which knows no fence: what it found overdue may have gone on since."""
        found = await self._find(tick)
        if found is None or found.next_attempt_at is None or self._clock.now() < found.next_attempt_at:
            return None
        return await self._claim(tick_of(found))

    async def _held_until(self, tick: DeliveryTick) -> datetime | None:
        """Return when a delivery that another worker holds is free again; None where nothing is left to do."""
        found = await self._find(tick)
        if found is None or found.lease_until_at is None or not is_held(found, self._clock.now()):
            return None
        # A second later: a lease counts whole seconds, and must be seen to have run out.
        return found.lease_until_at + timedelta(seconds=1)

    async def _find(self, tick: DeliveryTick) -> Delivery | None:
        key = Delivery.key_to(tick.tenant_id, tick.webhook_id, tick.delivery_id)
        return await self._stores.db(tick.tenant_id).get(Delivery, key, consistent=True)

    async def _try(self, delivery: Delivery, endpoint: WebhookEndpoint) -> None:
        at, body = self._clock.now(), delivery.payload_json.encode()
        if not delivery.attempts:
            self._metrics.first_attempt_seconds.observe((at - delivery.created_at).total_seconds())
        headers = signed_headers(signing_secrets(endpoint, at), delivery.event_id, at, body)
        outcome = await self._sender(endpoint.url, headers, body)
        settled = self._settled(delivery, outcome, at)
        self._tell(delivery, endpoint, outcome, settled)
        self._spare(endpoint, outcome)
        if await self._settle(delivery, settled):
            await self._health.note(endpoint, outcome.result)

    def _settled(self, delivery: Delivery, outcome: Outcome, at: datetime) -> Delivery:
        attempt = Attempt(
            at=at,
            duration_ms=round(outcome.duration_s * 1000),
            status=outcome.status,
            error=outcome.error,
            answer_head=outcome.answer_head,
        )
        tried = delivery.model_copy(
            update={
                "attempts": (*delivery.attempts, attempt)[-ATTEMPTS_KEPT:],
                "scheduled_attempts": delivery.scheduled_attempts + 1,
            }
        )
        if outcome.delivered:
            return _over(tried, "delivered")
        pause_s = None if outcome.result is Result.GONE else self._pause_s(tried, outcome)
        if pause_s is None:
            return _over(tried, "failed")
        next_at = self._clock.now() + timedelta(seconds=pause_s)
        return tried.model_copy(update={"next_attempt_at": next_at, "lease_until_at": None})

    def _pause_s(self, tried: Delivery, outcome: Outcome) -> float | None:
        return schedule.next_pause_s(
            tried.scheduled_attempts,
            self._rng,
            throttled=outcome.result is Result.THROTTLED,
            retry_after_s=schedule.parse_retry_after(outcome.retry_after, self._clock.now()),
        )

    async def _settle(self, held: Delivery, settled: Delivery) -> bool:
        """Write how the claim ended and ask for what follows; tell whether the claim was still ours."""
        under = Attr("fence").eq(held.fence) & Attr("status").eq("pending")
        try:
            stored = await self._stores.db(held.tenant_id).update(
                Delivery, held.key(), difference(held, settled), condition=under
            )
        except ConditionFailedError:
            _log.warning("webhook.lease_lost", tenant=held.tenant_id, delivery=held.delivery_id, fence=held.fence)
            return False
        if stored.next_attempt_at is None:
            self._metrics.ended.labels(stored.status).inc()
        else:
            await self._ask(tick_of(stored), at=stored.next_attempt_at)
        return True

    def _spare(self, endpoint: WebhookEndpoint, outcome: Outcome) -> None:
        if outcome.delivered:
            self._room.succeeded(endpoint.webhook_id)
            return
        spare_s = 0.0
        if outcome.result is Result.THROTTLED:
            wanted_s = schedule.parse_retry_after(outcome.retry_after, self._clock.now()) or 0.0
            spare_s = min(SPARE_LIMIT_S, max(1.0, wanted_s))
        self._room.failed(endpoint.webhook_id, spare_s=spare_s)

    def _tell(self, delivery: Delivery, endpoint: WebhookEndpoint, outcome: Outcome, settled: Delivery) -> None:
        self._metrics.attempts.labels(outcome.result.value).inc()
        self._metrics.attempt_seconds.observe(outcome.duration_s)
        _log.info(
            "webhook.attempt",
            tenant=delivery.tenant_id,
            webhook=delivery.webhook_id,
            delivery=delivery.delivery_id,
            event_id=delivery.event_id,
            type=delivery.event_type,
            # Neither path nor query: either may carry a receiver's own secret.
            host=URL(endpoint.url).raw_host,
            attempt=settled.scheduled_attempts,
            result=outcome.result.value,
            status=outcome.status,
            duration_ms=round(outcome.duration_s * 1000),
            delivery_status=settled.status,
        )


def _over(delivery: Delivery, status: str) -> Delivery:
    return delivery.model_copy(update={"status": status, "next_attempt_at": None, "lease_until_at": None})


def _text(moment: datetime) -> str:
    # Whole seconds: of one width, so that the store's comparison of text is one of time.
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
