"""Jobs that operators give up, and dead letters: jobs that kept killing whoever took them, begun anew or laid aside.

A job that has ended stays as it ended, for its end was told. A dead letter that is redriven is submitted as a new job
with the same input, in one transaction with its leaving the dead letters: it cannot be redriven twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web
from boto3.dynamodb.conditions import Attr
from pydantic import Field

from agents.catalog import Catalog
from gateway.admin.paths import PLATFORM_CURSOR, TENANT, known, place_after, place_before, tenant_of
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.admin.work import TAG
from gateway.cursors import limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read_body
from gateway.middleware import ORIGIN
from gateway.operations import IDEMPOTENCY_KEY, JOB, LIMIT, Content, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import PAGE_MAX, CursorText, JobAccepted, JobView, TenantText, Timestamp, WireModel
from jobs.errors import JobRunningError, LeaseLostError, NoDeadLetterError
from jobs.queue import JobQueue
from jobs.store import JobStore
from tenancy import tables
from tenancy.chain import Commit
from tenancy.context import Principal, TenantContext
from tenancy.data_models import Failure, JobRecord, Status
from tenancy.errors import ConditionFailedError, InvalidIdError
from tenancy.ids import TenantId, parse_job_id
from tenancy.platform_store import Owed, PlatformStore
from tenancy.registry import TenantRegistry
from tenancy.steps import PutStep, Step, UpdateStep

_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_GIVEN_UP: Final = Failure(code="failed_by_operator", detail="An operator gave the job up before it began.")
_FAILED: Final = JobView(
    job_id="job_01jd3k5m7p9q1r3s5t7v9w1x3y",
    agent="echo-agent",
    agent_version="1.0.0",
    status=Status.FAILED,
    run=0,
    error=_GIVEN_UP,
    created_at=_NOW,
    ended_at=_NOW,
    deadline_at=_NOW,
)
_POISONED: Final = _FAILED.model_copy(
    update={"run": 3, "error": Failure(code="job_poisoned", detail="Three workers took the job and none came back.")}
)


class DeadLetterView(WireModel):
    """A job that was given up on."""

    tenant: TenantText
    at: Timestamp
    job: JobView


class DeadLettersView(WireModel):
    """One page of dead letters of all tenants, newest first; `nextCursor` is absent on the last."""

    items: Annotated[tuple[DeadLetterView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None


_WHY: Final = Content({"mended": ReasonRequest(reason="the agent was mended")})
_ONE: Final = "/v1/admin/tenants/{tenant}/jobs/{job}"
FAIL: Final = Operation(
    "POST",
    _ONE + "/fail",
    "failTenantJob",
    TAG,
    "Give up a job that has not begun",
    "It ends as `failed`, code `failed_by_operator`, and its webhooks are told. One that has begun is cancelled "
    "instead, which stops its agent; one that has ended stays as it is.",
    (answer(200, "The job as it stands now.", _FAILED),),
    parameters=(TENANT, JOB, IDEMPOTENCY_KEY),
    body=_WHY,
    problems=(NotFoundError(), JobRunningError()),
)
LIST: Final = Operation(
    "GET",
    "/v1/admin/dead-letters",
    "listDeadLetters",
    TAG,
    "List dead letters",
    "Jobs of all tenants that three workers took without coming back, newest first, for the seven days they are kept.",
    (
        answer(
            200,
            "A page of dead letters.",
            DeadLettersView(items=(DeadLetterView(tenant="globex", at=_NOW, job=_POISONED),)),
        ),
    ),
    parameters=(LIMIT, PLATFORM_CURSOR),
    problems=(FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]),),
)
REDRIVE: Final = Operation(
    "POST",
    _ONE + "/redrive",
    "redriveDeadLetter",
    TAG,
    "Begin a dead letter anew",
    "A new job with the same input, agent, metadata and webhook, as the newest promoted version; the dead letter is "
    "one no more. Doing it twice makes one job.",
    (
        answer(
            202,
            "The new job.",
            JobAccepted(job_id=_FAILED.job_id, status=Status.QUEUED, agent="echo-agent", created_at=_NOW),
            headers=("Location",),
        ),
    ),
    parameters=(TENANT, JOB, IDEMPOTENCY_KEY),
    body=_WHY,
    problems=(NotFoundError(), NoDeadLetterError()),
)
PURGE: Final = Operation(
    "POST",
    _ONE + "/purge",
    "purgeDeadLetter",
    TAG,
    "Lay a dead letter aside",
    "It is a dead letter no more; the job stays failed until it is kept no longer.",
    (answer(200, "The job.", _POISONED),),
    parameters=(TENANT, JOB, IDEMPOTENCY_KEY),
    body=_WHY,
    problems=(NotFoundError(), NoDeadLetterError()),
)


@dataclass(frozen=True, slots=True)
class JobAdmin:
    """`/v1/admin/tenants/{tenant}/jobs/{job}/…` beyond what tenants do, and `/v1/admin/dead-letters`."""

    registry: TenantRegistry
    platform: PlatformStore
    catalog: Catalog
    jobs: JobStore
    queue: JobQueue
    trail: AdminTrail

    async def fail(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Give up a job that has not begun."""
        asked = await read_body(ReasonRequest, request)
        job = await self._job(request)
        if job.status is Status.RUNNING:
            raise JobRunningError
        if not job.status.terminal:
            ended = [job]

            async def commit(links: Sequence[PutStep]) -> None:
                ended[0] = await self.queue.fail(job, _GIVEN_UP, links)

            act = Act.of(request, actor, "job.fail", asked.reason)
            before, after = {"status": job.status.value}, {"status": Status.FAILED.value}
            try:
                await self.trail.tell(act, job.tenant_id, commit, target=job.job_id, before=before, after=after)
            except LeaseLostError:
                # A worker was faster.
                raise JobRunningError from None
            job = ended[0]
        return json_answer(JobView.of(job).to_json())

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of dead letters."""
        before = place_before(request.query.get("cursor"))
        try:
            page = await self.platform.dead_letters(limit=limit_of(request), after=before)
        except InvalidIdError:
            raise FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]) from None
        found = [(owed, await self._found(owed)) for owed in page.items]
        items = tuple(
            DeadLetterView(tenant=owed.tenant_id, at=owed.at, job=JobView.of(job))
            for owed, job in found
            if job is not None
        )
        more = None if page.after is None else place_after(page.after)
        return json_answer(DeadLettersView(items=items, next_cursor=more).to_json())

    async def redrive(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Submit a dead letter as a new job."""
        asked = await read_body(ReasonRequest, request)
        dead = await self._dead(request)
        body = await self.jobs.input(dead)
        if body is None:
            raise NoDeadLetterError
        agent = await self.catalog.get(dead.agent)
        submitted: list[JobRecord] = []

        async def commit(links: Sequence[PutStep]) -> None:
            new = await self.queue.submit(
                await self._context(dead.tenant_id, actor),
                agent,
                body=body,
                principal=dead.principal,
                request_id=request[ORIGIN].request_id,
                metadata_json=dead.metadata_json,
                webhook_id=dead.webhook_id,
                traceparent=request[ORIGIN].trace.traceparent,
                also=lambda _: [_aside(dead), *links],
            )
            submitted.append(new)

        await self._told(Act.of(request, actor, "dead_letter.redrive", asked.reason), dead, commit)
        (new,) = submitted
        headers = {"Location": f"/v1/admin/tenants/{new.tenant_id}/jobs/{new.job_id}"}
        accepted = JobAccepted(job_id=new.job_id, status=new.status, agent=new.agent, created_at=new.created_at)
        return json_answer(accepted.to_json(), status=202, headers=headers)

    async def purge(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Lay a dead letter aside."""
        asked = await read_body(ReasonRequest, request)
        dead = await self._dead(request)
        commit = self.trail.chain.within(dead.tenant_id, _aside(dead))
        await self._told(Act.of(request, actor, "dead_letter.purge", asked.reason), dead, commit)
        return json_answer(JobView.of(dead).to_json())

    async def _told(self, act: Act, dead: JobRecord, commit: Commit) -> None:
        before, after = {"deadLetter": True}, {"deadLetter": False}
        try:
            await self.trail.tell(act, dead.tenant_id, commit, target=dead.job_id, before=before, after=after)
        except ConditionFailedError:
            raise NoDeadLetterError from None

    async def _context(self, tenant_id: TenantId, actor: Principal) -> TenantContext:
        with known():
            return TenantContext(await self.registry.read(tenant_id), actor)

    async def _found(self, owed: Owed) -> JobRecord | None:
        return await self.jobs.get(owed.tenant_id, parse_job_id(owed.record_id))

    async def _dead(self, request: web.Request) -> JobRecord:
        job = await self._job(request)
        if not job.dead_letter:
            raise NoDeadLetterError
        return job

    async def _job(self, request: web.Request) -> JobRecord:
        job = await self.jobs.get(tenant_of(request), parse_job_id(request.match_info["job"]), consistent=True)
        if job is None:
            raise NotFoundError
        return job


def _aside(dead: JobRecord) -> Step:
    """Take a job from among the dead letters, once."""
    index = tables.DEAD_LETTER_INDEX
    gone = {"dead_letter": False, index.partition_key: None, index.sort_key: None}
    return UpdateStep(JobRecord, dead.key(), gone, condition=Attr("dead_letter").eq(True))
