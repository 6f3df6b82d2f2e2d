"""From an event to one delivery for each endpoint that wants it."""

import asyncio
from datetime import timedelta

import pytest

from tenancy.data_models import Delivery, OutboxEvent, WebhookEndpoint
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId, new_event_id, new_webhook_id
from tests.webhooks.conftest import PUBLIC, Asked, Floor
from webhooks.deliveries import KEPT
from webhooks.endpoints import EndpointChange
from webhooks.fanout import FanOut
from webhooks.ticks import DeliveryTick


async def stored(floor: Floor, event: OutboxEvent) -> OutboxEvent:
    found = await floor.stores.db(floor.tenant_id).get(OutboxEvent, event.key(), consistent=True)
    assert found is not None
    return found


async def test_an_event_is_delivered_to_every_endpoint_whose_filter_lets_it_through(floor: Floor) -> None:
    everything = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    fitting = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, events=frozenset({"job.failed", "job.expired"}))
    other = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, events=frozenset({"job.succeeded"}))
    event = await floor.put_event("job.failed")
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert {tick.webhook_id for tick, _ in floor.asked} == {everything.webhook_id, fitting.webhook_id}
    assert (await floor.deliveries.list(floor.tenant_id, other.webhook_id, limit=9)).items == ()
    assert floor.count("lockgate_webhook_deliveries_total") == 2


async def test_an_event_for_one_endpoint_goes_to_it_alone_whatever_its_filter(floor: Floor) -> None:
    await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    chosen = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, events=frozenset({"job.failed"}))
    event = await floor.put_event("job.succeeded", endpoint=chosen)
    await floor.fan_out(floor.tenant_id, event.event_id)
    tick, at = floor.asked.take()
    assert (tick.webhook_id, at) == (chosen.webhook_id, floor.clock.now())


async def test_a_delivery_carries_its_event_and_is_kept_for_30_days(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    event = await floor.put_event()
    await floor.clock.advance(3)
    await floor.fan_out(floor.tenant_id, event.event_id)
    tick, _ = floor.asked.take()
    now = floor.clock.now()
    assert await floor.delivery(tick) == Delivery(
        tenant_id=floor.tenant_id,
        delivery_id=tick.delivery_id,
        webhook_id=endpoint.webhook_id,
        event_id=event.event_id,
        event_type="job.succeeded",
        payload_json=event.payload_json,
        next_attempt_at=now,
        created_at=event.created_at,
        ttl=int((now + timedelta(days=30)).timestamp()),
    )
    assert timedelta(days=30) == KEPT


async def test_a_handed_over_event_leaves_the_sweepers_index(floor: Floor) -> None:
    event = await floor.put_event()
    assert event.index_keys() != {}
    await floor.fan_out(floor.tenant_id, event.event_id)
    item = await floor.stores.db(floor.tenant_id).get(OutboxEvent, event.key(), consistent=True)
    assert item is not None
    assert (item.next_tick_at, item.index_keys()) == (None, {})


async def test_an_event_handed_over_twice_or_at_once_makes_one_delivery(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    event = await floor.put_event()
    await asyncio.gather(*(floor.fan_out(floor.tenant_id, event.event_id) for _ in range(3)))
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert len((await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=9)).items) == 1
    assert len({tick for tick, _ in floor.asked}) == 1


async def test_handing_over_again_changes_nothing_of_a_delivery_that_has_gone_on(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    event = await floor.put_event()
    await floor.fan_out(floor.tenant_id, event.event_id)
    tick, _ = floor.asked.take()
    gone_on = (await floor.delivery(tick)).model_copy(update={"status": "delivered", "fence": 3})
    await floor.stores.db(floor.tenant_id).put(gone_on)
    await floor.stores.db(floor.tenant_id).put(event)
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert await floor.deliveries.get(floor.tenant_id, endpoint.webhook_id, tick.delivery_id) == gone_on


async def test_a_crash_before_the_tick_is_asked_for_loses_nothing(floor: Floor) -> None:
    class Crash(Asked):
        async def __call__(self, tick: DeliveryTick, *, at: object) -> None:
            raise StoreUnavailableError

    await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    event = await floor.put_event()
    dies = FanOut(floor.stores, floor.endpoints, Crash(), clock=floor.clock, metrics=floor.metrics)
    with pytest.raises(StoreUnavailableError):
        await dies(floor.tenant_id, event.event_id)
    assert (await stored(floor, event)).next_tick_at is not None
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert len(floor.asked) == 1
    assert (await stored(floor, event)).next_tick_at is None


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_what_a_paused_or_disabled_endpoint_misses_stands_as_failed_to_be_recovered(
    floor: Floor, status: str
) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    await floor.stores.db(floor.tenant_id).put(endpoint.model_copy(update={"status": status}))
    event = await floor.put_event()
    await floor.fan_out(floor.tenant_id, event.event_id)
    [missed] = (await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=9)).items
    assert (missed.status, missed.attempts, missed.next_attempt_at, floor.asked) == ("failed", (), None, [])
    await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(status="active"))
    recovered = await floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=event.created_at)
    assert recovered.count == 0
    await floor.clock.advance(1)
    recovered = await floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=event.created_at)
    assert recovered.count == 1


async def test_an_event_for_an_endpoint_that_is_gone_is_settled(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    gone = endpoint.model_copy(update={"webhook_id": new_webhook_id(floor.clock.now())})
    event = await floor.put_event(endpoint=gone)
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert ((await stored(floor, event)).next_tick_at, floor.asked) == (None, [])


async def test_an_event_that_is_gone_is_nothing_to_do(floor: Floor) -> None:
    await floor.fan_out(floor.tenant_id, new_event_id(floor.clock.now()))
    assert floor.asked == []


async def test_an_event_that_was_erased_meanwhile_leaves_no_delivery(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC)
    event = await floor.put_event()
    find_all = floor.endpoints.all

    async def held_up(tenant_id: TenantId) -> tuple[WebhookEndpoint, ...]:
        found = await find_all(tenant_id)
        await floor.stores.db(tenant_id).delete(OutboxEvent, event.key())
        return found

    floor.endpoints.all = held_up  # type: ignore[method-assign]
    await floor.fan_out(floor.tenant_id, event.event_id)
    assert (await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=9)).items == ()
