"""A tenant is told how its jobs end: signed, verified by a library that is not ours, and seen in the log."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession

from ops.devstack.hooks import Hooks
from ops.devstack.stack import Stack
from tests.docs.papers import pages
from tests.docs.tour import settled, steps, walk
from tests.flows.conftest import ECHO, Caller

pytestmark = pytest.mark.stack

# JSON as it came.
Json: TypeAlias = dict[str, Any]

ASYNC = {"Prefer": "respond-async"}
TOUR = steps(pages()["docs/WEBHOOKS.md"], "Try it")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of a tenant's own, and what the receiver got of it."""

    caller: Caller
    receiver: str
    session: ClientSession
    name: str
    path: str
    secret: str

    async def knows(self, secret: object) -> None:
        """Tell the receiver the secret to verify with."""
        url = f"{self.receiver}/secrets/{self.name}"
        async with self.session.put(url, json={"secret": secret}) as answer:
            assert answer.status == 204

    async def fault(self, **fault: object) -> None:
        """Have the receiver misbehave."""
        async with self.session.post(f"{self.receiver}/faults", json={"name": self.name, **fault}) as answer:
            assert answer.status == 204

    async def came(self, count: int = 1, about: str = "") -> list[Json]:
        """Return what the receiver got, the newest first, once there are so many that name what they are `about`."""
        async with asyncio.timeout(30):
            while True:
                async with self.session.get(f"{self.receiver}/deliveries?name={self.name}") as answer:
                    found: list[Json] = [item for item in (await answer.json())["items"] if about in item["body"]]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.05)

    async def listed(self, query: str = "") -> list[Json]:
        """Return the delivery log's first page."""
        status, page = await self.caller.get(f"{self.path}/deliveries{query}")
        assert status == 200
        items = page["items"]
        assert isinstance(items, list)
        return items

    async def until(self, path: str, status: str) -> Json:
        """Return a delivery, or a job, once it stands so."""
        async with asyncio.timeout(30):
            while True:
                answered, delivery = await self.caller.get(path)
                assert answered == 200
                if delivery["status"] == status:
                    return delivery
                await asyncio.sleep(0.05)

    async def tested(self) -> Json:
        """Send a test event, and return its delivery once it is over."""
        answer, _ = await self.caller.post(f"{self.path}/test")
        assert answer.status == 202
        return await self.until(answer.headers["Location"], "delivered")

    async def patch(self, **fields: object) -> Json:
        """Change the webhook and return it."""
        async with self.caller.session.patch(self.caller.gateway + self.path, json=fields) as answer:
            assert answer.status == 200
            found: Json = await answer.json()
            return found


@asynccontextmanager
async def registered(stack: Stack, caller: Caller, **fields: object) -> AsyncIterator[Hook]:
    """Register a webhook that leads to the receiver, and take it away again."""
    name, receiver = f"t{secrets.token_hex(6)}", stack.ports.url("receiver")
    answer, made = await caller.post("/v1/webhooks", {"url": f"{receiver}/hooks/{name}", **fields})
    assert answer.status == 201, made
    async with ClientSession() as session:
        hook = Hook(caller, receiver, session, name, answer.headers["Location"], str(made["secret"]))
        await hook.knows(hook.secret)
        yield hook
        async with caller.session.delete(caller.gateway + hook.path):
            pass


@pytest.fixture
async def hook(stack: Stack, acme: Caller) -> AsyncIterator[Hook]:
    # Jobs that others submitted may end meanwhile: this one does not hear of them.
    async with registered(stack, acme, events=["webhook.test"]) as made:
        yield made


@pytest.fixture
async def job_hook(stack: Stack, acme: Caller) -> AsyncIterator[Hook]:
    async with registered(stack, acme) as made:
        yield made


async def test_a_job_ends_with_a_verified_delivery(job_hook: Hook, acme: Caller) -> None:
    hook = job_hook
    _, accepted = await acme.post(ECHO, acme.echo(durationS=0.2), ASYNC)
    [item] = await hook.came(about=str(accepted["jobId"]))
    assert (item["type"], item["verified"], item["answered"]) == ("job.succeeded", True, 204)
    payload = item["payload"]
    told = payload["data"]
    assert (told["jobId"], told["agent"], told["status"]) == (accepted["jobId"], "echo-agent", "succeeded")
    _, job = await acme.get(told["links"]["job"])
    assert job["result"] == {"echo": "one two three"}

    [listed] = [one for one in await hook.listed() if one["eventId"] == item["id"]]
    delivery = await hook.until(f"{hook.path}/deliveries/{listed['id']}", "delivered")
    assert (delivery["eventId"], delivery["payload"]) == (item["id"], payload)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [204]


async def test_the_seeded_webhook_of_each_tenant_hears_of_its_own_jobs_alone(
    stack: Stack, acme: Caller, globex: Caller
) -> None:
    receiver = stack.ports.url("receiver")
    jobs = {}
    for name, caller in (("acme", acme), ("globex", globex)):
        _, accepted = await caller.post(ECHO, caller.echo(), ASYNC)
        jobs[name] = str(accepted["jobId"])
    async with ClientSession() as session, asyncio.timeout(30):
        told: dict[str, str] = {}
        while len(told) < len(jobs):
            async with session.get(f"{receiver}/deliveries") as answer:
                items = (await answer.json())["items"]
            told = {item["name"]: job for item in items for job in jobs.values() if job in item["body"]}
            assert all(item["verified"] for item in items if item["name"] in jobs)
            await asyncio.sleep(0.05)
    assert told == jobs


async def seeded(acme: Caller) -> list[Json]:
    """Return the webhooks that the stack registered for the tenant."""
    _, page = await acme.get("/v1/webhooks?limit=100")
    items = page["items"]
    assert isinstance(items, list)
    return [item for item in items if item["url"].endswith("/hooks/acme")]


async def test_the_seeded_webhook_is_found_again_at_every_start_and_its_lost_secret_made_anew(
    stack: Stack, acme: Caller
) -> None:
    hooks, [before] = Hooks(stack.layout, stack.ports), await seeded(acme)
    await hooks.register(stack.tenants)
    assert await seeded(acme) == [before]
    async with ClientSession(stack.ports.url("receiver")) as receiver:
        async with receiver.delete("/secrets/acme") as answer:
            assert answer.status == 204
        await hooks.register(stack.tenants)
        answered, delivery = await acme.post(f"/v1/webhooks/{before['id']}/test")
        assert answered.status == 202
        async with asyncio.timeout(30):
            while True:
                async with receiver.get(f"/deliveries/{delivery['eventId']}") as answer:
                    if answer.status == 200:
                        assert (await answer.json())["items"][0]["verified"]
                        break
                await asyncio.sleep(0.05)


async def test_only_events_of_the_filter_come(stack: Stack, acme: Caller) -> None:
    async with registered(stack, acme, events=["job.failed"]) as hook:
        _, other = await acme.post(ECHO, acme.echo(), ASYNC)
        await hook.until(f"/v1/jobs/{other['jobId']}", "succeeded")
        _, failing = await acme.post(ECHO, acme.echo(failAfter=0), ASYNC)
        [item] = await hook.came()
        assert item["type"] == "job.failed"
        assert str(failing["jobId"]) in str(item["body"])
        assert "agent_error" in str(item["body"])


async def test_a_test_event_comes_whatever_the_filter(stack: Stack, acme: Caller) -> None:
    async with registered(stack, acme, events=["job.expired"]) as hook:
        delivery = await hook.tested()
        [item] = await hook.came()
        assert (item["type"], item["verified"], item["id"]) == ("webhook.test", True, delivery["eventId"])


async def test_a_redelivery_has_the_same_id_and_body_and_a_time_of_its_own(hook: Hook, acme: Caller) -> None:
    delivery = await hook.tested()
    answer, again = await acme.post(f"{hook.path}/deliveries/{delivery['id']}/redeliver")
    assert (answer.status, again["id"]) == (202, delivery["id"])
    second, first = await hook.came(2)
    assert (second["id"], second["body"], second["verified"]) == (first["id"], first["body"], True)
    over = await hook.until(answer.headers["Location"], "delivered")
    assert [attempt["status"] for attempt in over["attempts"]] == [204, 204]


async def test_a_failed_attempt_is_shown_with_its_answer_and_made_again(hook: Hook, acme: Caller) -> None:
    await hook.fault(status=503)
    answer, _ = await acme.post(f"{hook.path}/test")
    await hook.came()
    delivery = await hook.until(answer.headers["Location"], "delivered")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 204]
    second, first = await hook.came(2)
    assert (second["id"], second["verified"], first["answered"]) == (first["id"], True, 503)


async def test_during_an_overlap_either_secret_verifies_and_without_one_the_new_one_alone(
    hook: Hook, acme: Caller
) -> None:
    _, rotated = await acme.post(f"{hook.path}/rotate-secret", {"overlapSeconds": 3600})
    assert rotated["secret"] != hook.secret
    await hook.tested()
    await hook.knows(rotated["secret"])
    await hook.tested()
    _, last = await acme.post(f"{hook.path}/rotate-secret", {"overlapSeconds": 0})
    await hook.knows(last["secret"])
    await hook.tested()
    signatures = [str(item["headers"]["webhook-signature"]).split() for item in await hook.came(3)]
    assert [len(each) for each in signatures] == [1, 2, 2]
    for outdated in (hook.secret, rotated["secret"]):
        await hook.knows(outdated)
        await acme.post(f"{hook.path}/test")
    refused = await hook.came(5)
    assert [item["verified"] for item in refused[:2]] == [False, False]


async def test_a_receiver_that_is_gone_is_disabled_and_can_be_activated_again(hook: Hook, acme: Caller) -> None:
    await hook.fault(status=410)
    answer, _ = await acme.post(f"{hook.path}/test")
    await hook.until(answer.headers["Location"], "failed")
    async with asyncio.timeout(10):
        while (await acme.get(hook.path))[1]["status"] == "active":
            await asyncio.sleep(0.05)
    _, disabled = await acme.get(hook.path)
    assert (disabled["status"], disabled["disabledReason"]) == ("disabled", "The endpoint answered 410 Gone.")
    refused, problem = await acme.post(f"{hook.path}/test")
    assert (refused.status, problem["code"]) == (409, "webhook_inactive")
    assert (await hook.patch(status="active"))["status"] == "active"
    await hook.tested()


async def test_what_happened_during_a_pause_is_recovered(job_hook: Hook, acme: Caller) -> None:
    hook = job_hook
    began = (await hook.patch(status="paused"))["updatedAt"]
    _, accepted = await acme.post(ECHO, acme.echo(), ASYNC)
    async with asyncio.timeout(30):
        while not (failed := await hook.listed("?status=failed")):
            await asyncio.sleep(0.05)
    await hook.patch(status="active")
    answer, recovered = await acme.post(f"{hook.path}/recover", {"since": began})
    assert (answer.status, recovered) == (202, {"redelivered": 1})
    [item] = await hook.came()
    assert item["verified"]
    assert str(accepted["jobId"]) in str(item["body"])
    assert item["id"] == failed[0]["eventId"]


async def test_a_repeated_registration_is_the_same_one_without_its_secret(stack: Stack, acme: Caller) -> None:
    body = {"url": f"{stack.ports.url('receiver')}/hooks/twice"}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first, made = await acme.post("/v1/webhooks", body, key)
    second, again = await acme.post("/v1/webhooks", body, key)
    assert (first.status, second.status, second.headers["Idempotency-Replayed"]) == (201, 201, "true")
    assert str(made.pop("secret")).startswith("whsec_")
    assert again == made
    async with acme.session.delete(acme.gateway + first.headers["Location"]) as answer:
        assert answer.status == 204


async def test_another_tenant_s_webhook_is_not_there(hook: Hook, globex: Caller) -> None:
    for path in ("", "/deliveries"):
        assert (await globex.get(hook.path + path))[0] == 404
    for path in ("/test", "/rotate-secret", "/recover"):
        answer, problem = await globex.post(
            hook.path + path, {"since": "2025-06-01T12:00:00Z"} if "rec" in path else None
        )
        assert (answer.status, problem["code"]) == (404, "not_found")
    async with globex.session.delete(globex.gateway + hook.path) as answer:
        assert answer.status == 404
    _, listed = await globex.get("/v1/webhooks")
    assert hook.path.rpartition("/")[2] not in str(listed)


async def test_a_receiver_that_nobody_allowed_is_refused_by_name(stack: Stack, acme: Caller) -> None:
    for url in (stack.gateway, "https://127.0.0.1/", "https://169.254.169.254/", "http://example.com/"):
        answer, problem = await acme.post("/v1/webhooks", {"url": url})
        assert answer.status == 422
        assert "'pointer': '/url'" in str(problem["errors"])


async def test_the_page_s_tour_shows_what_it_says(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / ".lockgate").symlink_to(stack.layout.state)
    scripts = [
        script.replace("http://127.0.0.1:8080", stack.gateway).replace(
            "http://127.0.0.1:8093", stack.ports.url("receiver")
        )
        for script, _ in TOUR
    ]
    outputs = await walk(scripts, tmp_path)
    assert len(outputs) == 3
    assert [settled(output) for output in outputs] == [settled(shown) for _, shown in TOUR]
