"""The webhooks' routes, on a real store; who may reach them is the route table's, and tested with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias, get_args

import orjson
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from gateway.problems import problem_of, respond
from gateway.routes import deliveries, webhooks
from gateway.routes.deliveries import DeliveryRoutes
from gateway.routes.webhooks import WebhookRoutes
from gateway.webhook_schemas import EventName
from tenancy.clock import SystemClock
from tenancy.context import Principal, Role, TenantContext
from tenancy.data_models import Attempt, Delivery, Tenant, WebhookEndpoint
from tenancy.errors import LockgateError
from tenancy.ids import TenantId, WebhookId, delivery_id_of, new_event_id
from tenancy.store import TenantStores
from tenancy.tiers import Tier
from tests.clock import FakeClock
from tests.conftest import Aws
from webhooks.deliveries import Deliveries
from webhooks.endpoints import ENDPOINT_LIMIT, Endpoints
from webhooks.events import EVENT_TYPES
from webhooks.lookup import Destinations, Lookup
from webhooks.ticks import DeliveryTick
from webhooks.urls import UrlRules

URL = "https://93.184.215.14/lockgate"
ALLOWED = "http://127.0.0.1:8093/hooks/acme"
UNKNOWN = "wh_01jd3k5m7p9q1r3s5t7v9w1x3y"
NO_DELIVERY = "dlv_01jd3k5m7p9q1r3s5t7v9w1x3y"


# Bodies that are refused, and the field that is named.
Refusals: TypeAlias = tuple[tuple[object, str], ...]


def refusals(bodies: Refusals) -> list[tuple[int, str, list[str]]]:
    return [(422, "fields_invalid", [pointer]) for _, pointer in bodies]


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    json: dict[str, Any]

    @property
    def pointers(self) -> list[str]:
        return [fault["pointer"] for fault in self.json["errors"]]


@dataclass(slots=True)
class Asked:
    """Remembers which attempts were asked for."""

    ticks: list[DeliveryTick] = field(default_factory=list)

    async def __call__(self, tick: DeliveryTick, *, at: datetime) -> None:
        self.ticks.append(tick)


@dataclass(frozen=True, slots=True)
class Client:
    session: ClientSession
    url: str
    stores: TenantStores
    clock: FakeClock
    asked: Asked
    acme: TenantId
    globex: TenantId

    async def __call__(
        self, method: str, path: str, body: object = None, *, tenant: TenantId | None = None
    ) -> Answered:
        headers = {"tenant": tenant or self.acme, "Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            said = await answer.read()
            return Answered(answer.status, dict(answer.headers), orjson.loads(said) if said else {})

    async def made(self, tenant: TenantId | None = None, **fields: object) -> str:
        """Register a webhook and return its path."""
        answer = await self("POST", "/v1/webhooks", {"url": URL, **fields}, tenant=tenant)
        assert answer.status == 201, answer.json
        return answer.headers["Location"]

    async def answers_to(self, method: str, path: str, bodies: Refusals) -> list[tuple[int, str, list[str]]]:
        """Send each body and return what it was refused with."""
        answers = [await self(method, path, body) for body, _ in bodies]
        return [(answer.status, answer.json["code"], answer.pointers) for answer in answers]

    async def sent(self, path: str, status: str, *, at: datetime | None = None) -> Delivery:
        """Store a delivery that has come to this status."""
        now = at or self.clock.now()
        webhook_id, event_id = WebhookId(path.rpartition("/")[2]), new_event_id(now)
        delivery = Delivery.model_validate(
            {
                "tenant_id": self.acme,
                "delivery_id": delivery_id_of(event_id, webhook_id, now),
                "webhook_id": webhook_id,
                "event_id": event_id,
                "event_type": "job.failed",
                "payload_json": '{"type":"job.failed","data":{"jobId":"job_1"}}',
                "status": status,
                "attempts": (Attempt(at=now, duration_ms=12, status=500, answer_head="oops"),),
                "created_at": now,
                "ttl": int((now + timedelta(days=30)).timestamp()),
            }
        )
        await self.stores.db(self.acme).put(delivery)
        return delivery


def served(endpoints: Endpoints, log: Deliveries, clock: FakeClock) -> web.Application:
    """Return an application with the routes alone; a header says who is calling."""
    hooks, told = WebhookRoutes(endpoints, clock), DeliveryRoutes(log)

    def of(
        handler: Callable[[web.Request, TenantContext], Awaitable[web.StreamResponse]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            tenant_id = TenantId(request.headers["tenant"])
            now = clock.now()
            tenant = Tenant(tenant_id=tenant_id, name="x", tier=Tier.BASIC, created_at=now, updated_at=now)
            principal = Principal("subject", "client", frozenset({Role.AGENT_INVOKE}), tenant_id)
            try:
                return await handler(request, TenantContext(tenant, principal))
            except LockgateError as error:
                return respond(problem_of(error), "req_1")

        return handle

    handlers = (
        (webhooks.LIST, hooks.list),
        (webhooks.CREATE, hooks.create),
        (webhooks.GET, hooks.get),
        (webhooks.PATCH, hooks.patch),
        (webhooks.DELETE, hooks.delete),
        (webhooks.ROTATE, hooks.rotate),
        (deliveries.LIST, told.list),
        (deliveries.GET, told.get),
        (deliveries.TEST, told.test),
        (deliveries.REDELIVER, told.redeliver),
        (deliveries.RECOVER, told.recover),
    )
    app = web.Application()
    app.add_routes([web.route(each.method, each.path, of(handler)) for each, handler in handlers])
    return app


@pytest.fixture
async def api(aws: Aws, tenant_id: Callable[[], TenantId]) -> AsyncIterator[Client]:
    # The stored items' time to live must not have run out.
    clock, asked, lookup = FakeClock(SystemClock().now().replace(microsecond=0)), Asked(), Lookup()
    stores = TenantStores(
        aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=lambda _: None
    )
    rules = UrlRules(frozenset({("127.0.0.1", 8093)}))
    endpoints = Endpoints(stores, Destinations(rules, lookup), clock=clock)
    log = Deliveries(stores, endpoints, asked, clock=clock)
    async with TestServer(served(endpoints, log, clock)) as server, ClientSession() as session:
        yield Client(session, str(server.make_url("")).rstrip("/"), stores, clock, asked, tenant_id(), tenant_id())
    lookup.close()


def test_the_api_names_every_event_there_is() -> None:
    assert set(get_args(EventName)) == EVENT_TYPES


async def test_a_new_webhook_shows_its_secret_once(api: Client) -> None:
    answer = await api(
        "POST",
        "/v1/webhooks",
        {"url": URL, "description": " back office ", "events": ["job.failed", "job.succeeded", "job.failed"]},
    )
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Location"] == f"/v1/webhooks/{made['id']}"
    assert made.pop("secret").startswith("whsec_")
    assert {name: made[name] for name in ("url", "description", "events", "status")} == {
        "url": URL,
        "description": "back office",
        "events": ["job.succeeded", "job.failed"],
        "status": "active",
    }
    assert (await api("GET", f"/v1/webhooks/{made['id']}")).json == made
    assert (await api("GET", "/v1/webhooks")).json == {"items": [made]}


async def test_no_filter_is_every_event(api: Client) -> None:
    assert (await api("GET", await api.made())).json["events"] == []


REFUSED: Refusals = (
    ({}, "/url"),
    ({"url": ""}, "/url"),
    ({"url": 1}, "/url"),
    ({"url": None}, "/url"),
    ({"url": "https://example.com/" + "a" * 2048}, "/url"),
    ({"url": "http://93.184.215.14/"}, "/url"),
    ({"url": "https://93.184.215.14:444/"}, "/url"),
    ({"url": "https://169.254.169.254/latest/meta-data"}, "/url"),
    ({"url": "https://[::ffff:10.0.0.1]/"}, "/url"),
    ({"url": "https://localhost/"}, "/url"),
    ({"url": "https://2130706433/"}, "/url"),
    ({"url": "https://u:p@example.com/"}, "/url"),
    ({"url": "http://127.0.0.1:8094/hooks/acme"}, "/url"),
    ({"url": "ftp://example.com/"}, "/url"),
    ({"url": "nonsense"}, "/url"),
    ({"url": "https://example.com/\u0000"}, "/url"),
    ({"url": URL, "events": "job.failed"}, "/events"),
    ({"url": URL, "events": ["job.exploded"]}, "/events/0"),
    ({"url": URL, "events": ["job.failed"] * 11}, "/events"),
    ({"url": URL, "description": ""}, "/description"),
    ({"url": URL, "description": "two\nlines"}, "/description"),
    ({"url": URL, "description": "x" * 201}, "/description"),
    ({"url": URL, "secret": "whsec_mine"}, ""),
    ([], ""),
)


async def test_what_cannot_be_registered_is_refused_with_the_field_s_name(api: Client) -> None:
    assert await api.answers_to("POST", "/v1/webhooks", REFUSED) == refusals(REFUSED)
    assert (await api("GET", "/v1/webhooks")).json["items"] == []


async def test_a_refused_url_says_what_is_wrong_with_it(api: Client) -> None:
    answer = await api("POST", "/v1/webhooks", {"url": "http://93.184.215.14/"})
    assert answer.json["errors"] == [{"pointer": "/url", "detail": "The URL must begin with https://."}]


async def test_a_receiver_on_the_allow_list_may_be_local_and_plain(api: Client) -> None:
    assert (await api("POST", "/v1/webhooks", {"url": ALLOWED})).json["url"] == ALLOWED


async def test_a_tenant_has_a_limit_of_its_own(api: Client) -> None:
    made = [await api.made() for _ in range(ENDPOINT_LIMIT)]
    answer = await api("POST", "/v1/webhooks", {"url": URL})
    assert (answer.status, answer.json["code"]) == (409, "webhook_limit")
    await api.made(tenant=api.globex)
    await api("DELETE", made[0])
    await api.made()


async def test_webhooks_are_listed_newest_first_page_by_page(api: Client) -> None:
    made = []
    for _ in range(3):
        made.append((await api.made()).rpartition("/")[2])
        await api.clock.advance(1)
    first = (await api("GET", "/v1/webhooks?limit=2")).json
    second = (await api("GET", f"/v1/webhooks?limit=2&cursor={first['nextCursor']}")).json
    assert [item["id"] for page in (first, second) for item in page["items"]] == made[::-1]
    assert "nextCursor" not in second
    other = await api("GET", f"/v1/webhooks?cursor={first['nextCursor']}", tenant=api.globex)
    assert (other.status, other.pointers) == (422, ["cursor"])


async def test_a_webhook_is_changed_where_it_is_named_and_nowhere_else(api: Client) -> None:
    path = await api.made(description="old", events=["job.failed"])
    await api.clock.advance(60)
    changed = (await api("PATCH", path, {"description": "new"})).json
    assert (changed["description"], changed["events"], changed["url"]) == ("new", ["job.failed"], URL)
    assert changed["updatedAt"] > changed["createdAt"]
    assert (await api("PATCH", path, {"events": [], "url": ALLOWED})).json | {"updatedAt": ""} == changed | {
        "events": [],
        "url": ALLOWED,
        "updatedAt": "",
    }
    assert "description" not in (await api("PATCH", path, {"description": None})).json


async def test_a_webhook_is_paused_and_resumed(api: Client) -> None:
    path = await api.made()
    assert (await api("PATCH", path, {"status": "paused"})).json["status"] == "paused"
    refused = await api("POST", f"{path}/test")
    assert (refused.status, refused.json["code"]) == (409, "webhook_inactive")
    assert (await api("PATCH", path, {"status": "active"})).json["status"] == "active"
    assert (await api("POST", f"{path}/test")).status == 202


async def test_a_disabled_webhook_says_why_until_it_is_activated(api: Client) -> None:
    path = await api.made()
    key = WebhookEndpoint.key_of(api.acme, path.rpartition("/")[2])
    since = api.clock.now().isoformat()
    await api.stores.db(api.acme).update(
        WebhookEndpoint, key, {"status": "disabled", "disabled_reason": "Gone.", "failing_since_at": since}
    )
    shown = (await api("GET", path)).json
    assert (shown["status"], shown["disabledReason"]) == ("disabled", "Gone.")
    assert "failingSinceAt" in shown
    active = (await api("PATCH", path, {"status": "active"})).json
    assert active["status"] == "active"
    assert {"disabledReason", "failingSinceAt"} & active.keys() == set()


UNCHANGEABLE: Refusals = (
    ({"url": None}, "/url"),
    ({"url": "https://10.0.0.1/"}, "/url"),
    ({"events": None}, "/events"),
    ({"status": "disabled"}, "/status"),
    ({"status": None}, "/status"),
    ({"secret": "x"}, ""),
)


async def test_a_change_that_cannot_be_made_is_refused_and_nothing_changes(api: Client) -> None:
    path = await api.made()
    before = (await api("GET", path)).json
    assert await api.answers_to("PATCH", path, UNCHANGEABLE) == refusals(UNCHANGEABLE)
    assert (await api("GET", path)).json == before


async def test_a_deleted_webhook_is_gone(api: Client) -> None:
    path = await api.made()
    assert (await api("DELETE", path)).status == 204
    assert [(await api(method, path)).status for method in ("GET", "DELETE")] == [404, 404]


async def test_a_new_secret_is_shown_once_and_the_old_one_lasts_a_day_unless_said_otherwise(api: Client) -> None:
    made = (await api("POST", "/v1/webhooks", {"url": URL})).json
    path = f"/v1/webhooks/{made['id']}"
    rotated = (await api("POST", f"{path}/rotate-secret")).json
    assert rotated["secret"] not in {made["secret"], None}
    day = timedelta(days=1)
    assert datetime.fromisoformat(rotated["previousSecretExpiresAt"]) == api.clock.now() + day
    assert "secret" not in (await api("GET", path)).json
    await api.clock.advance(day.total_seconds())
    assert "previousSecretExpiresAt" not in (await api("GET", path)).json


async def test_an_overlap_can_be_chosen(api: Client) -> None:
    for seconds in (1, 3600, 604_800, 3600.0):
        rotated = await api("POST", f"{await api.made()}/rotate-secret", {"overlapSeconds": seconds})
        until = datetime.fromisoformat(rotated.json["previousSecretExpiresAt"])
        assert until == api.clock.now() + timedelta(seconds=seconds)


async def test_without_an_overlap_no_older_secret_is_left(api: Client) -> None:
    rotated = await api("POST", f"{await api.made()}/rotate-secret", {"overlapSeconds": 0})
    assert rotated.status == 200
    assert "previousSecretExpiresAt" not in rotated.json


OVERLAPS: Refusals = tuple(
    ({"overlapSeconds": seconds}, "/overlapSeconds") for seconds in (-1, 604_801, 0.5, "60", None, True)
)


async def test_an_overlap_beyond_its_bounds_is_refused_and_the_secret_stays(api: Client) -> None:
    path = await api.made()
    key = WebhookEndpoint.key_of(api.acme, path.rpartition("/")[2])
    before = await api.stores.db(api.acme).get(WebhookEndpoint, key)
    assert await api.answers_to("POST", f"{path}/rotate-secret", OVERLAPS) == refusals(OVERLAPS)
    assert before == await api.stores.db(api.acme).get(WebhookEndpoint, key)


async def test_a_test_event_is_asked_for_and_stands_in_the_log(api: Client) -> None:
    path = await api.made(events=["job.failed"])
    answer = await api("POST", f"{path}/test")
    assert (answer.status, answer.json["eventType"], answer.json["status"]) == (202, "webhook.test", "pending")
    assert answer.headers["Location"] == f"{path}/deliveries/{answer.json['id']}"
    [tick] = api.asked.ticks
    assert tick.delivery_id == answer.json["id"]
    shown = (await api("GET", answer.headers["Location"])).json
    payload = shown.pop("payload")
    assert shown == answer.json
    assert (payload["type"], payload["data"]) == ("webhook.test", {"webhookId": path.rpartition("/")[2]})


async def test_a_delivery_shows_every_attempt(api: Client) -> None:
    path = await api.made()
    stored = await api.sent(path, "failed")
    shown = (await api("GET", f"{path}/deliveries/{stored.delivery_id}")).json
    assert (shown["status"], shown["eventId"], shown["eventType"]) == ("failed", stored.event_id, "job.failed")
    [attempt] = shown["attempts"]
    assert {name: attempt[name] for name in ("durationMs", "status", "answerHead")} == {
        "durationMs": 12,
        "status": 500,
        "answerHead": "oops",
    }
    assert shown["payload"] == {"type": "job.failed", "data": {"jobId": "job_1"}}


async def test_deliveries_are_listed_newest_first_page_by_page_and_by_status(api: Client) -> None:
    path = await api.made()
    stored = []
    for status in ("failed", "delivered", "failed", "pending"):
        stored.append(await api.sent(path, status))
        await api.clock.advance(1)
    ids = [delivery.delivery_id for delivery in stored[::-1]]
    first = (await api("GET", f"{path}/deliveries?limit=3")).json
    second = (await api("GET", f"{path}/deliveries?limit=3&cursor={first['nextCursor']}")).json
    assert [item["id"] for page in (first, second) for item in page["items"]] == ids
    assert all("payload" not in item for item in first["items"])
    failed = (await api("GET", f"{path}/deliveries?status=failed&limit=1")).json
    rest = (await api("GET", f"{path}/deliveries?status=failed&limit=1&cursor={failed['nextCursor']}")).json
    assert [item["id"] for page in (failed, rest) for item in page["items"]] == [ids[1], ids[3]]


async def test_a_list_that_cannot_be_is_refused(api: Client) -> None:
    path = await api.made()
    for query, pointer in (("status=lost", "status"), ("limit=0", "limit"), ("cursor=x", "cursor")):
        answer = await api("GET", f"{path}/deliveries?{query}")
        assert (answer.status, answer.pointers) == (422, [pointer])


async def test_a_cursor_of_one_webhook_is_none_of_another(api: Client) -> None:
    one, other = await api.made(), await api.made()
    for _ in range(2):
        await api.sent(one, "failed")
    cursor = (await api("GET", f"{one}/deliveries?limit=1")).json["nextCursor"]
    answer = await api("GET", f"{other}/deliveries?cursor={cursor}")
    assert (answer.status, answer.pointers) == (422, ["cursor"])


async def test_a_delivery_is_sent_again_whatever_came_of_it(api: Client) -> None:
    path = await api.made()
    stored = await api.sent(path, "delivered")
    answer = await api("POST", f"{path}/deliveries/{stored.delivery_id}/redeliver")
    assert (answer.status, answer.json["status"], answer.json["eventId"]) == (202, "pending", stored.event_id)
    assert [tick.delivery_id for tick in api.asked.ticks] == [stored.delivery_id]


async def test_exactly_what_failed_in_a_time_is_sent_again(api: Client) -> None:
    path, began = await api.made(), api.clock.now()
    stored = []
    for status in ("failed", "delivered", "failed", "pending", "failed"):
        stored.append(await api.sent(path, status))
        await api.clock.advance(60)
    until = stored[4].created_at
    answer = await api(
        "POST",
        f"{path}/recover",
        {"since": (began + timedelta(seconds=1)).isoformat(), "until": until.isoformat().replace("+00:00", "Z")},
    )
    assert (answer.status, answer.json) == (202, {"redelivered": 1})
    assert [tick.delivery_id for tick in api.asked.ticks] == [stored[2].delivery_id]
    rest = await api("POST", f"{path}/recover", {"since": began.isoformat()})
    assert rest.json == {"redelivered": 2}


TIMES: Refusals = (
    ({}, "/since"),
    ({"since": "yesterday"}, "/since"),
    ({"since": 1748779200}, "/since"),
    ({"since": "2025-06-01T12:00:00"}, "/since"),
    ({"since": "2025-06-01T12:00:00Z", "until": "2025-06-01T12:00:00Z"}, "/until"),
    ({"since": "2025-06-01T12:00:00Z", "until": "then"}, "/until"),
)


async def test_a_time_that_is_none_is_refused(api: Client) -> None:
    path = await api.made()
    assert await api.answers_to("POST", f"{path}/recover", TIMES) == refusals(TIMES)


SINCE = {"since": "2020-01-01T00:00:00Z"}
DOORS = (
    ("GET", "", None),
    ("PATCH", "", {"status": "paused"}),
    ("DELETE", "", None),
    ("POST", "/test", None),
    ("POST", "/rotate-secret", None),
    ("GET", "/deliveries", None),
    ("GET", f"/deliveries/{NO_DELIVERY}", None),
    ("POST", f"/deliveries/{NO_DELIVERY}/redeliver", None),
    ("POST", "/recover", SINCE),
)


async def test_another_tenant_s_webhook_is_as_unknown_as_one_that_never_was(api: Client) -> None:
    path = await api.made()
    real = (await api.sent(path, "failed")).delivery_id
    for method, suffix, body in DOORS:
        theirs = await api(method, path + suffix.replace(NO_DELIVERY, real), body, tenant=api.globex)
        never = await api(method, f"/v1/webhooks/{UNKNOWN}{suffix}", body, tenant=api.globex)
        odd = await api(method, f"/v1/webhooks/nonsense{suffix}", body, tenant=api.globex)
        assert (theirs.status, theirs.json) == (never.status, never.json) == (odd.status, odd.json)
        assert (theirs.status, theirs.json["code"]) == (404, "not_found")
    assert api.asked.ticks == []
    assert (await api("GET", path)).json["status"] == "active"


async def test_of_registrations_at_one_moment_no_more_than_the_limit_stay(api: Client) -> None:
    await asyncio.gather(*(api("POST", "/v1/webhooks", {"url": URL}) for _ in range(ENDPOINT_LIMIT + 5)))
    assert len((await api("GET", "/v1/webhooks?limit=100")).json["items"]) <= ENDPOINT_LIMIT
