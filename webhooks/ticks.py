"""What drives deliveries from outside: ticks, and whoever asks for them and runs them.

A tick only says where to look. It may come twice, late, out of turn or not at all: what is stored decides whether
anything is done, and a sweeper asks again for what is overdue.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tenancy.ids import DeliveryId, EventId, TenantId, WebhookId


@dataclass(frozen=True, slots=True)
class DeliveryTick:
    """One attempt of one delivery, due after its fence-th claim; a sweep, which knows no fence, says None."""

    tenant_id: TenantId
    webhook_id: WebhookId
    delivery_id: DeliveryId
    fence: int | None = None


class AskDelivery(Protocol):
    """Asks for an attempt."""

    async def __call__(self, tick: DeliveryTick, *, at: datetime) -> None:
        """Have the attempt made at a time; asking twice for one makes one. Never raises: a sweep makes up for it."""
        ...


class AskOutbox(Protocol):
    """Asks for an event to be fanned out."""

    async def __call__(self, tenant_id: TenantId, event_id: EventId, *, at: datetime) -> None:
        """Have the event fanned out at a time; asking twice makes one. Never raises: a sweep makes up for it."""
        ...


class RunDelivery(Protocol):
    """Makes an attempt, if one is due."""

    async def __call__(self, tick: DeliveryTick) -> datetime | None:
        """Return when to run the same tick again, None where it is done; raises StoreUnavailableError: soon again."""
        ...


class RunOutbox(Protocol):
    """Makes one delivery per endpoint that an event is for."""

    async def __call__(self, tenant_id: TenantId, event_id: EventId) -> object:
        """Return how it went; raises StoreUnavailableError: run the same tick again."""
        ...
