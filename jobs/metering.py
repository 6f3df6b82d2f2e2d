"""What a job costs: its line in the ledger, and whether its tenant's budget lets it go on.

A job's line goes into the transaction of its end. While it runs, whoever looks at it draws what it costs until it is
looked at again; what a worker has drawn for a job it sees no more (another one looks at it) is let go after a while.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from jobs.runtime import Agents
from tenancy.budgets import Budgets, Hold
from tenancy.clock import Clock
from tenancy.data_models import JobRecord, UsageRecord
from tenancy.errors import BudgetExceededError, BudgetUnknownError
from tenancy.ids import JobId, moment_of
from tenancy.ledger import Used, line_of, month_of
from tenancy.prices import FREE, Price, tokens_in
from tenancy.tool_calls import ToolCalls

# A running job is looked at at least this often, twice over.
UNSEEN_S: Final = 120.0


class Spending(Protocol):
    """What jobs may spend."""

    async def may_go_on(self, job: JobRecord, price: Price | None, *, ahead_s: float) -> bool:
        """Draw what a running job costs until it is looked at again; False where its tenant's budget does not."""
        ...

    async def tool_calls(self, job: JobRecord) -> int:
        """Return how many tools it has called."""
        ...

    def ended(self, line: UsageRecord) -> None:
        """Count what a job cost that has ended."""
        ...


def line_of_job(job: JobRecord, price: Price | None, tool_calls: int) -> UsageRecord:
    """Return the line of a job that has ended."""
    now = job.ended_at or job.updated_at
    used = Used(
        input_bytes=_input_bytes(job),
        runtime_ms=_ran_ms(job, now),
        answer_bytes=job.result_bytes or len((job.result_json or "").encode()),
        tool_calls=tool_calls,
        tokens=job.tokens,
    )
    return line_of(job, price, used, now)


async def price_of(agents: Agents, job: JobRecord) -> Price | None:
    """Return what a job's agent version costs; raises AgentUnknownError."""
    return (await agents.get(job.agent, job.agent_version)).price


@dataclass(slots=True)
class _Held:
    hold: Hold
    seen_s: float


class JobSpending:
    """The jobs that a worker looks at."""

    def __init__(self, budgets: Budgets, calls: ToolCalls, clock: Clock) -> None:
        self._budgets = budgets
        self._calls = calls
        self._clock = clock
        self._holds: dict[JobId, _Held] = {}

    async def may_go_on(self, job: JobRecord, price: Price | None, *, ahead_s: float) -> bool:
        """Draw what a running job costs until it is looked at again."""
        self._let_go()
        held = self._holds.get(job.job_id)
        if held is None:
            held = self._holds[job.job_id] = _Held(Hold(job.tenant_id, _month(job)), self._clock.monotonic())
        held.seen_s = self._clock.monotonic()
        tokens_read, tokens_written = job.tokens or (tokens_in(_input_bytes(job)), 0)
        ran_ms = _ran_ms(job, self._clock.now()) + int(ahead_s * 1000)
        owed = (price or FREE).cost(tokens_read, tokens_written, ran_ms)
        try:
            await self._budgets.draw(held.hold, max(owed - held.hold.drawn, 0 if held.hold.drawn else 1))
        except BudgetExceededError:
            return False
        except BudgetUnknownError:
            # It is looked at again; what it cost meanwhile is drawn then.
            return True
        return True

    async def tool_calls(self, job: JobRecord) -> int:
        """Return how many tools it has called, as Redis counts."""
        return await self._calls.of(job.tenant_id, job.job_id)

    def ended(self, line: UsageRecord) -> None:
        """Count what a job cost that has ended."""
        held = self._holds.pop(JobId(line.record_id), None)
        hold = Hold(line.tenant_id, month_of(line.day)) if held is None else held.hold
        self._budgets.settle(hold, line.cost_microusd)

    def _let_go(self) -> None:
        unseen_since_s = self._clock.monotonic() - UNSEEN_S
        for job_id, held in list(self._holds.items()):
            if held.seen_s < unseen_since_s:
                del self._holds[job_id]
                self._budgets.settle(held.hold, 0)


def _month(job: JobRecord) -> str:
    return month_of(moment_of(job.job_id).date())


def _input_bytes(job: JobRecord) -> int:
    return job.input_bytes or len((job.input_json or "").encode())


def _ran_ms(job: JobRecord, now: datetime) -> int:
    return 0 if job.started_at is None else max(0, int((now - job.started_at).total_seconds() * 1000))
