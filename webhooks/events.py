"""The events webhooks tell of, and the one that is sent on request."""

from datetime import datetime
from typing import Final

import orjson

from tenancy.ids import WebhookId
from webhooks.outbox import moment

TEST: Final = "webhook.test"
BUDGET_WARNING: Final = "budget.warning"
EVENT_TYPES: Final = frozenset({"job.succeeded", "job.failed", "job.cancelled", "job.expired", BUDGET_WARNING, TEST})


def payload_of_test(webhook_id: WebhookId, at: datetime) -> str:
    """Return the body of a test delivery."""
    return orjson.dumps({"type": TEST, "timestamp": moment(at), "data": {"webhookId": webhook_id}}).decode()
