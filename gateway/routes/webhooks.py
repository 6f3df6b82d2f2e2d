"""A tenant's webhooks: registering, changing, pausing and deleting them, and replacing their secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.cursors import LIMIT_MAX, decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read_body
from gateway.operations import CURSOR, IDEMPOTENCY_KEY, LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.schemas import WEBHOOK_PATTERN, PageView
from gateway.webhook_schemas import (
    NewWebhookRequest,
    RotateSecretRequest,
    WebhookPatchRequest,
    WebhookSecretView,
    WebhookView,
)
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import WebhookEndpoint
from tenancy.ids import WebhookId, parse_webhook_id
from webhooks.endpoints import Endpoints
from webhooks.errors import EndpointLimitError, UrlRefusedError

TAG: Final = "Webhooks"
PATH: Final = "/v1/webhooks/{webhook}"
WEBHOOK: Final = Parameter(
    "webhook",
    "path",
    "A webhook's id.",
    {"type": "string", "pattern": WEBHOOK_PATTERN, "minLength": 29, "maxLength": 29},
    "wh_01jd3k5m7p9q1r3s5t7v9w1x3y",
)
_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_ACTIVE: Final = WebhookView(
    id="wh_01jd3k5m7p9q1r3s5t7v9w1x3y",
    url="https://hooks.example.com/lockgate",
    description="back office",
    events=("job.succeeded", "job.failed"),
    status="active",
    created_at=_NOW,
    updated_at=_NOW,
)
_DISABLED: Final = _ACTIVE.model_copy(
    update={"status": "disabled", "disabled_reason": "The endpoint answered 410 Gone."}
)
_MADE: Final = WebhookSecretView(
    **_ACTIVE.model_dump(exclude={"created_at", "updated_at"}),
    created_at=_NOW,
    updated_at=_NOW,
    secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",  # noqa: S106  # an example
)
_ROTATED: Final = _MADE.model_copy(update={"previous_secret_expires_at": datetime(2025, 6, 2, 12, tzinfo=UTC)})
_URL_REFUSED: Final = FieldsInvalidError([FieldFault("/url", "The host must be a public address.")])
LIST: Final = Operation(
    "GET",
    "/v1/webhooks",
    "listWebhooks",
    TAG,
    "List webhooks",
    "The tenant's webhooks, newest first, page by page, without their secrets.",
    (answer(200, "A page of webhooks.", PageView[WebhookView](items=(_ACTIVE,), next_cursor=str(CURSOR.example))),),
    parameters=(LIMIT, CURSOR),
    problems=(FieldsInvalidError([FieldFault("limit", f"must be a whole number from 1 to {LIMIT_MAX}")]),),
)
CREATE: Final = Operation(
    "POST",
    "/v1/webhooks",
    "createWebhook",
    TAG,
    "Register a webhook",
    "From now on the URL is sent the events that `events` names, signed by Standard Webhooks 1.0. The `secret` that "
    "verifies them is in this answer and in no other. A tenant may have 20 webhooks.",
    (answer(201, "The new webhook, with its secret.", _MADE, headers=("Location",)),),
    parameters=(IDEMPOTENCY_KEY,),
    body=Content(
        {
            "filtered": NewWebhookRequest(
                url=_ACTIVE.url, description="back office", events=("job.succeeded", "job.failed")
            )
        }
    ),
    problems=(_URL_REFUSED, EndpointLimitError()),
    shown_once=("secret",),
)
GET: Final = Operation(
    "GET",
    PATH,
    "getWebhook",
    TAG,
    "Look at a webhook",
    "The webhook as it stands, without its secret. One that was disabled says why.",
    (Answer(200, "The webhook.", (Content({"active": _ACTIVE, "disabled": _DISABLED}),)),),
    parameters=(WEBHOOK,),
    problems=(NotFoundError(),),
)
PATCH: Final = Operation(
    "PATCH",
    PATH,
    "updateWebhook",
    TAG,
    "Change, pause or resume a webhook",
    "Changes what is named and leaves the rest. What is told while it is paused is kept as failed, to be recovered.",
    (answer(200, "The webhook as it stands now.", _ACTIVE.model_copy(update={"status": "paused"})),),
    parameters=(WEBHOOK,),
    body=Content({"pause": WebhookPatchRequest(status="paused"), "resume": WebhookPatchRequest(status="active")}),
    problems=(NotFoundError(), _URL_REFUSED),
)
DELETE: Final = Operation(
    "DELETE",
    PATH,
    "deleteWebhook",
    TAG,
    "Delete a webhook",
    "Nothing is sent to it any more, not even what was on its way.",
    (Answer(204, "It is gone."),),
    parameters=(WEBHOOK,),
    problems=(NotFoundError(),),
)
ROTATE: Final = Operation(
    "POST",
    f"{PATH}/rotate-secret",
    "rotateWebhookSecret",
    TAG,
    "Replace a webhook's secret",
    "The new `secret` is in this answer and in no other. Until the overlap is over, what is sent carries a signature "
    "by either, so that a receiver can change at its own time.",
    (answer(200, "The webhook, with its new secret.", _ROTATED),),
    parameters=(WEBHOOK, IDEMPOTENCY_KEY),
    body=Content({"an hour": RotateSecretRequest(overlap_seconds=3600)}),
    body_optional=True,
    problems=(NotFoundError(),),
    shown_once=("secret",),
)


@dataclass(frozen=True, slots=True)
class WebhookRoutes:
    """`/v1/webhooks`."""

    endpoints: Endpoints
    clock: Clock

    async def list(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with a page of webhooks, newest first."""
        page = await self.endpoints.list(
            ctx.tenant_id,
            limit=limit_of(request),
            after=decode(ctx.tenant_id, request.query.get("cursor"), WebhookEndpoint.SORT_PREFIX),
        )
        views = tuple(WebhookView.of(endpoint, self.clock.now()) for endpoint in page.items)
        return json_answer(PageView[WebhookView](items=views, next_cursor=encode(ctx.tenant_id, page.after)).to_json())

    async def create(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Register a webhook: 201 with its secret."""
        asked = await read_body(NewWebhookRequest, request)
        with _judged():
            endpoint = await self.endpoints.create(
                ctx.tenant_id, url=asked.url, events=frozenset(asked.events), description=asked.description
            )
        return json_answer(
            WebhookSecretView.made(endpoint, self.clock.now()).to_json(),
            status=201,
            headers={"Location": f"/v1/webhooks/{endpoint.webhook_id}"},
        )

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with one webhook."""
        return self._shown(await self.endpoints.get(ctx.tenant_id, webhook_of(request)))

    async def patch(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Change what is named of a webhook."""
        webhook_id = webhook_of(request)
        asked = await read_body(WebhookPatchRequest, request)
        with _judged():
            return self._shown(await self.endpoints.update(ctx.tenant_id, webhook_id, asked.change()))

    async def delete(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Delete a webhook."""
        await self.endpoints.delete(ctx.tenant_id, webhook_of(request))
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    async def rotate(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Replace a webhook's secret and answer with the new one."""
        webhook_id = webhook_of(request)
        asked = await read_body(RotateSecretRequest, request, optional=True)
        rotated = await self.endpoints.rotate(ctx.tenant_id, webhook_id, overlap=asked.overlap)
        return json_answer(WebhookSecretView.made(rotated, self.clock.now()).to_json())

    def _shown(self, endpoint: WebhookEndpoint) -> web.Response:
        return json_answer(WebhookView.of(endpoint, self.clock.now()).to_json())


def webhook_of(request: web.Request) -> WebhookId:
    """Return the webhook the path names; raises InvalidIdError."""
    return parse_webhook_id(request.match_info["webhook"])


@contextmanager
def _judged() -> Iterator[None]:
    """Answer for a URL that is none webhooks are sent to as for any field that is not acceptable."""
    try:
        yield
    except UrlRefusedError as refused:
        raise FieldsInvalidError([FieldFault("/url", refused.reason)]) from None
