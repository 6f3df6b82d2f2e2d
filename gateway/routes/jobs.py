"""A tenant's jobs: the list, and one of them to poll."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.cursors import LIMIT_MAX, decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.operations import CURSOR, JOB, LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.schemas import JobDetailView, JobView, PageView, job_json
from jobs.store import JobStore
from tenancy.context import TenantContext
from tenancy.data_models import JobRecord, Progress, Status
from tenancy.ids import parse_job_id

POLL_AGAIN_S: Final = "2"


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
            PageView[JobView](
                items=(JobView.model_validate(_RUNNING.model_dump(exclude={"result"})),),
                next_cursor=str(CURSOR.example),
            ),
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
    "`Retry-After` says when to ask again.",
    (
        Answer(
            200,
            "The job.",
            (Content({"running": _RUNNING, "succeeded": _SUCCEEDED}),),
            headers=("Retry-After",),
        ),
    ),
    parameters=(JOB,),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """`/v1/jobs`."""

    jobs: JobStore

    async def list(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with a page of jobs, newest first, without their results."""
        page = await self.jobs.list(
            ctx.tenant_id,
            limit=limit_of(request),
            after=decode(ctx.tenant_id, request.query.get("cursor"), JobRecord.SORT_PREFIX),
            status=_status_of(request),
        )
        views = tuple(JobView.of(job) for job in page.items)
        return json_answer(PageView[JobView](items=views, next_cursor=encode(ctx.tenant_id, page.after)).to_json())

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with one job and, once it has succeeded, its result."""
        job = await self.jobs.get(ctx.tenant_id, parse_job_id(request.match_info["job"]), consistent=True)
        if job is None:
            raise NotFoundError
        result = await self.jobs.result(job) if job.status is Status.SUCCEEDED else None
        headers = {} if job.status.terminal else {"Retry-After": POLL_AGAIN_S}
        return json_answer(job_json(job, result), headers=headers)


def _status_of(request: web.Request) -> Status | None:
    text = request.query.get("status")
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        allowed = ", ".join(Status)
        raise FieldsInvalidError([FieldFault("status", f"must be one of {allowed}")]) from None
