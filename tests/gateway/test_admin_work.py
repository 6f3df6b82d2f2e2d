"""What operators do to a tenant's work, on a whole gateway: seen, stopped, redriven once, and told."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from jobs import records
from tenancy.clock import SystemClock
from tenancy.data_models import (
    Failure,
    InvocationRecord,
    JobRecord,
    Mode,
    SessionRecord,
    Status,
    WebhookEndpoint,
)
from tenancy.ids import AgentName, SessionId, new_invocation_id, new_session_id, new_webhook_id
from tests.conftest import Aws
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; its runtime is away."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


def agent(whole: Whole) -> AgentName:
    return AgentName(whole.path.split("/")[3])


async def job(whole: Whole, *, dead: bool = False, status: Status = Status.QUEUED) -> JobRecord:
    """Submit a job; there is no worker here, so it stays as it is put."""
    headers = {"Prefer": "respond-async"}
    async with whole.session.post(whole.url + whole.path, json={"input": {"n": 7}}, headers=headers) as answer:
        assert answer.status == 202
        job_id = (await answer.json())["jobId"]
    store = whole.process.parts.jobs
    found = await store.get(whole.tenant_id, job_id, consistent=True)
    assert found is not None
    if dead:
        error = Failure(code="job_poisoned", detail="x")
        now = SystemClock().now()
        return await store.end(found, records.ended(found, Status.FAILED, now, error=error, dead_letter=True))
    if status is Status.RUNNING:
        await whole.stores.db(whole.tenant_id).update(JobRecord, found.key(), {"status": "running"})
    return found


async def act(whole: Whole, path: str, **query: str) -> Answered:
    return await whole.act("POST", f"/tenants/{whole.tenant_id}/{path}", {"reason": "tried"}, **query)


async def look(whole: Whole, path: str, **query: str) -> Answered:
    return await whole.act("GET", f"/tenants/{whole.tenant_id}/{path}", None, **query)


async def told(whole: Whole) -> list[tuple[str, str]]:
    answer = await whole.act("GET", "/audit", None, tenant=whole.tenant_id)
    return [(one["operation"], one["outcome"]) for one in answer.body["items"]]  # type: ignore[attr-defined]


async def test_a_tenants_jobs_are_seen_as_the_tenant_sees_them(whole: Whole) -> None:
    made = await job(whole)
    mine, theirs = await look(whole, "jobs"), await whole.get("/v1/jobs")
    assert mine.body == theirs.body
    one = await look(whole, f"jobs/{made.job_id}")
    assert (one.status, one.body["jobId"]) == (200, made.job_id)
    assert (await whole.act("GET", f"/tenants/nobody-here/jobs/{made.job_id}")).status == 404
    assert (await whole.get(f"/v1/admin/tenants/{whole.tenant_id}/jobs")).code == "role_missing"


async def test_a_job_that_has_not_begun_is_given_up_once(whole: Whole) -> None:
    made = await job(whole)
    failed = await act(whole, f"jobs/{made.job_id}/fail")
    assert (failed.body["status"], failed.body["error"]["code"]) == ("failed", "failed_by_operator")  # type: ignore[index]
    assert (await act(whole, f"jobs/{made.job_id}/fail")).body["status"] == "failed"
    assert await told(whole) == [("job.fail", "allowed")]


async def test_a_job_that_has_begun_is_cancelled_and_not_failed(whole: Whole) -> None:
    made = await job(whole, status=Status.RUNNING)
    assert (await act(whole, f"jobs/{made.job_id}/fail")).code == "job_running"
    assert (await act(whole, f"jobs/{made.job_id}/cancel")).status == 202
    assert await told(whole) == [("job.cancel", "allowed"), ("job.cancel", "begun")]


async def test_a_dead_letter_is_redriven_once_as_a_new_job_with_its_input(whole: Whole) -> None:
    dead = await job(whole, dead=True)
    listed = await whole.act("GET", "/dead-letters", None, limit="100")
    assert dead.job_id in [one["job"]["jobId"] for one in listed.body["items"]]  # type: ignore[attr-defined]
    first = await act(whole, f"jobs/{dead.job_id}/redrive")
    assert first.status == 202
    assert (await act(whole, f"jobs/{dead.job_id}/redrive")).code == "no_dead_letter"
    new = await whole.process.parts.jobs.get(whole.tenant_id, str(first.body["jobId"]), consistent=True)  # type: ignore[arg-type]
    assert new is not None
    assert (new.status, new.input_json, new.principal) == (Status.QUEUED, dead.input_json, dead.principal)
    again = await whole.act("GET", "/dead-letters", None, limit="100")
    assert dead.job_id not in [one["job"]["jobId"] for one in again.body["items"]]  # type: ignore[attr-defined]
    assert await told(whole) == [("dead_letter.redrive", "allowed")]


async def test_a_dead_letter_laid_aside_stays_failed_and_is_not_redriven(whole: Whole) -> None:
    dead = await job(whole, dead=True)
    assert (await act(whole, f"jobs/{dead.job_id}/purge")).body["status"] == "failed"
    for verb in ("purge", "redrive"):
        assert (await act(whole, f"jobs/{dead.job_id}/{verb}")).code == "no_dead_letter"
    assert await told(whole) == [("dead_letter.purge", "allowed")]


async def invocation(whole: Whole, status: Status) -> InvocationRecord:
    now = SystemClock().now()
    record = InvocationRecord(
        tenant_id=whole.tenant_id,
        invocation_id=new_invocation_id(now),
        agent=agent(whole),
        agent_version="1.0.0",
        mode=Mode.SYNC,
        status=status,
        session_id=new_session_id(),
        principal="someone",
        request_id="req",
        created_at=now,
        ttl=int((now + timedelta(days=1)).timestamp()),
    )
    await whole.stores.db(whole.tenant_id).put(record)
    return record


async def test_invocations_are_listed_by_status_page_by_page_and_stopped(whole: Whole) -> None:
    running = [await invocation(whole, Status.RUNNING) for _ in range(2)]
    over = await invocation(whole, Status.SUCCEEDED)
    query, found = {"status": "running", "limit": "1"}, []
    while True:
        page = await look(whole, "invocations", **query)
        found += [one["invocationId"] for one in page.body["items"]]  # type: ignore[attr-defined]
        if "nextCursor" not in page.body:
            break
        query["cursor"] = str(page.body["nextCursor"])
    assert set(found) == {one.invocation_id for one in running}
    stopped = await act(whole, f"invocations/{running[0].invocation_id}/cancel")
    assert (stopped.status, "cancelRequestedAt" in stopped.body) == (202, True)
    assert (await act(whole, f"invocations/{over.invocation_id}/cancel")).status == 200
    assert (await look(whole, "invocations", status="nonsense")).status == 422


async def session(whole: Whole) -> SessionId:
    now = SystemClock().now()
    record = SessionRecord(
        tenant_id=whole.tenant_id,
        session_id=new_session_id(),
        agent=agent(whole),
        agent_version="1.0.0",
        created_at=now,
        last_used_at=now,
        ttl=int((now + timedelta(days=1)).timestamp()),
    )
    await whole.stores.db(whole.tenant_id).put(record)
    return record.session_id


async def test_a_stop_that_failed_is_told_as_one(whole: Whole) -> None:
    made = await session(whole)
    assert [one["id"] for one in (await look(whole, "sessions")).body["items"]] == [made]  # type: ignore[attr-defined]
    # The runtime is away.
    assert (await act(whole, f"sessions/{made}/stop")).status == 502
    assert await told(whole) == [("session.stop", "failed"), ("session.stop", "begun")]
    assert (await act(whole, f"sessions/{new_session_id()}/stop")).status == 404


async def test_a_webhook_is_disabled_and_its_tenant_reads_that_and_not_why(whole: Whole) -> None:
    now = SystemClock().now()
    hook = WebhookEndpoint(
        tenant_id=whole.tenant_id,
        webhook_id=new_webhook_id(now),
        url="https://example.com/hook",
        secret="whsec_x",
        created_at=now,
        updated_at=now,
    )
    await whole.stores.db(whole.tenant_id).put(hook)
    answer = await act(whole, f"webhooks/{hook.webhook_id}/disable")
    assert (answer.body["status"], answer.body["disabledReason"]) == (
        "disabled",
        "Disabled by the platform's operators.",
    )
    listed = await look(whole, "webhooks")
    assert [one["status"] for one in listed.body["items"]] == ["disabled"]  # type: ignore[attr-defined]
    assert "whsec" not in str(listed.body)
    assert (await act(whole, f"webhooks/{hook.webhook_id}/disable")).status == 200
    assert await told(whole) == [("webhook.disable", "allowed")]
    assert (await act(whole, f"webhooks/{new_webhook_id(now)}/disable")).status == 404


@pytest.mark.parametrize("path", ["invocations/x/cancel", "jobs/x/cancel", "jobs/x/fail", "sessions/x/stop"])
async def test_every_act_needs_a_reason(whole: Whole, path: str) -> None:
    answer = await whole.act("POST", f"/tenants/{whole.tenant_id}/{path}", {})
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/reason")  # type: ignore[index]
