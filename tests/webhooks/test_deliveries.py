"""The delivery log, and sending again by hand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest

from tenancy.data_models import Delivery, WebhookEndpoint
from tenancy.ids import TenantId, new_webhook_id
from tests.webhooks.conftest import PUBLIC, Floor
from webhooks import deliveries
from webhooks.deliveries import delivery_of
from webhooks.endpoints import EndpointChange
from webhooks.errors import DeliveryUnknownError, EndpointInactiveError, EndpointUnknownError


async def make(floor: Floor) -> WebhookEndpoint:
    return await floor.endpoints.create(floor.tenant_id, url=PUBLIC)


async def given(
    floor: Floor, endpoint: WebhookEndpoint, status: Literal["pending", "delivered", "failed"], *, fence: int = 4
) -> Delivery:
    """Store a delivery as it stands after some attempts, a second after the last one."""
    await floor.clock.advance(1)
    event = await floor.put_event()
    fresh = delivery_of(event, endpoint, floor.clock.now())
    next_at = floor.clock.now() + timedelta(hours=2) if status == "pending" else None
    delivery = fresh.model_copy(
        update={"status": status, "fence": fence, "scheduled_attempts": 4, "next_attempt_at": next_at}
    )
    await floor.stores.db(floor.tenant_id).put(delivery)
    return delivery


async def test_deliveries_are_listed_the_newest_event_first_in_pages(floor: Floor) -> None:
    endpoint = await make(floor)
    made = [await given(floor, endpoint, "delivered") for _ in range(3)]
    first = await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=2)
    second = await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=2, after=first.after)
    assert [*first.items, *second.items] == made[::-1]


async def test_a_list_can_be_of_one_status(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = await make(floor)
    failed = []
    for _ in range(3):
        failed.append(await given(floor, endpoint, "failed"))
        await given(floor, endpoint, "delivered")
    monkeypatch.setattr(deliveries, "_PAGE", 2)
    found: list[Delivery] = []
    after = None
    while True:
        page = await floor.deliveries.list(floor.tenant_id, endpoint.webhook_id, limit=2, after=after, status="failed")
        found += page.items
        after = page.after
        if after is None:
            break
    assert found == failed[::-1]


async def test_one_endpoints_deliveries_are_not_anothers(floor: Floor) -> None:
    first, second = await make(floor), await make(floor)
    delivery = await given(floor, first, "failed")
    assert (await floor.deliveries.list(floor.tenant_id, second.webhook_id, limit=9)).items == ()
    with pytest.raises(DeliveryUnknownError):
        await floor.deliveries.get(floor.tenant_id, second.webhook_id, delivery.delivery_id)


async def test_anothers_deliveries_are_unknown_in_every_way(floor: Floor, tenant_id: Callable[[], TenantId]) -> None:
    endpoint = await make(floor)
    delivery = await given(floor, endpoint, "failed")
    since = delivery.created_at
    for who, which in ((tenant_id(), endpoint.webhook_id), (floor.tenant_id, new_webhook_id(floor.clock.now()))):
        for call in (
            floor.deliveries.list(who, which, limit=1),
            floor.deliveries.get(who, which, delivery.delivery_id),
            floor.deliveries.redeliver(who, which, delivery.delivery_id),
            floor.deliveries.recover(who, which, since=since),
            floor.deliveries.send_test(who, which),
        ):
            with pytest.raises(EndpointUnknownError):
                await call
    assert floor.asked == []


async def test_a_test_event_is_delivered_whatever_the_filter(floor: Floor) -> None:
    endpoint = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, events=frozenset({"job.failed"}))
    made = await floor.deliveries.send_test(floor.tenant_id, endpoint.webhook_id)
    tick, at = floor.asked.take()
    assert await floor.delivery(tick) == made
    assert (made.event_type, made.status, at) == ("webhook.test", "pending", floor.clock.now())
    assert made.payload_json == (
        '{"type":"webhook.test","timestamp":"2026-03-01T12:00:00.000000Z",'
        f'"data":{{"webhookId":"{endpoint.webhook_id}"}}}}'
    )


@pytest.mark.parametrize("status", ["delivered", "failed", "pending"])
async def test_sending_again_begins_the_schedule_anew_and_now(
    floor: Floor, status: Literal["pending", "delivered", "failed"]
) -> None:
    endpoint = await make(floor)
    delivery = await given(floor, endpoint, status)
    again = await floor.deliveries.redeliver(floor.tenant_id, endpoint.webhook_id, delivery.delivery_id)
    tick, at = floor.asked.take()
    now = floor.clock.now()
    wanted = {"status": "pending", "scheduled_attempts": 0, "fence": 5, "next_attempt_at": now}
    assert again == await floor.delivery(tick) == delivery.model_copy(update=wanted)
    assert (tick.fence, at) == (5, now)


async def test_an_attempt_under_way_is_left_to_end(floor: Floor) -> None:
    endpoint = await make(floor)
    delivery = await given(floor, endpoint, "pending")
    held = delivery.model_copy(update={"lease_until_at": floor.clock.now() + timedelta(seconds=30)})
    await floor.stores.db(floor.tenant_id).put(held)
    assert await floor.deliveries.redeliver(floor.tenant_id, endpoint.webhook_id, delivery.delivery_id) == held
    assert floor.asked == []


async def test_nothing_is_sent_again_to_an_endpoint_that_is_not_active(floor: Floor) -> None:
    endpoint = await make(floor)
    delivery = await given(floor, endpoint, "failed")
    await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(status="paused"))
    for call in (
        floor.deliveries.redeliver(floor.tenant_id, endpoint.webhook_id, delivery.delivery_id),
        floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=delivery.created_at),
        floor.deliveries.send_test(floor.tenant_id, endpoint.webhook_id),
    ):
        with pytest.raises(EndpointInactiveError):
            await call


async def test_recover_sends_exactly_the_failed_set_of_the_range_again_the_oldest_first(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAGE", 3)
    endpoint, other = await make(floor), await make(floor)
    await given(floor, endpoint, "failed")
    first = await given(floor, endpoint, "failed")
    await given(floor, endpoint, "delivered")
    await given(floor, endpoint, "pending")
    await given(floor, other, "failed")
    second = await given(floor, endpoint, "failed")
    late = await given(floor, endpoint, "failed")
    recovered = await floor.deliveries.recover(
        floor.tenant_id, endpoint.webhook_id, since=first.created_at, until=late.created_at
    )
    assert (recovered.count, recovered.rest_since_at) == (2, None)
    assert [tick.delivery_id for tick, _ in floor.asked] == [first.delivery_id, second.delivery_id]


async def test_recover_says_where_to_go_on_where_there_is_more_than_one_call_sends(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "RECOVER_LIMIT", 2)
    endpoint = await make(floor)
    failed = [await given(floor, endpoint, "failed") for _ in range(3)]
    await floor.clock.advance(1)
    since = failed[0].created_at
    recovered = await floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=since)
    assert (recovered.count, recovered.rest_since_at) == (2, failed[2].created_at)
    rest = await floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=failed[2].created_at)
    assert (rest.count, rest.rest_since_at) == (1, None)
