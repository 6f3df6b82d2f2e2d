"""What a tenant's webhooks were sent: the log with every attempt, tests, and sending again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from aiohttp import web

from gateway.cursors import LIMIT_MAX, decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read_body
from gateway.operations import CURSOR, IDEMPOTENCY_KEY, LIMIT, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.routes.webhooks import PATH, TAG, WEBHOOK, webhook_of
from gateway.schemas import PageView
from gateway.webhook_schemas import (
    DELIVERY_PATTERN,
    AttemptView,
    DeliveryDetailView,
    DeliveryStatus,
    DeliveryView,
    RecoveredView,
    RecoverRequest,
)
from tenancy.context import TenantContext
from tenancy.data_models import Delivery
from tenancy.ids import parse_delivery_id
from webhooks.deliveries import Deliveries
from webhooks.errors import EndpointInactiveError

DELIVERY: Final = Parameter(
    "delivery",
    "path",
    "A delivery's id.",
    {"type": "string", "pattern": DELIVERY_PATTERN, "minLength": 30, "maxLength": 30},
    "dlv_01jd3k5m7p9q1r3s5t7v9w1x3y",
)
STATUS: Final = Parameter(
    "status",
    "query",
    "Only deliveries that stand so. Such a page may hold fewer than `limit` though more follow.",
    {"type": "string", "enum": list(get_args(DeliveryStatus))},
    "failed",
)
_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_PENDING: Final = DeliveryView(
    id="dlv_01jd3k5m7p9q1r3s5t7v9w1x3y",
    event_id="evt_01jd3k5m7p9q1r3s5t7v9w1x3y",
    event_type="job.succeeded",
    status="pending",
    attempts=(AttemptView(at=_NOW, duration_ms=210, status=503, answer_head="Service unavailable"),),
    next_attempt_at=datetime(2025, 6, 1, 12, 0, 5, tzinfo=UTC),
    created_at=_NOW,
)
_DELIVERED: Final = DeliveryDetailView(
    id=_PENDING.id,
    event_id=_PENDING.event_id,
    event_type="job.succeeded",
    status="delivered",
    attempts=(AttemptView(at=_NOW, duration_ms=34, status=204, answer_head=""),),
    created_at=_NOW,
    payload={
        "type": "job.succeeded",
        "timestamp": "2025-06-01T12:00:00.000000Z",
        "data": {"jobId": "job_01jd3k5m7p9q1r3s5t7v9w1x3y", "status": "succeeded"},
    },
)
_AGAIN: Final = _PENDING.model_copy(update={"next_attempt_at": _NOW})
_TESTED: Final = _AGAIN.model_copy(update={"event_type": "webhook.test", "attempts": ()})
LIST: Final = Operation(
    "GET",
    f"{PATH}/deliveries",
    "listDeliveries",
    TAG,
    "List what a webhook was sent",
    "The webhook's deliveries of the last 30 days with all of their attempts, the newest event first, page by page.",
    (
        answer(
            200,
            "A page of deliveries.",
            PageView[DeliveryView](items=(_PENDING,), next_cursor=str(CURSOR.example)),
        ),
    ),
    parameters=(WEBHOOK, LIMIT, CURSOR, STATUS),
    problems=(
        NotFoundError(),
        FieldsInvalidError([FieldFault("limit", f"must be a whole number from 1 to {LIMIT_MAX}")]),
    ),
)
GET: Final = Operation(
    "GET",
    f"{PATH}/deliveries/{{delivery}}",
    "getDelivery",
    TAG,
    "Look at a delivery",
    "One delivery with all of its attempts and with what it carries.",
    (answer(200, "The delivery.", _DELIVERED),),
    parameters=(WEBHOOK, DELIVERY),
    problems=(NotFoundError(),),
)
TEST: Final = Operation(
    "POST",
    f"{PATH}/test",
    "testWebhook",
    TAG,
    "Send a test event",
    "Sends a `webhook.test` event, whatever the webhook's filter. What came of it stands in its delivery.",
    (answer(202, "The delivery, on its way.", _TESTED, headers=("Location",)),),
    parameters=(WEBHOOK, IDEMPOTENCY_KEY),
    problems=(NotFoundError(), EndpointInactiveError()),
)
REDELIVER: Final = Operation(
    "POST",
    f"{PATH}/deliveries/{{delivery}}/redeliver",
    "redeliver",
    TAG,
    "Send a delivery again",
    "Sends the same event again now, with the same `webhook-id`, whatever came of it before. One that is being sent at "
    "this moment stays as it is.",
    (answer(202, "The delivery, on its way.", _AGAIN, headers=("Location",)),),
    parameters=(WEBHOOK, DELIVERY, IDEMPOTENCY_KEY),
    problems=(NotFoundError(), EndpointInactiveError()),
)
RECOVER: Final = Operation(
    "POST",
    f"{PATH}/recover",
    "recoverDeliveries",
    TAG,
    "Send all that failed in a time again",
    "Sends every failed delivery of an event from `since` to before `until` again, and none that was delivered or is "
    "on its way. One call takes 1,000; where there are more, `continueSince` says where to go on.",
    (answer(202, "How many are on their way.", RecoveredView(redelivered=12)),),
    parameters=(WEBHOOK, IDEMPOTENCY_KEY),
    body=Content({"outage": RecoverRequest(since=_NOW, until=datetime(2025, 6, 1, 14, tzinfo=UTC))}),
    problems=(NotFoundError(), EndpointInactiveError()),
)


@dataclass(frozen=True, slots=True)
class DeliveryRoutes:
    """`/v1/webhooks/{webhook}/deliveries`, and what sends."""

    deliveries: Deliveries

    async def list(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with a page of deliveries, the newest event first."""
        webhook_id = webhook_of(request)
        page = await self.deliveries.list(
            ctx.tenant_id,
            webhook_id,
            limit=limit_of(request),
            after=decode(ctx.tenant_id, request.query.get("cursor"), Delivery.prefix_of(webhook_id)),
            status=_status_of(request),
        )
        views = tuple(map(DeliveryView.of, page.items))
        return json_answer(PageView[DeliveryView](items=views, next_cursor=encode(ctx.tenant_id, page.after)).to_json())

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with one delivery and its payload."""
        delivery_id = parse_delivery_id(request.match_info["delivery"])
        found = await self.deliveries.get(ctx.tenant_id, webhook_of(request), delivery_id)
        return json_answer(DeliveryDetailView.whole(found).to_json())

    async def test(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Send a test event."""
        return _on_its_way(await self.deliveries.send_test(ctx.tenant_id, webhook_of(request)))

    async def redeliver(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Send one delivery again."""
        delivery_id = parse_delivery_id(request.match_info["delivery"])
        return _on_its_way(await self.deliveries.redeliver(ctx.tenant_id, webhook_of(request), delivery_id))

    async def recover(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Send every failed delivery of a time again."""
        webhook_id = webhook_of(request)
        asked = await read_body(RecoverRequest, request)
        recovered = await self.deliveries.recover(ctx.tenant_id, webhook_id, since=asked.since, until=asked.until)
        return json_answer(RecoveredView.of(recovered).to_json(), status=202)


def _on_its_way(delivery: Delivery) -> web.Response:
    location = f"/v1/webhooks/{delivery.webhook_id}/deliveries/{delivery.delivery_id}"
    return json_answer(DeliveryView.of(delivery).to_json(), status=202, headers={"Location": location})


def _status_of(request: web.Request) -> DeliveryStatus | None:
    allowed: tuple[DeliveryStatus, ...] = get_args(DeliveryStatus)
    text = request.query.get("status")
    for status in allowed:
        if text == status:
            return status
    if text is None:
        return None
    raise FieldsInvalidError([FieldFault("status", f"must be one of {', '.join(allowed)}")])
