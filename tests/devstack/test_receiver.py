import asyncio
import base64
import stat
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientConnectionError, ClientSession
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from ops.devstack.receipts import KEPT
from ops.devstack.receiver import Receiver
from tenancy.clock import SystemClock
from tests.clock import FakeClock

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
PAYLOAD = {"type": "job.succeeded", "timestamp": "2025-06-01T12:00:00Z", "data": {"jobId": "job_1"}}
BODY = orjson.dumps(PAYLOAD)


def signed(secret: str, body: bytes = BODY, *, webhook_id: str = "evt_1", at: datetime | None = None) -> dict[str, str]:
    # The library judges by the system's clock.
    at = at or SystemClock().now()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at, body.decode()),
        "content-type": "application/json",
    }


@dataclass(frozen=True, slots=True)
class Client:
    http: ClientSession
    url: str

    async def deliver(self, headers: dict[str, str], body: bytes = BODY, name: str = "acme") -> int:
        async with self.http.post(f"{self.url}/hooks/{name}", data=body, headers=headers) as answer:
            return answer.status

    async def put(self, path: str, document: object) -> int:
        async with self.http.put(self.url + path, json=document) as answer:
            return answer.status

    async def inject(self, **fault: object) -> int:
        async with self.http.post(f"{self.url}/faults", json=fault) as answer:
            return answer.status

    async def delete(self, path: str) -> int:
        async with self.http.delete(self.url + path) as answer:
            return answer.status

    async def items(self, path: str = "/deliveries") -> list[dict[str, object]]:
        async with self.http.get(self.url + path) as answer:
            assert answer.status == 200
            found: list[dict[str, object]] = (await answer.json())["items"]
            return found

    async def page(self) -> str:
        async with self.http.get(f"{self.url}/") as answer:
            return await answer.text()


@pytest.fixture
async def receiver(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Client]:
    async with TestServer(Receiver(tmp_path, clock=clock).app()) as server, ClientSession() as http:
        client = Client(http, str(server.make_url("")).rstrip("/"))
        assert await client.put("/secrets/acme", {"secret": SECRET}) == 204
        yield client


async def test_a_signed_delivery_is_verified_and_shown_with_its_body_as_it_came(receiver: Client) -> None:
    headers = signed(SECRET)
    assert await receiver.deliver(headers) == 204
    [item] = await receiver.items()
    shown = item.pop("headers")
    assert isinstance(shown, dict)
    assert {name: shown[name] for name in headers} == headers
    assert item.pop("receivedAt") is not None
    assert item == {
        "id": "evt_1",
        "name": "acme",
        "type": "job.succeeded",
        "verified": True,
        "reason": None,
        "answered": 204,
        "body": BODY.decode(),
        "payload": PAYLOAD,
    }


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (lambda: signed(OTHER), "No matching signature found"),
        (lambda: signed(SECRET, b'{"type":"job.failed"}'), "No matching signature found"),
        (lambda: signed(SECRET) | {"webhook-id": "evt_2"}, "No matching signature found"),
        (lambda: signed(SECRET, at=datetime(2025, 6, 1, tzinfo=UTC)), "Message timestamp too old"),
        (lambda: signed(SECRET, at=SystemClock().now() + timedelta(minutes=30)), "Message timestamp too new"),
        (lambda: signed(SECRET) | {"webhook-signature": "v1"}, "Malformed signature or body"),
        (lambda: signed(SECRET) | {"webhook-signature": "v1,%"}, "No matching signature found"),
        (dict, "Missing required headers"),
    ],
    ids=["another secret", "another body", "another id", "old", "new", "no comma", "no base64", "unsigned"],
)
async def test_what_does_not_verify_is_refused_and_shown_with_the_reason(
    receiver: Client, headers: Callable[[], dict[str, str]], reason: str
) -> None:
    assert await receiver.deliver(headers()) == 401
    [item] = await receiver.items()
    assert (item["verified"], item["reason"], item["answered"]) == (False, reason, 401)


async def test_a_signature_by_the_new_and_the_old_secret_verifies_with_either(receiver: Client) -> None:
    both = signed(SECRET)
    both["webhook-signature"] = f"{signed(OTHER)['webhook-signature']} {both['webhook-signature']}"
    assert await receiver.deliver(both) == 204
    await receiver.put("/secrets/acme", {"secret": OTHER})
    assert await receiver.deliver(both) == 204


async def test_each_name_has_a_secret_of_its_own(receiver: Client) -> None:
    await receiver.put("/secrets/globex", {"secret": OTHER})
    assert await receiver.deliver(signed(SECRET), name="globex") == 401
    assert await receiver.deliver(signed(OTHER), name="globex") == 204
    assert await receiver.deliver(signed(SECRET), name="nobody") == 401
    assert (await receiver.items("/deliveries?name=nobody"))[0]["reason"] == (
        "no secret is known here: PUT /secrets/nobody"
    )
    assert [item["name"] for item in await receiver.items()] == ["nobody", "globex", "globex"]


async def test_attempts_of_one_event_are_found_by_their_webhook_id(receiver: Client) -> None:
    for webhook_id in ("evt_1", "evt_2", "evt_1"):
        await receiver.deliver(signed(SECRET, webhook_id=webhook_id))
    assert [item["id"] for item in await receiver.items()] == ["evt_1", "evt_2", "evt_1"]
    assert [item["id"] for item in await receiver.items("/deliveries/evt_1")] == ["evt_1", "evt_1"]
    async with receiver.http.get(f"{receiver.url}/deliveries/evt_3") as answer:
        assert answer.status == 404


async def test_what_came_can_be_forgotten(receiver: Client) -> None:
    await receiver.deliver(signed(SECRET))
    assert await receiver.delete("/deliveries") == 204
    assert await receiver.items() == []


async def test_only_the_latest_are_kept(receiver: Client) -> None:
    for number in range(KEPT + 1):
        await receiver.deliver({"webhook-id": f"evt_{number}"})
    items = await receiver.items()
    assert (len(items), items[0]["id"], items[-1]["id"]) == (KEPT, f"evt_{KEPT}", "evt_1")


async def test_a_fault_is_met_as_often_as_it_was_asked_for_by_the_name_it_was_asked_for(receiver: Client) -> None:
    assert await receiver.inject(name="acme", status=503, times=2, headers={"Retry-After": "7"}) == 204
    assert await receiver.deliver(signed(OTHER), name="globex") == 401
    for _ in range(2):
        async with receiver.http.post(f"{receiver.url}/hooks/acme", data=BODY, headers=signed(SECRET)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert await receiver.deliver(signed(SECRET)) == 204
    assert [(item["answered"], item["verified"]) for item in await receiver.items("/deliveries?name=acme")] == [
        (204, True),
        (503, True),
        (503, True),
    ]


async def test_faults_that_wait_are_listed_and_can_be_healed(receiver: Client) -> None:
    await receiver.inject(status=500)
    [fault] = await receiver.items("/faults")
    assert (fault["status"], fault["times"], fault["name"]) == (500, 1, None)
    assert await receiver.delete("/faults") == 204
    assert await receiver.deliver(signed(SECRET)) == 204


async def test_a_dropped_attempt_gets_no_answer_and_is_shown_all_the_same(receiver: Client) -> None:
    await receiver.inject(drop=True)
    with pytest.raises(ClientConnectionError):
        await receiver.deliver(signed(SECRET))
    [item] = await receiver.items()
    assert (item["verified"], item["answered"]) == (True, None)


async def test_a_hanging_attempt_is_shown_at_once_and_answered_in_the_end(receiver: Client, clock: FakeClock) -> None:
    await receiver.inject(hangS=20)
    hanging = asyncio.create_task(receiver.deliver(signed(SECRET)))
    async with asyncio.timeout(10):
        while not (items := await receiver.items()):
            await asyncio.sleep(0)
    assert items[0]["answered"] is None
    await clock.advance(20)
    assert await hanging == 204
    assert [item["answered"] for item in await receiver.items()] == [204]


@pytest.mark.parametrize(
    "fault", [{"status": 99}, {"times": 0}, {"hangS": -1}, {"surprise": 1}, {"headers": {"A": "b\r\nC: d"}}]
)
async def test_a_fault_that_cannot_be_is_refused(receiver: Client, fault: dict[str, object]) -> None:
    assert await receiver.inject(**fault) == 422
    assert await receiver.items("/faults") == []


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_%%%", "whsec_YQ==", "plain", None])
async def test_what_is_no_secret_is_refused_and_the_old_one_stays(receiver: Client, secret: object) -> None:
    assert await receiver.put("/secrets/acme", {"secret": secret}) == 422
    assert await receiver.deliver(signed(SECRET)) == 204


async def test_a_forgotten_secret_verifies_nothing(receiver: Client) -> None:
    assert await receiver.delete("/secrets/acme") == 204
    assert await receiver.deliver(signed(SECRET)) == 401


async def test_a_form_of_somebody_elses_page_changes_nothing(receiver: Client) -> None:
    async with receiver.http.post(f"{receiver.url}/faults", data=b'{"status": 500}') as answer:
        assert answer.status == 415
    assert await receiver.items("/faults") == []


@pytest.mark.parametrize("name", ["A", "a%2Fb", "-a", "a" * 65])
async def test_a_name_that_is_none_is_not_there(receiver: Client, name: str) -> None:
    assert await receiver.deliver(signed(SECRET), name=name) == 404
    assert await receiver.items() == []


async def test_the_page_shows_what_came_and_escapes_it(receiver: Client) -> None:
    body = orjson.dumps({"type": "<script>alert(1)</script>"})
    await receiver.deliver(signed(SECRET, body), body)
    await receiver.deliver({"webhook-id": "evt_2"}, b"<b>no json")
    page = await receiver.page()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; · verified" in page
    assert "not verified: Missing required headers" in page
    assert "<code>/hooks/acme</code>" in page


async def test_secrets_are_kept_over_a_restart_closed_to_others(receiver: Client, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    async with TestServer(Receiver(tmp_path, clock=SystemClock()).app()) as server:
        again = Client(receiver.http, str(server.make_url("")).rstrip("/"))
        assert await again.deliver(signed(SECRET)) == 204


@pytest.mark.stack
async def test_the_process_serves_on_loopback_and_ends_at_sigterm_though_an_attempt_hangs(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "receiver.log"
    command = [sys.executable, "-m", "ops.devstack.receiver", "--port", str(port), "--state", str(tmp_path)]
    process = await spawn(command, env={}, log=log)
    try:
        await until_ready("receiver", process, lambda: listens(port), log=log, fix="see its log")
        async with ClientSession() as http:
            client = Client(http, f"http://127.0.0.1:{port}")
            await client.put("/secrets/acme", {"secret": SECRET})
            await client.inject(hangS=3600)
            hanging = asyncio.create_task(client.deliver(signed(SECRET)))
            async with asyncio.timeout(10):
                while not await client.items():
                    await asyncio.sleep(0)
            process.terminate()
            async with asyncio.timeout(10):
                await process.wait()
            with pytest.raises(ClientConnectionError):
                await hanging
    finally:
        await stop(process)
    assert process.returncode == 0
