"""Deliveries driven tick by tick against a real receiver, on a clock that only the test moves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from tenancy.data_models import AuditEvent, Delivery, TenantStatus, WebhookEndpoint
from tenancy.errors import StoreUnavailableError
from tests.webhooks.conftest import PUBLIC, Floor
from tests.webhooks.receivers import Got, Receiver, receiving
from webhooks.delivery import ATTEMPTS_KEPT, HELD_LEAST_S, HELD_MOST_S, LEASE_S, Deliver
from webhooks.endpoints import EndpointChange
from webhooks.room import FAILURES_TO_OPEN, OPEN_S, PER_ENDPOINT, PER_TENANT
from webhooks.schedule import ATTEMPTS, PAUSES_S
from webhooks.ticks import DeliveryTick


@pytest.fixture
async def receiver(floor: Floor) -> AsyncIterator[Receiver]:
    async with receiving() as one:
        floor.allow.add(("127.0.0.1", one.port))
        yield one


@pytest.fixture
async def endpoint(floor: Floor, receiver: Receiver) -> WebhookEndpoint:
    return await floor.endpoints.create(floor.tenant_id, url=receiver.url)


@pytest.fixture
async def tick(floor: Floor, endpoint: WebhookEndpoint) -> DeliveryTick:
    """Return the first tick of the first event."""
    return await next_event(floor)


async def next_event(floor: Floor) -> DeliveryTick:
    event = await floor.put_event()
    await floor.fan_out(floor.tenant_id, event.event_id)
    return floor.asked.take()[0]


def verified(got: Got, secret: str) -> object:
    """Verify a request as a receiver does, with the public library, on the test's clock."""
    headers = {name: got.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    library = Webhook(secret)
    signed_at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    expected = library.sign(headers["webhook-id"], signed_at, got.body.decode())
    assert expected in headers["webhook-signature"].split(" ")
    return headers["webhook-id"], signed_at


async def test_an_event_arrives_signed_and_is_delivered(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    pending = await floor.delivery(tick)
    assert await floor.deliver()(tick) is None
    [got] = receiver.got
    assert verified(got, endpoint.secret) == (pending.event_id, floor.clock.now())
    assert got.body == pending.payload_json.encode()
    done = await floor.delivery(tick)
    [attempt] = done.attempts
    assert (done.status, done.next_attempt_at, done.lease_until_at, done.index_keys()) == ("delivered", None, None, {})
    assert (attempt.at, attempt.status, attempt.error, attempt.answer_head) == (floor.clock.now(), 204, None, "")
    assert floor.asked == []
    assert floor.count("lockgate_webhook_attempts_total", result="delivered") == 1
    assert floor.count("lockgate_webhook_deliveries_ended_total", status="delivered") == 1
    assert floor.count("lockgate_webhook_first_attempt_seconds_count") == 1


async def test_a_failing_delivery_is_tried_ten_times_on_the_schedule_under_one_id(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b"not today")]
    attempts_at = []
    for number in range(1, ATTEMPTS + 1):
        # A process each: what one remembers of the endpoint must not hold up the schedule's own pauses here.
        attempts_at.append(floor.clock.now())
        assert await floor.deliver()(tick) is None
        stored = await floor.delivery(tick)
        assert len(stored.attempts) == stored.scheduled_attempts == number
        if number < ATTEMPTS:
            tick, at = floor.asked.take()
            assert at == stored.next_attempt_at
            pause_s = (at - floor.clock.now()).total_seconds()
            assert 0.8 * PAUSES_S[number] <= pause_s <= 1.2 * PAUSES_S[number]
            await floor.clock.advance(pause_s)
    assert (stored.status, stored.next_attempt_at, floor.asked) == ("failed", None, [])
    assert [(one.status, one.answer_head) for one in stored.attempts] == [(500, "not today")] * ATTEMPTS
    assert [verified(got, endpoint.secret) for got in receiver.got] == [
        (stored.event_id, at.replace(microsecond=0)) for at in attempts_at
    ]


async def test_a_receiver_that_recovers_gets_what_it_missed(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    receiver.answers = [(503, {}, b""), (200, {}, b"")]
    deliver = floor.deliver()
    await deliver(tick)
    tick, at = floor.asked.take()
    await floor.clock.advance((at - floor.clock.now()).total_seconds())
    await deliver(tick)
    assert (await floor.delivery(tick)).status == "delivered"
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


@pytest.mark.parametrize(
    ("said", "bounds_s"),
    [
        ("90", (90, 90)),
        ("1", (60, 60)),
        ("999999999", (120, 120)),
        ("Sun, 01 Mar 2026 12:01:40 GMT", (100, 100)),
        ("Sun, 01 Mar 2020 12:00:00 GMT", (60, 60)),
        ("garbage", (60, 60)),
        ("", (60, 60)),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    floor: Floor, receiver: Receiver, tick: DeliveryTick, said: str, bounds_s: tuple[float, float]
) -> None:
    receiver.answers = [(429, {"Retry-After": said}, b"")]
    await floor.deliver()(tick)
    _, at = floor.asked.take()
    assert bounds_s[0] <= (at - floor.clock.now()).total_seconds() <= bounds_s[1]
    assert floor.count("lockgate_webhook_attempts_total", result="throttled") == 1


async def test_a_receiver_that_is_gone_is_disabled_at_once_and_tried_no_more(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    other = await next_event(floor)
    receiver.answers = [(410, {}, b"")]
    deliver = floor.deliver()
    await deliver(tick)
    disabled = await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "The endpoint answered 410 Gone.")
    await deliver(other)
    for one in (tick, other):
        stored = await floor.delivery(one)
        assert (stored.status, stored.next_attempt_at) == ("failed", None)
    assert (len(receiver.got), floor.asked) == (1, [])
    assert floor.count("lockgate_webhook_endpoints_disabled_total", reason="gone") == 1


async def test_five_days_without_a_success_disable_an_endpoint_and_its_tenant_is_told(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b"")]
    floor.audit.start(floor.stores)
    await floor.deliver()(tick)
    since = floor.clock.now()
    assert (await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id)).failing_since_at == since
    await floor.clock.advance(timedelta(days=5).total_seconds() - 1)
    floor.asked.clear()
    await floor.deliver()(await next_event(floor))
    assert (await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id)).status == "active"
    await floor.clock.advance(1)
    floor.asked.clear()
    await floor.deliver()(await next_event(floor))
    disabled = await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "Every attempt failed for five days.")
    await floor.audit.aclose()
    page = await floor.stores.db(floor.tenant_id).query(AuditEvent, disabled.key().partition, limit=9)
    [told] = page.items
    assert (told.operation, told.target, told.reason) == (
        "DisableWebhook",
        endpoint.webhook_id,
        "Every attempt failed for five days.",
    )


async def test_one_success_clears_an_endpoints_record(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b""), (200, {}, b"")]
    await floor.deliver()(tick)
    await floor.clock.advance(timedelta(days=5).total_seconds())
    floor.asked.clear()
    await floor.deliver()(await next_event(floor))
    assert (await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id)).failing_since_at is None


async def test_a_failure_at_an_old_address_is_not_held_against_the_new_one(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    receiver.answers = [(410, {}, b"")]
    receiver.gate.clear()
    attempt = asyncio.create_task(floor.deliver()(tick))
    await receiver.has_got(1)
    moved = await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(url=PUBLIC))
    receiver.gate.set()
    await attempt
    assert await floor.endpoints.get(floor.tenant_id, endpoint.webhook_id) == moved


@pytest.mark.parametrize("what", ["paused", "deleted"])
async def test_what_happens_to_an_endpoint_between_attempts_ends_its_deliveries(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick, what: str
) -> None:
    receiver.answers = [(500, {}, b"")]
    deliver = floor.deliver()
    await deliver(tick)
    tick, at = floor.asked.take()
    if what == "deleted":
        await floor.endpoints.delete(floor.tenant_id, endpoint.webhook_id)
    else:
        await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(status="paused"))
    await floor.clock.advance((at - floor.clock.now()).total_seconds())
    assert await deliver(tick) is None
    stored = await floor.delivery(tick)
    assert (stored.status, len(stored.attempts), stored.index_keys()) == ("failed", 1, {})
    assert (len(receiver.got), floor.asked) == (1, [])


async def test_after_a_rotation_either_secret_verifies_for_as_long_as_the_overlap(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b"")]
    await floor.deliver()(tick)
    rotated = await floor.endpoints.rotate(floor.tenant_id, endpoint.webhook_id, overlap=timedelta(minutes=1))
    for _ in range(2):
        tick, at = floor.asked.take()
        await floor.clock.advance((at - floor.clock.now()).total_seconds())
        await floor.deliver()(tick)
    first, during, after = receiver.got
    verified(first, endpoint.secret)
    verified(during, endpoint.secret)
    verified(during, rotated.secret)
    verified(after, rotated.secret)
    signatures = [len(got.headers["webhook-signature"].split(" ")) for got in receiver.got]
    assert signatures == [1, 2, 1]


async def test_a_worker_that_dies_after_the_post_leaves_a_delivery_that_arrives_again_under_the_same_id(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    receiver.gate.clear()
    dying = asyncio.create_task(floor.deliver()(tick))
    await receiver.has_got(1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    receiver.gate.set()
    held = await floor.delivery(tick)
    assert (held.status, held.attempts, held.fence) == ("pending", (), 1)
    assert held.index_keys() != {}
    again_at = await floor.deliver()(tick)
    assert again_at is not None
    assert held.lease_until_at is not None
    assert again_at == held.lease_until_at + timedelta(seconds=1)
    await floor.clock.advance((again_at - floor.clock.now()).total_seconds())
    assert await floor.deliver()(tick) is None
    first, second = receiver.got
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert (await floor.delivery(tick)).status == "delivered"


async def test_a_worker_that_wakes_after_its_lease_writes_nothing(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    late, quick = floor.deliver(), floor.deliver()
    held = await late._claim(tick)
    assert held is not None
    await floor.clock.advance(LEASE_S + 1)
    taken = await quick._claim(tick)
    assert taken is not None
    over = held.model_copy(update={"status": "failed", "next_attempt_at": None, "lease_until_at": None})
    assert await late._settle(held, over) is False
    assert await floor.delivery(tick) == taken
    delivered = taken.model_copy(update={"status": "delivered", "next_attempt_at": None, "lease_until_at": None})
    assert await quick._settle(taken, delivered) is True
    assert await late._settle(taken, over) is False
    assert await floor.delivery(tick) == delivered


async def test_a_tick_that_comes_twice_or_late_makes_no_attempt(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b"")]
    deliver = floor.deliver()
    await asyncio.gather(deliver(tick), deliver(tick))
    assert await deliver(tick) is None
    assert len(receiver.got) == 1


async def test_a_sweep_finds_what_is_overdue_and_leaves_what_is_not(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b"")]
    sweeps = DeliveryTick(tick.tenant_id, tick.webhook_id, tick.delivery_id)
    deliver = floor.deliver()
    await deliver(sweeps)
    _, at = floor.asked.take()
    assert len(receiver.got) == 1
    assert await deliver(sweeps) is None
    assert len(receiver.got) == 1
    await floor.clock.advance((at - floor.clock.now()).total_seconds())
    await deliver(sweeps)
    assert len(receiver.got) == 2


async def test_sending_again_by_hand_delivers_once_more_and_keeps_the_former_attempts(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    deliver = floor.deliver()
    await deliver(tick)
    await floor.deliveries.redeliver(floor.tenant_id, endpoint.webhook_id, tick.delivery_id)
    await deliver(floor.asked.take()[0])
    stored = await floor.delivery(tick)
    assert (stored.status, len(stored.attempts), stored.scheduled_attempts) == ("delivered", 2, 1)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


async def test_only_the_latest_attempts_are_kept(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint, tick: DeliveryTick
) -> None:
    await floor.deliver()(tick)
    stored = await floor.delivery(tick)
    many = stored.model_copy(update={"attempts": stored.attempts * ATTEMPTS_KEPT})
    await floor.stores.db(floor.tenant_id).put(many)
    await floor.clock.advance(1)
    await floor.deliveries.redeliver(floor.tenant_id, endpoint.webhook_id, tick.delivery_id)
    await floor.deliver()(floor.asked.take()[0])
    latest = await floor.delivery(tick)
    assert (len(latest.attempts), latest.attempts[-1].at) == (ATTEMPTS_KEPT, floor.clock.now())


async def test_recover_delivers_exactly_what_had_failed(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    failed, since = [], floor.clock.now()
    for wanted in ("delivered", "failed", "failed", "delivered"):
        tick = await next_event(floor)
        if wanted == "delivered":
            await floor.deliver()(tick)
        else:
            await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(status="paused"))
            await floor.deliver()(tick)
            await floor.endpoints.update(floor.tenant_id, endpoint.webhook_id, EndpointChange(status="active"))
            failed.append((await floor.delivery(tick)).event_id)
        await floor.clock.advance(1)
    receiver.got.clear()
    recovered = await floor.deliveries.recover(floor.tenant_id, endpoint.webhook_id, since=since)
    deliver = floor.deliver()
    for tick, _ in tuple(floor.asked):
        await deliver(tick)
    assert recovered.count == 2
    assert [got.headers["webhook-id"] for got in receiver.got] == failed


async def test_a_hanging_endpoint_takes_five_places_and_its_other_ticks_are_put_off(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    async with receiving() as healthy:
        floor.allow.add(("127.0.0.1", healthy.port))
        ticks = [await next_event(floor) for _ in range(PER_ENDPOINT + 3)]
        well = await floor.endpoints.create(floor.tenant_id, url=healthy.url)
        event = await floor.put_event(endpoint=well)
        await floor.fan_out(floor.tenant_id, event.event_id)
        receiver.gate.clear()
        deliver = floor.deliver()
        hanging = [asyncio.create_task(deliver(tick)) for tick in ticks[:PER_ENDPOINT]]
        await receiver.has_got(PER_ENDPOINT)
        for tick in ticks[PER_ENDPOINT:]:
            again_at = await deliver(tick)
            assert again_at is not None
            assert 0.5 <= (again_at - floor.clock.now()).total_seconds() <= 1.5
        await deliver(floor.asked.take()[0])
        assert len(healthy.got) == 1
        receiver.gate.set()
        await asyncio.gather(*hanging)
        assert receiver.most_at_once == PER_ENDPOINT
        for tick in ticks[PER_ENDPOINT:]:
            assert await deliver(tick) is None
        assert floor.count("lockgate_webhook_put_off_total") == 3


async def test_a_tenant_has_a_share_of_the_attempts_and_leaves_the_rest_to_others(
    floor: Floor, receiver: Receiver
) -> None:
    floor.asked.clear()
    for _ in range(PER_TENANT // PER_ENDPOINT + 1):
        await floor.endpoints.create(floor.tenant_id, url=receiver.url)
    ticks = []
    for _ in range(PER_ENDPOINT):
        event = await floor.put_event()
        await floor.fan_out(floor.tenant_id, event.event_id)
        ticks += [tick for tick, _ in floor.asked]
        floor.asked.clear()
    receiver.gate.clear()
    deliver = floor.deliver()
    hanging = [asyncio.create_task(deliver(tick)) for tick in ticks[:PER_TENANT]]
    await receiver.has_got(PER_TENANT)
    assert await deliver(ticks[PER_TENANT]) is not None
    other = floor.another()
    other.allow.add(("127.0.0.1", receiver.port))
    await other.endpoints.create(other.tenant_id, url=receiver.url)
    others = asyncio.create_task(deliver(await next_event(other)))
    await receiver.has_got(PER_TENANT + 1)
    receiver.gate.set()
    await asyncio.gather(others, *hanging)


async def test_an_endpoint_that_keeps_failing_is_spared_and_then_tried_with_one_delivery_at_a_time(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.answers = [(500, {}, b"")]
    ticks = [await next_event(floor) for _ in range(FAILURES_TO_OPEN + 2)]
    deliver = floor.deliver()
    for tick in ticks[:FAILURES_TO_OPEN]:
        assert await deliver(tick) is None
    first, second = ticks[FAILURES_TO_OPEN:]
    again_at = await deliver(first)
    assert again_at is not None
    assert OPEN_S <= (again_at - floor.clock.now()).total_seconds() <= 1.2 * OPEN_S
    assert (await floor.delivery(first)).attempts == ()
    await floor.clock.advance(OPEN_S)
    receiver.answers = [(200, {}, b"")]
    receiver.gate.clear()
    probing = asyncio.create_task(deliver(first))
    await receiver.has_got(FAILURES_TO_OPEN + 1)
    assert await deliver(second) is not None
    receiver.gate.set()
    await probing
    assert await deliver(second) is None
    assert (await floor.delivery(second)).status == "delivered"


async def test_a_receiver_that_asks_for_rest_is_left_alone_by_all_its_deliveries(
    floor: Floor, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.answers = [(429, {"Retry-After": "30"}, b""), (200, {}, b"")]
    first, second = await next_event(floor), await next_event(floor)
    deliver = floor.deliver()
    await deliver(first)
    again_at = await deliver(second)
    assert again_at is not None
    assert 30 <= (again_at - floor.clock.now()).total_seconds() <= 36
    await floor.clock.advance(30)
    assert await deliver(second) is None
    assert (await floor.delivery(second)).status == "delivered"


async def test_a_store_that_is_away_loses_no_delivery(
    floor: Floor, receiver: Receiver, tick: DeliveryTick, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = floor.deliver()

    async def away(_: Delivery, __: Delivery) -> bool:
        raise StoreUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(deliver, "_settle", away)
        with pytest.raises(StoreUnavailableError):
            await deliver(tick)
    again_at = await deliver(tick)
    assert again_at is not None
    await floor.clock.advance((again_at - floor.clock.now()).total_seconds())
    assert await deliver(tick) is None
    assert (await floor.delivery(tick)).status == "delivered"
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


async def test_a_suspended_tenants_deliveries_are_kept_and_go_on_once_it_is_served_again(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    floor.statuses[floor.tenant_id] = TenantStatus.SUSPENDED
    deliver = floor.deliver()
    pauses_s: list[float] = []
    while (pauses_s or [0.0])[-1] < 0.8 * HELD_MOST_S:
        assert await deliver(tick) is None
        tick, at = floor.asked.take()
        held = await floor.delivery(tick)
        assert (held.status, held.next_attempt_at, held.lease_until_at, held.attempts) == ("pending", at, None, ())
        pauses_s.append((at - floor.clock.now()).total_seconds())
        await floor.clock.advance(pauses_s[-1])
    assert pauses_s[0] <= HELD_LEAST_S
    assert max(pauses_s) <= HELD_MOST_S
    assert receiver.got == []
    assert floor.count("lockgate_webhook_held_total") == len(pauses_s)
    floor.statuses[floor.tenant_id] = TenantStatus.ACTIVE
    assert await deliver(tick) is None
    done = await floor.delivery(tick)
    assert (done.status, done.scheduled_attempts, len(receiver.got)) == ("delivered", 1, 1)


async def test_a_suspension_holds_between_attempts_too_and_costs_none_of_them(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    receiver.answers = [(500, {}, b""), (204, {}, b"")]
    deliver, sent = floor.deliver(), []
    for status in (TenantStatus.ACTIVE, TenantStatus.SUSPENDED, TenantStatus.ACTIVE):
        floor.statuses[floor.tenant_id] = status
        assert await deliver(tick) is None
        sent.append(len(receiver.got))
        if floor.asked:
            tick, at = floor.asked.take()
            await floor.clock.advance((at - floor.clock.now()).total_seconds())
    assert sent == [1, 1, 2]
    done = await floor.delivery(tick)
    assert (done.status, done.scheduled_attempts) == ("delivered", 2)


async def test_a_deleted_tenants_deliveries_are_kept_for_it_to_be_restored(
    floor: Floor, receiver: Receiver, tick: DeliveryTick
) -> None:
    floor.statuses[floor.tenant_id] = TenantStatus.DELETED
    assert await floor.deliver()(tick) is None
    tick, at = floor.asked.take()
    held = await floor.delivery(tick)
    assert (held.status, held.next_attempt_at, receiver.got) == ("pending", at, [])


async def test_a_tenant_that_is_gone_is_told_nothing_more(floor: Floor, receiver: Receiver, tick: DeliveryTick) -> None:
    floor.statuses[floor.tenant_id] = None
    assert await floor.deliver()(tick) is None
    done = await floor.delivery(tick)
    assert (done.status, done.next_attempt_at, receiver.got, floor.asked) == ("failed", None, [], [])


async def test_an_attempts_line_tells_neither_path_query_body_nor_secret(floor: Floor, receiver: Receiver) -> None:
    made = await floor.endpoints.create(floor.tenant_id, url=receiver.url + "/hidden-path?token=hidden-query")
    receiver.answers = [(500, {}, b"hidden-answer")]
    tick = await next_event(floor)
    with capture_logs() as lines:
        await floor.deliver()(tick)
    [line] = [line for line in lines if line["event"] == "webhook.attempt"]
    assert (line["tenant"], line["webhook"], line["host"]) == (floor.tenant_id, made.webhook_id, "127.0.0.1")
    assert (line["attempt"], line["result"], line["status"], line["delivery_status"]) == (1, "refused", 500, "pending")
    text = repr(lines)
    for hidden in ("hidden", made.secret, "job_1", "webhook-signature"):
        assert hidden not in text


async def test_a_tick_of_a_delivery_that_is_gone_does_nothing(floor: Floor, endpoint: WebhookEndpoint) -> None:
    gone = DeliveryTick(floor.tenant_id, endpoint.webhook_id, (await next_event(floor)).delivery_id, 0)
    await floor.stores.db(floor.tenant_id).delete(
        Delivery, Delivery.key_to(gone.tenant_id, gone.webhook_id, gone.delivery_id)
    )
    deliver: Deliver = floor.deliver()
    assert await deliver(gone) is None
    assert await deliver(DeliveryTick(gone.tenant_id, gone.webhook_id, gone.delivery_id)) is None
