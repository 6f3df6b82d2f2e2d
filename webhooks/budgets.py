"""Warns a tenant that most of a month's budget is spent: one event, one line of the audit trail.

The event's id follows from tenant and month: whichever process sees it first tells, and it is told once.
"""

from datetime import UTC, datetime

import orjson
import structlog

from tenancy.audit import AuditTrail
from tenancy.budgets import WARN_PERCENT, BudgetWarning
from tenancy.clock import Clock
from tenancy.data_models import AuditEvent, OutboxEvent
from tenancy.errors import ConditionFailedError
from tenancy.ids import event_id_once, new_audit_id
from tenancy.steps import NEW
from tenancy.store import TenantStores
from webhooks.events import BUDGET_WARNING
from webhooks.outbox import moment
from webhooks.ticks import AskOutbox

# Kept until the month is over, so that nobody tells of it anew.
_KEPT_DAYS = 40

_log = structlog.get_logger("webhooks.budgets")


class WarnOfBudgets:
    """Tells of warnings; a tenancy.budgets.Warn."""

    def __init__(self, stores: TenantStores, audit: AuditTrail, ask: AskOutbox, clock: Clock) -> None:
        self._stores = stores
        self._audit = audit
        self._ask = ask
        self._clock = clock

    async def __call__(self, warning: BudgetWarning) -> None:
        """Store the event of a warning, unless it is; raises StoreUnavailableError."""
        event = event_of(warning, self._clock.now())
        try:
            await self._stores.db(warning.tenant_id).put(event, condition=NEW)
        except ConditionFailedError:
            return
        _log.warning("budget.warning", tenant=warning.tenant_id, month=warning.month, budget=warning.standing.budget)
        self._audit.record(
            AuditEvent(
                tenant_id=warning.tenant_id,
                audit_id=new_audit_id(event.created_at),
                actor="lockgate.budgets",
                operation="budget.warning",
                outcome="allowed",
                reason=f"{WARN_PERCENT} % of the budget of {warning.month} are spent",
                target=event.event_id,
                at=event.created_at,
            )
        )
        await self._ask(warning.tenant_id, event.event_id, at=event.created_at)


def event_of(warning: BudgetWarning, now: datetime) -> OutboxEvent:
    """Return the one event of a tenant's month, owed its fan-out at once."""
    standing = warning.standing
    month_began_at = datetime.fromisoformat(f"{warning.month}-01").replace(tzinfo=UTC)
    data = {
        "month": warning.month,
        "budgetMicrousd": standing.budget,
        "spentMicrousd": standing.spent,
        "heldMicrousd": standing.held,
        "links": {"usage": "/v1/usage"},
    }
    payload = {"type": BUDGET_WARNING, "timestamp": moment(now), "data": data}
    return OutboxEvent(
        tenant_id=warning.tenant_id,
        event_id=event_id_once(BUDGET_WARNING, warning.tenant_id, warning.month, at=month_began_at),
        event_type=BUDGET_WARNING,
        payload_json=orjson.dumps(payload).decode(),
        created_at=now,
        next_tick_at=now,
        ttl=int(now.timestamp()) + _KEPT_DAYS * 86_400,
    )
