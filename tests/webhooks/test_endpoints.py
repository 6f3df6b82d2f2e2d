"""A tenant's webhooks: registering, changing, deleting; secrets and their rotation."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tenancy.data_models import WebhookEndpoint
from tenancy.ids import TenantId, new_webhook_id
from tests.webhooks.conftest import PUBLIC, Floor
from webhooks.endpoints import ENDPOINT_LIMIT, EndpointChange, Endpoints, signing_secrets
from webhooks.errors import EndpointLimitError, EndpointUnknownError, UrlRefusedError


async def make(floor: Floor, url: str = PUBLIC) -> WebhookEndpoint:
    return await floor.endpoints.create(floor.tenant_id, url=url)


async def test_a_webhook_reads_back_as_it_was_registered(floor: Floor) -> None:
    events = frozenset({"job.failed", "job.expired"})
    made = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, events=events, description="to the pager")
    assert await floor.endpoints.get(floor.tenant_id, made.webhook_id) == made
    assert (made.url, made.events, made.description, made.status) == (PUBLIC, events, "to the pager", "active")


async def test_a_secret_is_not_shown_where_a_webhook_is_logged(floor: Floor) -> None:
    made = await floor.endpoints.rotate(floor.tenant_id, (await make(floor)).webhook_id)
    for secret in signing_secrets(made, floor.clock.now()):
        assert secret not in repr(made)


async def test_a_webhook_to_a_private_place_is_not_registered(floor: Floor) -> None:
    with pytest.raises(UrlRefusedError):
        await make(floor, "https://10.0.0.1/in")
    assert await floor.endpoints.all(floor.tenant_id) == ()


async def test_webhooks_are_listed_newest_first_in_pages(floor: Floor) -> None:
    made = []
    for _ in range(3):
        made.append(await make(floor))
        await floor.clock.advance(1)
    first = await floor.endpoints.list(floor.tenant_id, limit=2)
    second = await floor.endpoints.list(floor.tenant_id, limit=2, after=first.after)
    assert [*first.items, *second.items] == made[::-1]
    assert second.after is None


async def test_a_tenant_has_at_most_twenty_webhooks_however_many_are_registered_at_once(floor: Floor) -> None:
    tries = (make(floor) for _ in range(ENDPOINT_LIMIT + 10))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    refused = [answer for answer in answers if not isinstance(answer, WebhookEndpoint)]
    assert {type(answer) for answer in refused} == {EndpointLimitError}
    kept = await floor.endpoints.all(floor.tenant_id)
    assert len(kept) == len(answers) - len(refused) <= ENDPOINT_LIMIT
    for _ in range(ENDPOINT_LIMIT - len(kept)):
        await make(floor)
    with pytest.raises(EndpointLimitError):
        await make(floor)


async def test_a_webhook_that_was_registered_beside_the_twentieth_is_taken_back(floor: Floor) -> None:
    for _ in range(ENDPOINT_LIMIT):
        await make(floor)

    class LooksTooEarly(Endpoints):
        looks = 0

        async def all(self, tenant_id: TenantId) -> tuple[WebhookEndpoint, ...]:
            self.looks += 1
            return () if self.looks == 1 else await super().all(tenant_id)

    early = LooksTooEarly(floor.stores, floor.endpoints._destinations, clock=floor.clock)
    with pytest.raises(EndpointLimitError):
        await early.create(floor.tenant_id, url=PUBLIC)
    assert len(await floor.endpoints.all(floor.tenant_id)) == ENDPOINT_LIMIT


async def test_a_deleted_webhook_makes_room_and_is_unknown(floor: Floor) -> None:
    made = await make(floor)
    await floor.endpoints.delete(floor.tenant_id, made.webhook_id)
    assert await floor.endpoints.all(floor.tenant_id) == ()
    for call in (
        floor.endpoints.get(floor.tenant_id, made.webhook_id),
        floor.endpoints.delete(floor.tenant_id, made.webhook_id),
        floor.endpoints.rotate(floor.tenant_id, made.webhook_id),
        floor.endpoints.update(floor.tenant_id, made.webhook_id, EndpointChange(status="paused")),
    ):
        with pytest.raises(EndpointUnknownError):
            await call


async def test_anothers_webhook_is_unknown(floor: Floor, tenant_id: Callable[[], TenantId]) -> None:
    made, stranger = await make(floor), tenant_id()
    for call in (
        floor.endpoints.get(stranger, made.webhook_id),
        floor.endpoints.delete(stranger, made.webhook_id),
        floor.endpoints.rotate(stranger, made.webhook_id),
        floor.endpoints.update(stranger, made.webhook_id, EndpointChange(status="paused")),
        floor.endpoints.get(stranger, new_webhook_id(floor.clock.now())),
    ):
        with pytest.raises(EndpointUnknownError):
            await call
    assert await floor.endpoints.get(floor.tenant_id, made.webhook_id) == made


async def test_a_change_leaves_alone_what_it_does_not_name(floor: Floor) -> None:
    made = await floor.endpoints.create(floor.tenant_id, url=PUBLIC, description="first")
    await floor.clock.advance(5)
    changed = await floor.endpoints.update(
        floor.tenant_id, made.webhook_id, EndpointChange(events=frozenset({"job.failed"}))
    )
    wanted = {"events": frozenset({"job.failed"}), "updated_at": floor.clock.now()}
    assert changed == made.model_copy(update=wanted)
    emptied = await floor.endpoints.update(floor.tenant_id, made.webhook_id, EndpointChange(description=""))
    assert emptied == changed.model_copy(update={"description": None})


async def test_a_change_to_a_private_place_changes_nothing(floor: Floor) -> None:
    made = await make(floor)
    with pytest.raises(UrlRefusedError):
        await floor.endpoints.update(floor.tenant_id, made.webhook_id, EndpointChange(url="http://hooks.example.com/"))
    assert await floor.endpoints.get(floor.tenant_id, made.webhook_id) == made


async def test_to_activate_a_webhook_forgets_why_it_was_disabled(floor: Floor) -> None:
    made = await make(floor)
    disabled = made.model_copy(
        update={"status": "disabled", "disabled_reason": "gone", "failing_since_at": floor.clock.now()}
    )
    await floor.stores.db(floor.tenant_id).put(disabled)
    assert await floor.endpoints.update(floor.tenant_id, made.webhook_id, EndpointChange(status="active")) == made


async def test_a_replaced_secret_signs_for_as_long_as_its_overlap(floor: Floor) -> None:
    made = await make(floor)
    rotated = await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=timedelta(hours=1))
    assert rotated.secret != made.secret
    assert signing_secrets(rotated, floor.clock.now()) == (rotated.secret, made.secret)
    assert signing_secrets(rotated, floor.clock.now() + timedelta(minutes=59)) == (rotated.secret, made.secret)
    assert signing_secrets(rotated, floor.clock.now() + timedelta(hours=1)) == (rotated.secret,)


async def test_a_second_rotation_cuts_no_overlap_short(floor: Floor) -> None:
    made = await make(floor)
    second = await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=timedelta(days=7))
    third = await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=timedelta(hours=1))
    assert signing_secrets(third, floor.clock.now()) == (third.secret, second.secret, made.secret)
    assert signing_secrets(third, floor.clock.now() + timedelta(days=2)) == (third.secret, made.secret)


async def test_a_rotation_without_overlap_ends_every_older_secret(floor: Floor) -> None:
    made = await make(floor)
    await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=timedelta(days=7))
    rotated = await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=timedelta(0))
    assert signing_secrets(rotated, floor.clock.now()) == (rotated.secret,)


async def test_rotations_at_the_same_moment_lose_no_secret(floor: Floor) -> None:
    made = await make(floor)
    rotated = await asyncio.gather(*(floor.endpoints.rotate(floor.tenant_id, made.webhook_id) for _ in range(3)))
    last = await floor.endpoints.get(floor.tenant_id, made.webhook_id)
    assert set(signing_secrets(last, floor.clock.now())) == {made.secret, *(one.secret for one in rotated)}


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=7, seconds=1)])
async def test_an_overlap_lasts_from_none_to_seven_days(floor: Floor, overlap: timedelta) -> None:
    made = await make(floor)
    with pytest.raises(ValueError, match="seven days"):
        await floor.endpoints.rotate(floor.tenant_id, made.webhook_id, overlap=overlap)
