"""Two tenants, every route: what is another's looks exactly like what does not exist."""

import uuid

import pytest
from aiohttp import ClientSession

from ops.devstack.stack import Stack
from tests.flows.conftest import ECHO, Caller

pytestmark = pytest.mark.stack

UNKNOWN = {
    "invocation": "/v1/invocations/inv_00000000000000000000000000",
    "job": "/v1/jobs/job_00000000000000000000000000",
}


def shape(problem: dict[str, object]) -> dict[str, object]:
    """Return a problem without what differs from request to request."""
    return {name: value for name, value in problem.items() if name not in ("requestId", "instance")}


async def test_anothers_invocation_is_unknown(acme: Caller, globex: Caller) -> None:
    mine, _ = await acme.post(ECHO, acme.echo())
    path = f"/v1/invocations/{mine.headers['X-Invocation-Id']}"
    assert (await acme.get(path))[0] == 200
    status, problem = await globex.get(path)
    unknown_status, unknown = await globex.get(UNKNOWN["invocation"])
    assert (status, shape(problem)) == (unknown_status, shape(unknown))
    assert status == 404


async def test_anothers_invocation_cannot_be_cancelled(acme: Caller, globex: Caller) -> None:
    invocation = ""
    async for event in acme.stream(acme.echo(chunks=2, delayMs=3_000_000)):
        invocation = invocation or str(event.json["invocationId"])
        if event.name == "agent.chunk":
            answer, problem = await globex.post(f"/v1/invocations/{invocation}/cancel")
            assert (answer.status, problem["code"]) == (404, "not_found")
            assert (await acme.get(f"/v1/invocations/{invocation}"))[1]["status"] == "running"
            break


async def test_anothers_job_is_unknown(acme: Caller, globex: Caller) -> None:
    _, accepted = await acme.post(ECHO, acme.echo(), {"Prefer": "respond-async"})
    status, problem = await globex.get(f"/v1/jobs/{accepted['jobId']}")
    _, unknown = await globex.get(UNKNOWN["job"])
    assert (status, shape(problem)) == (404, shape(unknown))
    _, listed = await globex.get("/v1/jobs?limit=100")
    assert str(accepted["jobId"]) not in str(listed)


async def test_anothers_session_is_unknown(acme: Caller, globex: Caller) -> None:
    mine, _ = await acme.post(ECHO, acme.echo())
    stolen = globex.echo() | {"sessionId": mine.headers["X-Session-Id"]}
    made_up = globex.echo() | {"sessionId": "ses_" + "0" * 48}
    answer, problem = await globex.post(ECHO, stolen)
    _, unknown = await globex.post(ECHO, made_up)
    assert (answer.status, shape(problem)) == (404, shape(unknown))
    again, _ = await acme.post(ECHO, acme.echo() | {"sessionId": mine.headers["X-Session-Id"]})
    assert again.status == 200


async def test_a_header_that_names_another_tenant_is_refused(acme: Caller) -> None:
    answer, problem = await acme.post(ECHO, acme.echo(), {"X-Tenant-Id": "globex"})
    assert (answer.status, problem["code"]) == (403, "tenant_mismatch")
    same, _ = await acme.post(ECHO, acme.echo(), {"X-Tenant-Id": "acme"})
    assert same.status == 200


async def test_an_operator_invokes_nothing(operator: Caller) -> None:
    answer, problem = await operator.post(ECHO, operator.echo())
    assert (answer.status, problem["code"]) == (403, "role_missing")
    status, me = await operator.get("/v1/me")
    assert status == 200
    assert me["roles"] == ["Platform.Admin", "Platform.Operator"]
    assert me["tenant"] is None


@pytest.mark.parametrize(
    "authorization", [None, "", "Basic abc", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer lg_live_x"]
)
async def test_nobody_gets_in_without_a_token(stack: Stack, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with ClientSession() as session, session.get(stack.gateway + "/v1/me", headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"


async def test_me_tells_the_tenant_its_limits(globex: Caller) -> None:
    status, me = await globex.get("/v1/me")
    assert status == 200
    assert me["tenant"] == {"id": "globex", "name": "Globex", "tier": "basic", "status": "active"}
    assert me["limits"] == {
        "requestsPerSecond": 10,
        "burstRequests": 20,
        "invocationsPerDay": 1000,
        "concurrentStreams": 5,
        "runningJobs": 2,
        "replaySeconds": 600,
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/agents/no-such-agent", 404, "not_found"),
        ("GET", "/v1/agents/NOT%20A%20NAME", 404, "not_found"),
        ("GET", "/v1/jobs/not-an-id", 404, "not_found"),
        ("GET", "/v1/jobs?limit=0", 422, "fields_invalid"),
        ("GET", "/v1/jobs?cursor=x", 422, "fields_invalid"),
        ("GET", "/v1/jobs?status=done", 422, "fields_invalid"),
        ("DELETE", "/v1/me", 405, "method_not_allowed"),
        ("POST", "/v1/agents/no-such-agent/invocations", 404, "not_found"),
        ("POST", ECHO, 415, "media_type_unsupported"),
    ],
)
async def test_every_refusal_is_a_problem(acme: Caller, method: str, path: str, status: int, code: str) -> None:
    request_id = f"test-{uuid.uuid4()}"
    headers = {"X-Request-Id": request_id}
    async with acme.session.request(method, acme.gateway + path, headers=headers) as answer:
        problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"], problem["status"]) == (status, code, status)
    assert problem["requestId"] == answer.headers["X-Request-Id"] == request_id


@pytest.mark.parametrize(
    ("fields", "headers", "pointer"),
    [
        ({"webhookId": "wh_nobody"}, {"Prefer": "respond-async"}, "/webhookId"),
        ({"webhookId": "wh_nobody"}, {}, "/webhookId"),
        ({"sessionId": "ses_" + "0" * 48}, {"Prefer": "respond-async"}, "/sessionId"),
        ({"surprise": 1}, {}, ""),
    ],
)
async def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    acme: Caller, fields: dict[str, object], headers: dict[str, str], pointer: str
) -> None:
    answer, problem = await acme.post(ECHO, acme.echo() | fields, headers)
    assert (answer.status, problem["code"]) == (422, "fields_invalid")
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]  # type: ignore[attr-defined]
