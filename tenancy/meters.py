"""The meter on one invocation: what it has used, what that costs, and whether it may go on.

Where a budget applies, an event is weighed before it is passed on: what it brings the cost to is drawn from the
budget first. Time is drawn AHEAD_MS ahead and again every second, so that silence costs no more than was drawn. While
it runs, tokens count as what the agent has reported or what its bytes are taken for, whichever is more; in the end,
as what it reported. So what all invocations pass on never costs more than the budget. What can come on top is only
what an agent reports or answers in one piece, once: see docs/USAGE.md. Without a budget weighing is one comparison.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog

from tenancy.budgets import Budgets
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Tenant
from tenancy.errors import BudgetExceededError, BudgetUnknownError, LockgateError
from tenancy.ledger import Used
from tenancy.prices import FREE, tokens_in

# Runtime is drawn for this long before it is used, and looked after this often.
AHEAD_MS: Final = 2_000
LOOK_S: Final = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Reported(Protocol):
    """Tokens used so far, by an agent's own account."""

    @property
    def input_tokens(self) -> int:
        """Tokens read."""
        ...

    @property
    def output_tokens(self) -> int:
        """Tokens written."""
        ...


class Meter:
    """One invocation's. `cap` is what its caller lets it cost, in micro-dollars."""

    def __init__(
        self,
        budgets: Budgets,
        tenant: Tenant,
        agent: AgentVersion | None,
        *,
        input_bytes: int,
        cap: int | None,
        clock: Clock,
        ran_s: float = 0.0,
    ) -> None:
        self._budgets = budgets
        self._hold = budgets.hold(tenant.tenant_id)
        self._price = (None if agent is None else agent.price) or FREE
        self._cap = cap
        self._input_bytes = input_bytes
        self._monotonic = clock.monotonic
        self._began_s = clock.monotonic() - ran_s
        # As of which change of tenants this one has no monthly budget; none, where it has one.
        self._none_at = budgets.epoch if tenant.monthly_budget_microusd is None else -1
        self._settled = False
        self.chunks = 0
        self.answer_bytes = 0
        # Input and output tokens as the agent last reported them.
        self.reported: tuple[int, int] | None = None
        # Told when the invocation has to end though nothing passes.
        self.on_over: Callable[[LockgateError], None] | None = None

    @property
    def watched(self) -> bool:
        """Whether a budget applies."""
        return self._cap is not None or self._none_at < 0

    def weighed(self, size: int) -> bool:
        """Tell whether an event of `size` bytes may pass at once; False where that is for `weigh` to say."""
        if self._none_at == self._budgets.epoch:
            return self._cap is None or self._owed(size) <= self._cap
        if self._none_at >= 0 or self._hold.account is None:
            return False
        owed = self._owed(size)
        within = self._cap is None or owed <= self._cap
        units = owed - self._hold.drawn
        return within and (units <= 0 or self._hold.take(units))

    async def weigh(self, size: int) -> None:
        """Draw what an event of `size` bytes brings the cost to.

        Raises BudgetExceededError, BudgetUnknownError, StoreUnavailableError.
        """
        if self.weighed(size):
            return
        epoch, owed = self._budgets.epoch, self._owed(size)
        if self._cap is not None and owed > self._cap:
            raise BudgetExceededError
        # One at least: where nothing is left, nothing begins, however little it costs.
        await self._budgets.draw(self._hold, max(owed - self._hold.drawn, 0 if self._hold.drawn else 1))
        self._none_at = epoch if self._hold.account is None else -1

    def count(self, size: int) -> None:
        """Count an event that was passed on."""
        self.chunks += 1
        self.answer_bytes += size

    def answered(self, size: int, usage: Reported | None) -> None:
        """Count a whole answer, and what its agent says that it used."""
        self.answer_bytes = size
        self.report(usage)

    def report(self, usage: Reported | None) -> None:
        """Take note of what an agent says that its models have used so far."""
        if usage is not None:
            self.reported = (usage.input_tokens, usage.output_tokens)

    def used(self, tool_calls: int = 0) -> Used:
        """Return what was used up to now."""
        return Used(
            input_bytes=self._input_bytes,
            runtime_ms=self._ran_ms(),
            chunks=self.chunks,
            answer_bytes=self.answer_bytes,
            tool_calls=tool_calls,
            tokens=self.reported,
        )

    def settle(self, cost: int) -> None:
        """Let go of what was drawn, and count what it came to; once."""
        if not self._settled:
            self._settled = True
            self._budgets.settle(self._hold, cost)

    def release(self) -> None:
        """Let go of what was drawn for what came to nothing."""
        if not self._settled and self._hold.account is not None:
            self.settle(0)

    def _owed(self, size: int) -> int:
        reported_in, reported_out = self.reported or (0, 0)
        tokens_read = max(reported_in, tokens_in(self._input_bytes))
        tokens_written = max(reported_out, tokens_in(self.answer_bytes + size))
        return self._price.cost(tokens_read, tokens_written, self._ran_ms() + AHEAD_MS)

    def _ran_ms(self) -> int:
        return int((self._monotonic() - self._began_s) * 1000)


class Meters:
    """The meters of one process; those that a budget applies to are looked after while nothing passes."""

    def __init__(self, budgets: Budgets, clock: Clock) -> None:
        self.budgets = budgets
        self._clock = clock
        self._watched: set[Meter] = set()

    async def require(self, tenant: Tenant, agent: AgentVersion, input_bytes: int) -> None:
        """Raise as `open` does where a job may not begin; it draws for itself once it runs."""
        beginning = (agent.price or FREE).cost(tokens_in(input_bytes), 0, AHEAD_MS)
        await self.budgets.require(tenant, beginning)

    async def open(self, tenant: Tenant, agent: AgentVersion, input_bytes: int, cap: int | None) -> Meter:
        """Return the meter of what begins now; raises as `Meter.weigh` does where it may not."""
        meter = Meter(self.budgets, tenant, agent, input_bytes=input_bytes, cap=cap, clock=self._clock)
        if meter.watched:
            await meter.weigh(0)
            self._watched.add(meter)
        return meter

    def resumed(
        self, tenant: Tenant, agent: AgentVersion | None, *, input_bytes: int, cap: int | None, ran_s: float
    ) -> Meter:
        """Return the meter of what another process began `ran_s` ago; that it goes on is weighed like any event."""
        meter = Meter(self.budgets, tenant, agent, input_bytes=input_bytes, cap=cap, clock=self._clock, ran_s=ran_s)
        if meter.watched:
            self._watched.add(meter)
        return meter

    def close(self, meter: Meter) -> None:
        """Look after it no more, and let go of what it still holds."""
        self._watched.discard(meter)
        meter.release()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look after meters for the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> None:
        """Look after every meter once."""
        for meter in list(self._watched):
            try:
                await meter.weigh(0)
            except (BudgetExceededError, BudgetUnknownError) as over:
                if meter.on_over is not None:
                    meter.on_over(over)
            except LockgateError as away:
                _log.warning("budget_not_looked_at", error=type(away).__name__)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()
