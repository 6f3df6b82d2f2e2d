"""What tenants may spend in a month, held by all processes together while their invocations run.

Everything that runs for a tenant with a budget draws what it costs before it goes on; what has ended is settled at
its exact cost. Of a change of budget every process hears at once; where word of changes does not come through, the
tenants that spend are looked at every second. A tenant without a budget costs a comparison.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Final

import structlog

from tenancy.accounts import Account, Standing
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import Tenant
from tenancy.errors import BudgetExceededError, LockgateError
from tenancy.ids import TenantId
from tenancy.keys import budget_key
from tenancy.ledger import Ledger, month_of
from tenancy.registry import KIND
from tenancy.trips import RoundTrips

# How often accounts are looked after, and how long spare units may lie unused.
REST_S: Final = 1.0
IDLE_S: Final = 2.0
# A budget is warned of once it is spent to this part.
WARN_PERCENT: Final = 80

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A tenant has spent WARN_PERCENT of a month's budget."""

    tenant_id: TenantId
    month: str
    standing: Standing


Warn = Callable[[BudgetWarning], Awaitable[None]]
"""Tells of a warning; may be told of the same one more than once. Raises LockgateError: told again later."""


@dataclass(slots=True)
class Hold:
    """What one invocation or job has drawn of its tenant's month, the one it began in."""

    tenant_id: TenantId
    month: str
    account: Account | None = None
    drawn: int = 0

    def take(self, units: int) -> bool:
        """Draw units at once; False where that is for `Budgets.draw` to do."""
        if self.account is None or not self.account.take(units):
            return False
        self.drawn += units
        return True


@dataclass(slots=True)
class _Month:
    """An account in use, under the budget it was last seen to have."""

    tenant_id: TenantId
    month: str
    account: Account
    budget: int


class Budgets:
    """All tenants' months on this process. `name` is the process's own; `find` reads a tenant's local copy."""

    def __init__(
        self,
        trips: RoundTrips,
        ledger: Ledger,
        find: Callable[[TenantId], Awaitable[Tenant]],
        changes: ChangeFeed,
        *,
        clock: Clock,
        name: str,
        warn: Warn,
    ) -> None:
        self._trips = trips
        self._ledger = ledger
        self._find = find
        self._clock = clock
        self._name = name
        self._warn = warn
        self._made = 0
        self._months: dict[tuple[TenantId, str], _Month] = {}
        # Months whose count in Redis must not outlive that their tenant has no budget.
        self._cleared: set[tuple[TenantId, str]] = set()
        self._warned: set[tuple[TenantId, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Rises with every change of any tenant: who holds an older one looks anew.
        self.epoch = 0
        changes.on(KIND, self._changed)
        changes.on_gap(lambda: self._changed(None))

    @property
    def month(self) -> str:
        """The month that what begins now is counted in."""
        return month_of(self._clock.now().date())

    def hold(self, tenant_id: TenantId) -> Hold:
        """Return what something that begins now may draw by."""
        return Hold(tenant_id, self.month)

    async def require(self, tenant: Tenant, units: int = 1) -> None:
        """Raise BudgetExceededError where less is left of a tenant's month; BudgetUnknownError."""
        if tenant.monthly_budget_microusd is None:
            return
        hold = self.hold(tenant.tenant_id)
        await self.draw(hold, max(1, units))
        self.settle(hold, 0)

    async def draw(self, hold: Hold, units: int) -> None:
        """Draw units of a tenant's month; raises BudgetExceededError, BudgetUnknownError, StoreUnavailableError."""
        budget = (await self._find(hold.tenant_id)).monthly_budget_microusd
        if budget is None:
            return
        account = self._opened(hold.tenant_id, hold.month, budget).account
        if hold.account is not account:
            # The first draw, or the first since the budget was taken away and given anew.
            hold.account, hold.drawn, units = account, 0, hold.drawn + units
        if not await account.draw(units, budget):
            raise BudgetExceededError
        hold.drawn += units

    def settle(self, hold: Hold, cost: int) -> None:
        """Count what something cost that has ended, and let go of what it had drawn; never fails."""
        key = (hold.tenant_id, hold.month)
        known = self._months.get(key)
        if hold.account is not None and known is not None and known.account is hold.account:
            hold.account.settle(hold.drawn, cost)
        elif key not in self._cleared:
            self._spawn(self._settle(key, cost))
        hold.account, hold.drawn = None, 0

    async def standing(self, tenant: Tenant) -> Standing | None:
        """Return how a tenant's month stands; None without a budget. Raises RedisAwayError, StoreUnavailableError."""
        budget = tenant.monthly_budget_microusd
        if budget is None:
            return None
        return await self._opened(tenant.tenant_id, self.month, budget).account.standing(budget)

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Look after the accounts for the block, and give everything back in the end."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.rest(now=True)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def rest(self, *, now: bool = False) -> None:
        """Look after every account once: see whether its budget changed, and tell Redis what it does not know."""
        for key, month in list(self._months.items()):
            try:
                budget = (await self._find(month.tenant_id)).monthly_budget_microusd
                if budget is None:
                    self._close(key)
                    continue
                if budget != month.budget:
                    month.budget, month.account.stale = budget, True
                await month.account.rest(budget, idle_s=IDLE_S, now=now)
            except LockgateError as away:
                _log.warning("budget_not_told", tenant=month.tenant_id, error=type(away).__name__)
            else:
                if month.account.idle and self._clock.monotonic() - month.account.used_at_s > IDLE_S:
                    self._months.pop(key, None)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(REST_S)
            await self.rest()

    async def _settle(self, key: tuple[TenantId, str], cost: int) -> None:
        """Count a cost of which nothing was drawn, where there is a budget to count it against."""
        try:
            budget = (await self._find(key[0])).monthly_budget_microusd
        except LockgateError:
            return
        if budget is not None:
            self._opened(*key, budget).account.settle(0, cost)
        elif key not in self._cleared:
            # What was counted under an earlier budget is no longer whole.
            self._close(key)

    def _opened(self, tenant_id: TenantId, month: str, budget: int) -> _Month:
        known = self._months.get((tenant_id, month))
        if known is None:
            known = self._months[tenant_id, month] = self._open(tenant_id, month, budget)
        elif known.budget != budget:
            known.budget, known.account.stale = budget, True
        return known

    def _open(self, tenant_id: TenantId, month: str, budget: int) -> _Month:
        # Each account has a name of its own: one that is opened again must not stand for the one before.
        self._made += 1
        self._cleared.discard((tenant_id, month))

        def told(standing: Standing) -> None:
            if (standing.spent + standing.held) * 100 >= standing.budget * WARN_PERCENT:
                self._tell(BudgetWarning(tenant_id, month, standing))

        account = Account(
            budget_key(tenant_id, month),
            f"{self._name}:{self._made}",
            self._trips,
            ask_ledger=lambda: self._ledger.spent(tenant_id, month),
            clock=self._clock,
            on_standing=told,
        )
        return _Month(tenant_id, month, account, budget)

    def _close(self, key: tuple[TenantId, str]) -> None:
        """Forget a month whose tenant has no budget any more, here and in Redis."""
        closed = self._months.pop(key, None)
        if closed is not None:
            closed.account.stale = True
        self._warned.discard(key)
        self._cleared.add(key)
        self._trips.send("DEL", budget_key(*key), keep_s=60.0)

    def _tell(self, warning: BudgetWarning) -> None:
        key = (warning.tenant_id, warning.month)
        if key in self._warned:
            return
        self._warned.add(key)
        self._spawn(self._warn_of(warning))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        # It outlives the request that happens to begin it: it must not inherit its scope.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _warn_of(self, warning: BudgetWarning) -> None:
        try:
            await self._warn(warning)
        except LockgateError as failed:
            _log.warning("budget_warning_not_told", tenant=warning.tenant_id, error=type(failed).__name__)
            self._warned.discard((warning.tenant_id, warning.month))

    def _changed(self, tenant_id: str | None) -> None:
        self.epoch += 1
        self._cleared = {key for key in self._cleared if tenant_id not in {None, key[0]}}
        for month in self._months.values():
            if tenant_id in {None, month.tenant_id}:
                month.account.stale = True
