"""A tenant's jobs: the list, and one of them to poll."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.cursors import decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.routes.answers import json_answer
from gateway.schemas import JobView, PageView, job_json
from jobs.store import JobStore
from tenancy.context import TenantContext
from tenancy.data_models import JobRecord, Status
from tenancy.ids import parse_job_id

POLL_AGAIN_S: Final = "2"


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
