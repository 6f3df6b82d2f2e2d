"""Builds what meters and budgets are made of, one for a process."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ops.wiring import Floor
from tenancy.budgets import Budgets
from tenancy.ledger import Ledger
from tenancy.meters import Meters
from tenancy.registry import TenantRegistry
from webhooks.budgets import WarnOfBudgets


@dataclass(frozen=True, slots=True)
class Metering:
    """The ledger, the budgets and the meters of a process."""

    ledger: Ledger
    budgets: Budgets
    meters: Meters


@asynccontextmanager
async def metering(base: Floor, registry: TenantRegistry) -> AsyncIterator[Metering]:
    """Keep accounts and meters for the block; what is held is given back in the end."""
    clock, ledger = base.clock, Ledger(base.stores, base.clock)
    budgets = Budgets(
        base.trips,
        ledger,
        registry.get,
        base.changes,
        clock=clock,
        name=secrets.token_hex(8),
        warn=WarnOfBudgets(base.stores, base.audit, base.webhook_ticks.outbox, clock),
    )
    meters = Meters(budgets, clock)
    async with budgets.resting(), meters.looking():
        yield Metering(ledger, budgets, meters)
