"""Webhooks that operators disable: nothing is sent there any more until their tenant makes them active again."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.admin.paths import TENANT, tenant_of
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.admin.work import TAG
from gateway.admin.work import WEBHOOK as _SHOWN
from gateway.fields import read_body
from gateway.operations import IDEMPOTENCY_KEY, Content, Operation
from gateway.routes.answers import json_answer
from gateway.routes.webhooks import WEBHOOK
from gateway.webhook_schemas import WebhookView
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import WebhookEndpoint
from tenancy.errors import ConditionFailedError
from tenancy.ids import parse_webhook_id
from tenancy.steps import UpdateStep
from webhooks.endpoints import Endpoints
from webhooks.errors import EndpointUnknownError

# What the tenant reads: why is between the operator and the audit log.
_TOLD: Final = "Disabled by the platform's operators."
DISABLE: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/webhooks/{webhook}/disable",
    "disableTenantWebhook",
    TAG,
    "Disable a webhook",
    "Nothing is sent to it until its tenant activates it again. The tenant reads in `disabledReason` that an operator "
    "did it, and not why.",
    _SHOWN.answers,
    parameters=(TENANT, WEBHOOK, IDEMPOTENCY_KEY),
    body=Content({"flood": ReasonRequest(reason="its receiver asked for it")}),
    problems=_SHOWN.problems,
)


@dataclass(frozen=True, slots=True)
class WebhookAdmin:
    """`/v1/admin/tenants/{tenant}/webhooks/{webhook}/disable`."""

    endpoints: Endpoints
    trail: AdminTrail
    clock: Clock

    async def disable(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Have nothing sent to a webhook any more."""
        asked = await read_body(ReasonRequest, request)
        tenant_id, webhook_id = tenant_of(request), parse_webhook_id(request.match_info["webhook"])
        endpoint, now = await self.endpoints.get(tenant_id, webhook_id), self.clock.now()
        if endpoint.status != "disabled":
            changes = {"status": "disabled", "disabled_reason": _TOLD, "updated_at": now.isoformat()}
            step = UpdateStep(WebhookEndpoint, endpoint.key(), changes)
            act, before = Act.of(request, actor, "webhook.disable", asked.reason), {"status": endpoint.status}
            commit = self.trail.chain.within(tenant_id, step)
            try:
                await self.trail.tell(
                    act, tenant_id, commit, target=webhook_id, before=before, after={"status": "disabled"}
                )
            except ConditionFailedError:
                raise EndpointUnknownError from None
            endpoint = await self.endpoints.get(tenant_id, webhook_id)
        return json_answer(WebhookView.of(endpoint, now).to_json())
