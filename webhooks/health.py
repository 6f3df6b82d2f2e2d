"""Remembers how an endpoint fares over days, and disables one that is gone or given up.

Any success clears its record. The tenant is told by the endpoint's own `disabledReason` and by its audit trail, since
the webhook itself is the one channel that does not work.
"""

from contextlib import suppress
from typing import Final, Literal, TypeAlias

import structlog
from boto3.dynamodb.conditions import Attr, ConditionBase

from tenancy.audit import AuditTrail
from tenancy.clock import Clock
from tenancy.data_models import AuditEvent, WebhookEndpoint
from tenancy.errors import ConditionFailedError
from tenancy.ids import new_audit_id
from tenancy.store import TenantStores
from webhooks.metrics import WebhookMetrics
from webhooks.schedule import is_given_up
from webhooks.sender import Result

Reason: TypeAlias = Literal["gone", "failing"]
_SENTENCES: Final[dict[Reason, str]] = {
    "gone": "The endpoint answered 410 Gone.",
    "failing": "Every attempt failed for five days.",
}

_log = structlog.get_logger("webhooks.health")


class Health:
    """Keeps the record of every endpoint."""

    def __init__(self, stores: TenantStores, audit: AuditTrail, *, clock: Clock, metrics: WebhookMetrics) -> None:
        self._stores = stores
        self._audit = audit
        self._clock = clock
        self._metrics = metrics

    async def note(self, endpoint: WebhookEndpoint, result: Result) -> None:
        """Write down what an attempt to the endpoint, as it was then, has shown."""
        now = self._clock.now()
        # Not of an endpoint that was sent elsewhere meanwhile.
        same = Attr("url").eq(endpoint.url)
        if result is Result.DELIVERED:
            if endpoint.failing_since_at is not None:
                await self._mark(endpoint, None, same)
        elif result is Result.GONE:
            await self._disable(endpoint, "gone", same)
        elif endpoint.failing_since_at is None:
            await self._mark(endpoint, now.isoformat(), same & Attr("failing_since_at").not_exists())
        elif is_given_up(endpoint.failing_since_at, now):
            # Not of one that was activated again or has succeeded meanwhile.
            await self._disable(endpoint, "failing", same & Attr("failing_since_at").exists())

    async def _mark(self, endpoint: WebhookEndpoint, failing_since: str | None, when: ConditionBase) -> None:
        with suppress(ConditionFailedError):
            await self._stores.db(endpoint.tenant_id).update(
                WebhookEndpoint, endpoint.key(), {"failing_since_at": failing_since}, condition=when
            )

    async def _disable(self, endpoint: WebhookEndpoint, reason: Reason, when: ConditionBase) -> None:
        now, sentence = self._clock.now(), _SENTENCES[reason]
        changes = {"status": "disabled", "disabled_reason": sentence, "updated_at": now.isoformat()}
        try:
            await self._stores.db(endpoint.tenant_id).update(
                WebhookEndpoint, endpoint.key(), changes, condition=when & Attr("status").eq("active")
            )
        except ConditionFailedError:
            return
        self._metrics.disabled.labels(reason).inc()
        _log.warning("webhook.disabled", tenant=endpoint.tenant_id, webhook=endpoint.webhook_id, reason=reason)
        self._audit.record(
            AuditEvent(
                tenant_id=endpoint.tenant_id,
                audit_id=new_audit_id(now),
                actor="lockgate.webhooks",
                operation="DisableWebhook",
                outcome="allowed",
                reason=sentence,
                target=endpoint.webhook_id,
                at=now,
            )
        )
