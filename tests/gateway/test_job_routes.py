"""A tenant's jobs over HTTP: submitting once however often asked, following, cancelling, reading large results."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest
from aiohttp import ClientSession
from boto3.dynamodb.conditions import Attr

from gateway.routes.jobs import RESULT_LIMIT_BYTES
from jobs import records
from jobs.queue import JobQueue
from jobs.store import INLINE_LIMIT_BYTES, JobStore
from tenancy.clock import SystemClock
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, JobRecord, Status
from tenancy.ids import JobId
from tenancy.steps import Step
from tenancy.tiers import LimitOverrides
from tests.conftest import Aws
from tests.flows.events import Event, events_of
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack

UNKNOWN = "job_00000000000000000000000000"
MANY = LimitOverrides(requests_per_s=1000, burst_requests=1000, concurrent_streams=2, invocations_per_day=12)


@dataclass(frozen=True)
class Jobs:
    """A gateway, and the hands of a worker."""

    whole: Whole
    store: JobStore

    async def submit(self, key: str | None = None, body: bytes = b'{"input": 1}') -> Answered:
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        headers |= {} if key is None else {"Idempotency-Key": key}
        async with self.whole.session.post(self.whole.url + self.whole.path, data=body, headers=headers) as answer:
            return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

    async def submitted(self) -> JobId:
        return JobId(str((await self.submit()).body["jobId"]))

    async def job(self, job_id: JobId) -> JobRecord:
        found = await self.store.get(self.whole.tenant_id, job_id, consistent=True)
        assert found is not None
        return found

    async def start(self, job_id: JobId) -> JobRecord:
        free = Attr("fence").eq(0)
        held = await self.store.claim(self.whole.tenant_id, job_id, lease={"lease_owner": "w"}, when=free)
        await self.store.gate(self.whole.tenant_id, held)
        return await self.store.start(held, records.started(held, SystemClock().now()), cap=5)

    async def end(self, job: JobRecord, result: bytes) -> JobRecord:
        done = await self.store.with_result(job, result)
        return await self.store.end(job, records.ended(done, Status.SUCCEEDED, SystemClock().now()))

    async def cancel(self, job_id: str) -> Answered:
        async with self.whole.session.post(f"{self.whole.url}/v1/jobs/{job_id}/cancel") as answer:
            return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

    @asynccontextmanager
    async def following(
        self, job_id: str, query: str = "", headers: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[Event]]]:
        url = f"{self.whole.url}/v1/jobs/{job_id}/events{query}"
        async with self.whole.session.get(url, headers=headers) as answer:
            yield answer.status, events_of(answer.content)

    async def events(self, job_id: str, query: str = "", headers: dict[str, str] | None = None) -> list[Event]:
        async with self.following(job_id, query, headers) as (status, events):
            assert status == 200
            return [event async for event in events]


@pytest.fixture
async def jobs(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Jobs]:
    """Run a gateway without a worker: only the test moves a job."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1", limits=MANY) as running:
        yield Jobs(running, JobStore(running.stores))


async def test_a_hundred_requests_with_one_key_make_one_job(jobs: Jobs) -> None:
    answers = await asyncio.gather(*(jobs.submit("k") for _ in range(100)))
    assert {answer.status for answer in answers} == {202}
    assert len({orjson.dumps(answer.body) for answer in answers}) == 1
    own = ("Location", "Preference-Applied", "Retry-After", "Content-Type")
    assert len({tuple(answer.headers[name] for name in own) for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 99
    listed = (await jobs.whole.get("/v1/jobs?limit=100")).body["items"]
    assert [one["jobId"] for one in listed] == [answers[0].body["jobId"]]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Late:
    """Submits jobs only after another process was heard with the same key."""

    queue: JobQueue
    jobs: Jobs

    async def submit(
        self, ctx: TenantContext, agent: AgentVersion, *, also: Callable[[JobRecord], Sequence[Step]], **rest: object
    ) -> JobRecord:
        rival = records.accepted(
            ctx,
            agent,
            SystemClock().now(),
            timeout_s=60,
            principal="rival",
            request_id="req",
            metadata_json=None,
            webhook_id=None,
            traceparent=None,
        )
        await self.jobs.store.create(rival, b"1", also(rival))
        return await self.queue.submit(ctx, agent, also=also, **rest)  # type: ignore[arg-type]  # passed on as it came


async def test_who_was_heard_on_another_process_answers_and_only_its_job_counts_against_the_day(jobs: Jobs) -> None:
    submissions = jobs.whole.process.parts.path.submissions
    queue = submissions.jobs
    object.__setattr__(submissions, "jobs", Late(queue, jobs))
    lost = await jobs.submit("k")
    assert (lost.status, lost.headers["Idempotency-Replayed"]) == (202, "true")
    assert (await jobs.job(JobId(str(lost.body["jobId"])))).principal == "rival"
    assert len((await jobs.whole.get("/v1/jobs")).body["items"]) == 1  # type: ignore[arg-type]
    object.__setattr__(submissions, "jobs", queue)
    assert [(await jobs.submit(f"other-{number}")).status for number in range(12)] == [202] * 12
    assert (await jobs.submit("one-more")).code == "daily_limit"
    assert (await jobs.submit("k")).status == 202


async def test_another_job_under_a_used_key_is_refused(jobs: Jobs) -> None:
    await jobs.submit("k")
    refused = await jobs.submit("k", b'{"input": 2}')
    assert (refused.status, refused.code) == (422, "idempotency_key_reused")


async def test_a_refused_submission_leaves_its_key_free(jobs: Jobs) -> None:
    assert (await jobs.submit("k", b'{"input": 1, "sessionId": "mine"}')).status == 422
    taken = await jobs.submit("k")
    assert (taken.status, "Idempotency-Replayed" in taken.headers) == (202, False)


async def test_a_webhook_that_is_not_the_tenants_is_refused_by_name(jobs: Jobs) -> None:
    for webhook in ("wh_nobody", "wh_00000000000000000000000000", "evt_00000000000000000000000000"):
        refused = await jobs.submit(None, orjson.dumps({"input": 1, "webhookId": webhook}))
        assert (refused.status, refused.code) == (422, "fields_invalid")
        assert refused.body["errors"] == [
            {"pointer": "/webhookId", "detail": "names no webhook endpoint of this tenant"}
        ]


async def test_a_queued_job_is_cancelled_at_once_and_stays_so(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    first, again = await jobs.cancel(job_id), await jobs.cancel(job_id)
    assert (first.status, first.body["status"]) == (202, "cancelled")
    assert (again.status, again.body) == (200, first.body)


async def test_a_running_job_is_told_to_stop(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    await jobs.start(job_id)
    asked = await jobs.cancel(job_id)
    assert (asked.status, asked.body["status"]) == (202, "running")
    assert asked.body["cancelRequestedAt"]


async def test_a_job_that_has_ended_is_not_cancelled(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    await jobs.end(await jobs.start(job_id), b'{"a":  1}')
    late = await jobs.cancel(job_id)
    assert (late.status, late.body["status"]) == (200, "succeeded")
    assert "cancelRequestedAt" not in late.body


async def test_a_job_nobody_has_cannot_be_cancelled_or_followed(jobs: Jobs) -> None:
    assert ((await jobs.cancel(UNKNOWN)).status, (await jobs.cancel("x")).status) == (404, 404)
    for job_id in (UNKNOWN, "x"):
        assert (await jobs.whole.get(f"/v1/jobs/{job_id}/events")).code == "not_found"


async def test_a_job_is_followed_from_its_beginning_to_its_end(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    async with jobs.following(job_id) as (_, events):
        came = [await anext(events)]
        started = await jobs.start(job_id)
        came.append(await anext(events))
        await jobs.end(started, b"{}")
        came += [event async for event in events]
    assert [(event.id, event.name) for event in came] == [(1, "job.queued"), (2, "job.started"), (3, "job.succeeded")]
    assert {event.json["jobId"] for event in came} == {job_id}
    assert came[1].json["run"] == 1
    assert all(str(event.json["at"]).endswith("Z") for event in came)


WHERE_TO_GO_ON: list[tuple[str, dict[str, str], list[int]]] = [
    ("", {}, [1, 2, 3]),
    ("?startingAfter=0", {}, [1, 2, 3]),
    ("?startingAfter=1", {}, [2, 3]),
    ("", {"Last-Event-ID": "2"}, [3]),
    ("?startingAfter=0", {"Last-Event-ID": "2"}, [3]),
]


async def test_a_stream_goes_on_behind_the_last_event(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    await jobs.end(await jobs.start(job_id), b"{}")
    for query, headers, left in WHERE_TO_GO_ON:
        assert [event.id for event in await jobs.events(job_id, query, headers)] == left


async def test_who_has_read_the_end_is_told_not_to_come_again(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    await jobs.cancel(job_id)
    async with jobs.following(job_id, headers={"Last-Event-ID": "2"}) as (status, _):
        assert status == 204


async def test_a_position_that_is_none_is_refused_by_name(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    for position in ("2", "-1", "1.0", "x", "", "\uff19", "9999999999"):
        answer = await jobs.whole.get(f"/v1/jobs/{job_id}/events?startingAfter={position}")
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "startingAfter")  # type: ignore[index]
        header = {"Last-Event-ID": position}
        async with jobs.following(job_id, headers=header) as (status, _):
            assert status == 422


async def test_an_open_stream_holds_one_of_the_tenants_places(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    async with jobs.following(job_id) as (_, one), jobs.following(job_id) as (_, other):
        await anext(one)
        await anext(other)
        assert (await jobs.whole.get(f"/v1/jobs/{job_id}/events")).code == "concurrency_limit"
    async with asyncio.timeout(10):
        while len(jobs.whole.process.live):
            await asyncio.sleep(0.01)
    async with jobs.following(job_id) as (status, _):
        assert status == 200


@pytest.mark.parametrize("code", ["draining", "tenant_suspended"])
async def test_a_stream_that_ends_before_its_job_says_why(jobs: Jobs, code: str) -> None:
    job_id, live = await jobs.submitted(), jobs.whole.process.live
    async with jobs.following(job_id) as (_, events):
        await anext(events)
        if code == "draining":
            await live.end()
        else:
            live.end_tenant(jobs.whole.tenant_id)
        [last] = [event async for event in events]
    assert (last.id, last.name, last.json["code"]) == (1, "stream.interrupted", code)


@pytest.mark.parametrize("size", [INLINE_LIMIT_BYTES + 1, RESULT_LIMIT_BYTES])
async def test_a_large_result_has_a_link_besides(jobs: Jobs, size: int) -> None:
    job_id, result = await jobs.submitted(), b'"' + b"x" * (size - 2) + b'"'
    await jobs.end(await jobs.start(job_id), result)
    shown = (await jobs.whole.get(f"/v1/jobs/{job_id}")).body
    assert shown["result"] == "x" * (size - 2)
    async with ClientSession() as anybody, anybody.get(str(shown["resultUrl"])) as answer:
        assert (answer.status, await answer.read()) == (200, result)
    assert str(shown["resultUrlExpiresAt"]) > str(shown["endedAt"])
    assert f"tenants/{jobs.whole.tenant_id}/jobs/{job_id}/" in str(shown["resultUrl"])


async def test_a_very_large_result_has_its_link_alone(jobs: Jobs) -> None:
    job_id, result = await jobs.submitted(), b'"' + b"x" * (RESULT_LIMIT_BYTES - 1) + b'"'
    await jobs.end(await jobs.start(job_id), result)
    shown = (await jobs.whole.get(f"/v1/jobs/{job_id}")).body
    assert "result" not in shown
    async with ClientSession() as anybody, anybody.get(str(shown["resultUrl"])) as answer:
        assert await answer.read() == result


async def test_a_small_result_has_no_link(jobs: Jobs) -> None:
    job_id = await jobs.submitted()
    await jobs.end(await jobs.start(job_id), b'{"a":  1}')
    async with jobs.whole.session.get(f"{jobs.whole.url}/v1/jobs/{job_id}") as answer:
        body = await answer.read()
    assert body.endswith(b',"result":{"a":  1}}')
    assert b"resultUrl" not in body
