"""Accepting a job: an invocation that goes on without its connection.

Everything that can be refused is refused before the day's count is touched. Under an Idempotency-Key the answer is
stored in the job's own transaction: of any number of requests with one key one makes a job.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from agents.invocation import TraceHeaders
from gateway.bodies import InvocationBody
from gateway.errors import FieldFault, FieldsInvalidError
from gateway.original import ORIGINAL
from gateway.schemas import JobAccepted
from jobs.queue import JobQueue
from tenancy.admission import Admission
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, JobRecord, WebhookEndpoint
from tenancy.errors import ConditionFailedError, InvalidIdError
from tenancy.ids import RequestId, TenantId, WebhookId, parse_webhook_id
from tenancy.steps import Step
from tenancy.store import TenantStores

NO_WEBHOOK: Final = FieldFault("/webhookId", "names no webhook endpoint of this tenant")
NO_BUDGET: Final = FieldFault("/budgetMicrousd", "a job is held to the month's budget alone")
NO_SESSION: Final = FieldFault("/sessionId", "a job always has a session of its own")


@dataclass(frozen=True, slots=True)
class Submissions:
    """Turns invocations into jobs."""

    jobs: JobQueue
    stores: TenantStores
    admission: Admission
    accepted: Callable[[JobRecord, TraceHeaders], None] | None = None

    async def submit(
        self,
        request: web.Request,
        ctx: TenantContext,
        agent: AgentVersion,
        body: InvocationBody,
        *,
        request_id: RequestId,
        trace: TraceHeaders,
    ) -> web.Response:
        """Answer 202 with a job that is durable.

        Raises FieldsInvalidError, TierTooLowError, DailyLimitError, StoreUnavailableError, and ConditionFailedError
        where another request with the same key was heard.
        """
        asked, original = body.request, request.get(ORIGINAL)
        if asked.session_id is not None:
            raise FieldsInvalidError([NO_SESSION])
        if asked.budget_microusd is not None:
            raise FieldsInvalidError([NO_BUDGET])
        webhook_id = None if asked.webhook_id is None else await self._webhook(ctx.tenant_id, asked.webhook_id)

        def also(job: JobRecord) -> tuple[Step, ...]:
            return () if original is None else (original.beside(accepted(job)),)

        permit = await self.admission.job(ctx, agent)
        try:
            job = await self.jobs.submit(
                ctx,
                permit.agent,
                body=body.input_json,
                principal=ctx.principal.subject,
                request_id=request_id,
                metadata_json=None if asked.metadata is None else orjson.dumps(asked.metadata).decode(),
                webhook_id=webhook_id,
                traceparent=trace.traceparent,
                also=also,
            )
        except ConditionFailedError:
            self.admission.days.put_back(ctx.tenant_id, ctx.limits.invocations_per_day)
            raise
        if self.accepted is not None:
            self.accepted(job, trace)
        return accepted(job)

    async def _webhook(self, tenant_id: TenantId, text: str) -> WebhookId:
        """Return the id of an endpoint of this tenant; what is another's is refused like what does not exist."""
        try:
            webhook_id = parse_webhook_id(text)
        except InvalidIdError:
            raise FieldsInvalidError([NO_WEBHOOK]) from None
        key = WebhookEndpoint.key_of(tenant_id, webhook_id)
        if await self.stores.db(tenant_id).get(WebhookEndpoint, key, consistent=True) is None:
            raise FieldsInvalidError([NO_WEBHOOK])
        return webhook_id


def accepted(job: JobRecord) -> web.Response:
    """Return the answer to what became a job."""
    view = JobAccepted(job_id=job.job_id, status=job.status, agent=job.agent, created_at=job.created_at)
    return web.Response(
        status=202,
        body=view.to_json(),
        content_type="application/json",
        headers={
            "Location": f"/v1/jobs/{job.job_id}",
            "Retry-After": "1",
            "Preference-Applied": "respond-async",
        },
    )
