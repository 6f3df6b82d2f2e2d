"""A tenant's jobs: the list, one of them to poll, and stopping it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from gateway.cursors import LIMIT_MAX, decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.operations import CURSOR, JOB, LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.schemas import JobDetailView, JobView, PageView, ResultLink, job_json
from jobs.queue import JobQueue
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import JobRecord, Progress, Status
from tenancy.ids import parse_job_id

POLL_AGAIN_S: Final = "2"
# A larger result is not sent along: it has its link.
RESULT_LIMIT_BYTES: Final = 1024 * 1024
LINK_LASTS_S: Final = 300


STATUS: Final = Parameter(
    "status",
    "query",
    "Only jobs that stand so.",
    {"type": "string", "enum": list(Status)},
    Status.RUNNING,
)
_RUNNING: Final = JobDetailView(
    job_id="job_01jd3k5m7p9q1r3s5t7v9w1x3y",
    agent="echo-agent",
    agent_version="1.0.0",
    status=Status.RUNNING,
    run=1,
    progress=Progress(percent=40, message="two of five"),
    created_at=datetime(2025, 6, 1, 12, tzinfo=UTC),
    started_at=datetime(2025, 6, 1, 12, 0, 1, tzinfo=UTC),
    deadline_at=datetime(2025, 6, 1, 20, tzinfo=UTC),
)
_SUCCEEDED: Final = _RUNNING.model_copy(
    update={
        "status": Status.SUCCEEDED,
        "progress": Progress(percent=100, message="done"),
        "ended_at": datetime(2025, 6, 1, 12, 3, tzinfo=UTC),
        "result": {"echo": "one two three"},
    }
)
_LARGE: Final = _SUCCEEDED.model_copy(
    update={
        "result": None,
        "result_url": f"https://data.s3.amazonaws.com/tenants/acme/jobs/{_RUNNING.job_id}/result-2.json?X-Amz-Signature=0",
        "result_url_expires_at": datetime(2025, 6, 1, 12, 10, tzinfo=UTC),
    }
)
_CANCELLING: Final = JobView.model_validate(
    _RUNNING.model_dump(exclude={"result", "result_url", "result_url_expires_at"})
    | {"cancel_requested_at": datetime(2025, 6, 1, 12, 1, tzinfo=UTC)}
)
_CANCELLED: Final = _CANCELLING.model_copy(
    update={"status": Status.CANCELLED, "ended_at": datetime(2025, 6, 1, 12, 1, 2, tzinfo=UTC)}
)
LIST: Final = Operation(
    "GET",
    "/v1/jobs",
    "listJobs",
    "Jobs",
    "List jobs",
    "The tenant's jobs, newest first, page by page, without their results.",
    (
        answer(
            200,
            "A page of jobs.",
            PageView[JobView](items=(_CANCELLING,), next_cursor=str(CURSOR.example)),
        ),
    ),
    parameters=(LIMIT, CURSOR, STATUS),
    problems=(FieldsInvalidError([FieldFault("limit", f"must be a whole number from 1 to {LIMIT_MAX}")]),),
)
GET: Final = Operation(
    "GET",
    "/v1/jobs/{job}",
    "getJob",
    "Jobs",
    "Poll one job",
    "The job as it stands. It has `result` once it has succeeded, `error` once it has failed, and until it has ended "
    "`Retry-After` says when to ask again. A result of more than 32 KB also has `resultUrl`, which needs no token and "
    "is good for 5 minutes; one of more than 1 MiB has that alone.",
    (
        Answer(
            200,
            "The job.",
            (Content({"running": _RUNNING, "succeeded": _SUCCEEDED, "large": _LARGE}),),
            headers=("Retry-After",),
        ),
    ),
    parameters=(JOB,),
    problems=(NotFoundError(),),
)
CANCEL: Final = Operation(
    "POST",
    "/v1/jobs/{job}/cancel",
    "cancelJob",
    "Jobs",
    "Cancel a job",
    "A queued job has ended with the answer. A running one is told to stop, which reaches its agent, and ends "
    "`cancelled`: no result is taken from it any more. Takes no body.",
    (
        answer(200, "It had ended already and is unchanged.", _CANCELLED),
        Answer(202, "It is cancelled, or will be.", (Content({"running": _CANCELLING, "queued": _CANCELLED}),)),
    ),
    parameters=(JOB,),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """`/v1/jobs`, but for the events."""

    jobs: JobStore
    queue: JobQueue
    clock: Clock

    async def list(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with a page of jobs, newest first, without their results."""
        page = await self.jobs.list(
            ctx.tenant_id,
            limit=limit_of(request),
            after=decode(ctx.tenant_id, request.query.get("cursor"), JobRecord.SORT_PREFIX),
            status=status_of(request),
        )
        views = tuple(JobView.of(job) for job in page.items)
        return json_answer(PageView[JobView](items=views, next_cursor=encode(ctx.tenant_id, page.after)).to_json())

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with one job and, once it has succeeded, its result."""
        job = await self.jobs.get(ctx.tenant_id, parse_job_id(request.match_info["job"]), consistent=True)
        if job is None:
            raise NotFoundError
        headers = {} if job.status.terminal else {"Retry-After": POLL_AGAIN_S}
        if job.status is not Status.SUCCEEDED:
            return json_answer(job_json(job, None), headers=headers)
        large = (job.result_bytes or 0) > RESULT_LIMIT_BYTES
        result = None if large else await self.jobs.result(job)
        return json_answer(job_json(job, result, await self._link(job)), headers=headers)

    async def cancel(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Cancel a job: 202 with it, or 200 with it unchanged where it has ended."""
        done = await self.queue.cancel(ctx.tenant_id, parse_job_id(request.match_info["job"]))
        if done is None:
            raise NotFoundError
        return json_answer(JobView.of(done.job).to_json(), status=200 if done.was_over else 202)

    async def _link(self, job: JobRecord) -> ResultLink | None:
        url = await self.jobs.result_url(job, LINK_LASTS_S)
        if url is None:
            return None
        return ResultLink(result_url=url, result_url_expires_at=self.clock.now() + timedelta(seconds=LINK_LASTS_S))


def status_of(request: web.Request) -> Status | None:
    """Return the `status` parameter; raises FieldsInvalidError."""
    text = request.query.get("status")
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        allowed = ", ".join(Status)
        raise FieldsInvalidError([FieldFault("status", f"must be one of {allowed}")]) from None
