"""Asking again with a key, on two gateway processes and for two tenants; following and cancelling jobs there."""

import asyncio
import secrets

import pytest

from tests.flows.conftest import ECHO, Caller
from tests.flows.events import events_of
from tests.flows.test_strangers import UNKNOWN, shape

pytestmark = pytest.mark.stack

ASYNC = {"Prefer": "respond-async"}
STREAM = {"Accept": "text/event-stream"}
NEVER_MS = 3_000_000


def key() -> dict[str, str]:
    """Return a key nobody has used."""
    return {"Idempotency-Key": secrets.token_hex(8)}


async def test_every_process_gives_the_same_answer(acme: Caller, acme_elsewhere: Caller) -> None:
    for mode in ({}, ASYNC):
        sent = key() | mode
        first, body = await acme.post(ECHO, acme.echo(), sent)
        again, replayed = await acme_elsewhere.post(ECHO, acme.echo(), sent)
        assert (again.status, replayed) == (first.status, body)
        assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")


async def test_requests_at_once_on_two_processes_make_one_job(acme: Caller, acme_elsewhere: Caller) -> None:
    sent = key() | ASYNC
    callers = [acme, acme_elsewhere] * 10
    answers = await asyncio.gather(*(caller.post(ECHO, acme.echo(), sent) for caller in callers))
    assert {answer.status for answer, _ in answers} == {202}
    assert len({body["jobId"] for _, body in answers}) == 1


async def test_an_original_that_runs_elsewhere_is_waited_for(acme: Caller, acme_elsewhere: Caller) -> None:
    sent, endless = key() | STREAM, acme.echo(chunks=2, delayMs=NEVER_MS)
    async with acme.session.post(acme.gateway + ECHO, json=endless, headers=sent) as running:
        invocation = running.headers["X-Invocation-Id"]
        answer, problem = await acme_elsewhere.post(ECHO, endless, sent)
        assert (answer.status, problem["code"]) == (409, "idempotency_running")
        assert answer.headers["Retry-After"]
        await acme_elsewhere.post(f"/v1/invocations/{invocation}/cancel")
        read = await running.read()
    async with acme_elsewhere.session.post(acme_elsewhere.gateway + ECHO, json=endless, headers=sent) as again:
        assert await again.read() == read
        assert again.headers["X-Invocation-Id"] == invocation


async def test_a_key_is_its_tenants_own(acme: Caller, globex: Caller) -> None:
    sent = key() | ASYNC
    _, mine = await acme.post(ECHO, acme.echo(), sent)
    answer, theirs = await globex.post(ECHO, acme.echo(), sent)
    assert (answer.status, answer.headers.get("Idempotency-Replayed")) == (202, None)
    assert mine["jobId"] != theirs["jobId"]


async def test_anothers_job_can_be_neither_followed_nor_cancelled(acme: Caller, globex: Caller) -> None:
    _, mine = await acme.post(ECHO, acme.echo(durationS=2), ASYNC)
    followed, unknown = f"/v1/jobs/{mine['jobId']}/events", f"{UNKNOWN['job']}/events"
    for query in ("", "?startingAfter=1"):
        status, problem = await globex.get(followed + query)
        assert (status, shape(problem)) == (404, shape((await globex.get(unknown + query))[1]))
    answer, problem = await globex.post(f"/v1/jobs/{mine['jobId']}/cancel")
    assert (answer.status, problem["code"]) == (404, "not_found")
    assert (await acme.get(f"/v1/jobs/{mine['jobId']}"))[1].get("cancelRequestedAt") is None


async def test_a_job_is_followed_on_another_process_until_it_is_cancelled(acme: Caller, acme_elsewhere: Caller) -> None:
    _, accepted = await acme.post(ECHO, acme.echo(durationS=3000), ASYNC)
    path = f"/v1/jobs/{accepted['jobId']}"
    names = []
    async with acme_elsewhere.session.get(f"{acme_elsewhere.gateway}{path}/events") as stream:
        async for event in events_of(stream.content):
            names.append(event.name)
            if event.name == "job.started":
                answer, job = await acme.post(f"{path}/cancel")
                assert (answer.status, job["status"]) == (202, "running")
    assert (names[0], names[1], names[-1]) == ("job.queued", "job.started", "job.cancelled")
    answer, job = await acme.post(f"{path}/cancel")
    assert (answer.status, job["status"]) == (200, "cancelled")


async def test_a_tenant_is_created_once(operator: Caller) -> None:
    sent, name = key(), f"t{secrets.token_hex(6)}"
    body = {"id": name, "name": "Once", "tier": "basic"}
    answers = await asyncio.gather(*(operator.post("/v1/admin/tenants", body, sent) for _ in range(5)))
    assert [answer.status for answer, _ in answers] == [201] * 5
    assert all(shown == answers[0][1] for _, shown in answers)
    other, problem = await operator.post("/v1/admin/tenants", body | {"name": "Twice"}, sent)
    assert (other.status, problem["code"]) == (422, "idempotency_key_reused")
    plain, problem = await operator.post("/v1/admin/tenants", body)
    assert (plain.status, problem["code"]) == (409, "tenant_exists")
