"""The ledger: one immutable line per invocation and job, and what the lines come to.

A line stands under the UTC day its invocation or job began on, which its id tells, so that settling it twice writes
one item. A day that has been over for CLOSED_AFTER is added up once and read as one item from then on; who settles a
line of such a day takes that sum away with it. Sums are of integers: they agree to the micro-dollar however grouped.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import (
    InvocationRecord,
    JobRecord,
    Mode,
    Status,
    UsageDay,
    UsageLine,
    UsageRecord,
    UsageSums,
)
from tenancy.ids import TenantId, moment_of
from tenancy.prices import FREE, Price, tokens_in
from tenancy.store import TenantStores

# Longer than anything runs: a job may take 8 hours, and what its worker left behind is settled within minutes.
CLOSED_AFTER: Final = timedelta(hours=48)
_PAGE: Final = 500
_DAYS_AT_ONCE: Final = 8
_SUMMED: Final = tuple(name for name in UsageSums.model_fields if name not in {"records", "estimated"})


@dataclass(frozen=True, slots=True)
class Used:
    """What was measured of an invocation or job; tokens are None where the agent did not say."""

    input_bytes: int
    runtime_ms: int
    chunks: int = 0
    answer_bytes: int = 0
    tool_calls: int = 0
    tokens: tuple[int, int] | None = None


def line_of(ended: InvocationRecord | JobRecord, price: Price | None, used: Used, now: datetime) -> UsageRecord:
    """Return the ledger's line of what has ended; without a price it was free."""
    (tokens_read, tokens_written), estimated = _tokens(ended, used)
    return UsageRecord(
        tenant_id=ended.tenant_id,
        record_id=ended.job_id if isinstance(ended, JobRecord) else ended.invocation_id,
        agent=ended.agent,
        agent_version=ended.agent_version,
        mode=Mode.ASYNC if isinstance(ended, JobRecord) else ended.mode,
        outcome=ended.status,
        input_tokens=tokens_read,
        output_tokens=tokens_written,
        estimated=estimated,
        chunks=used.chunks,
        answer_bytes=used.answer_bytes,
        runtime_ms=used.runtime_ms,
        tool_calls=used.tool_calls,
        cost_microusd=(price or FREE).cost(tokens_read, tokens_written, used.runtime_ms),
        settled_at=now,
    )


def _tokens(ended: InvocationRecord | JobRecord, used: Used) -> tuple[tuple[int, int], bool]:
    """Return input and output tokens, and whether they are an estimate.

    A stream that was cut had an agent with no time left to report: what it passed on counts where that is more.
    """
    by_size = (tokens_in(used.input_bytes), tokens_in(used.answer_bytes))
    if used.tokens is None:
        return by_size, True
    cut = isinstance(ended, InvocationRecord) and ended.mode is Mode.STREAM and ended.status is not Status.SUCCEEDED
    most = (max(used.tokens[0], by_size[0]), max(used.tokens[1], by_size[1])) if cut else used.tokens
    return most, most != used.tokens


def month_of(day: date) -> str:
    """Return a day's month as `2026-11`."""
    return f"{day:%Y-%m}"


def days_of(first: date, last: date) -> list[date]:
    """Return the days from `first` to `last`, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def is_closed(day: date, now: datetime) -> bool:
    """Tell whether nothing that began on a day can still run."""
    return now >= datetime.combine(day + timedelta(days=1), time(), UTC) + CLOSED_AFTER


def added(sums: Iterable[UsageSums]) -> UsageSums:
    """Return what sums come to together."""
    totals = dict.fromkeys(UsageSums.model_fields, 0)
    for one in sums:
        for name in totals:
            totals[name] += getattr(one, name)
    return UsageSums(**totals)


class Ledger:
    """Reads the ledger; lines are written by whoever settles, with the end they belong to."""

    def __init__(self, stores: TenantStores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def days(self, tenant_id: TenantId, first: date, last: date) -> dict[date, tuple[UsageLine, ...]]:
        """Return the sums of each day from `first` to `last`, by agent and mode."""
        room = asyncio.Semaphore(_DAYS_AT_ONCE)

        async def one(day: date) -> tuple[UsageLine, ...]:
            async with room:
                return await self.day(tenant_id, day)

        days = days_of(first, last)
        return dict(zip(days, await asyncio.gather(*map(one, days)), strict=True))

    async def day(self, tenant_id: TenantId, day: date) -> tuple[UsageLine, ...]:
        """Return the sums of one day, by agent and mode."""
        now = self._clock.now()
        if day > now.date():
            return ()
        door, closed = self._stores.db(tenant_id), is_closed(day, now)
        if closed:
            known = await door.get(UsageDay, UsageDay.key_to(tenant_id, day), consistent=True)
            if known is not None:
                return known.lines
        lines = await self._added_up(tenant_id, day)
        if closed:
            await door.put(UsageDay(tenant_id=tenant_id, day=day, lines=lines))
        return lines

    async def spent(self, tenant_id: TenantId, month: str) -> int:
        """Return what a month (`2026-11`) has cost so far, in micro-dollars."""
        first = date.fromisoformat(f"{month}-01")
        last = min(last_of(first), self._clock.now().date())
        days = await self.days(tenant_id, first, last)
        return sum(line.cost_microusd for lines in days.values() for line in lines)

    async def records(self, tenant_id: TenantId, day: date) -> AsyncIterator[Sequence[UsageRecord]]:
        """Yield a day's lines in the order in which they began, page by page."""
        after: str | None = None
        while True:
            page = await self._stores.db(tenant_id).query(
                UsageRecord,
                tables.tenant_partition(tenant_id),
                sort_prefix=UsageRecord.prefix_of(day),
                limit=_PAGE,
                after=after,
                newest_first=False,
                consistent=True,
            )
            yield page.items
            if page.after is None:
                return
            after = page.after

    async def reopen(self, tenant_id: TenantId, record_id: str) -> None:
        """Take away the sum of the day on which a record began, where it could be one: a line is added late."""
        day = moment_of(record_id).date()
        if is_closed(day, self._clock.now()):
            await self._stores.db(tenant_id).delete(UsageDay, UsageDay.key_to(tenant_id, day))

    async def _added_up(self, tenant_id: TenantId, day: date) -> tuple[UsageLine, ...]:
        groups: dict[tuple[str, Mode], dict[str, int]] = {}
        async for records in self.records(tenant_id, day):
            for record in records:
                sums = groups.setdefault((record.agent, record.mode), dict.fromkeys(UsageSums.model_fields, 0))
                sums["records"] += 1
                sums["estimated"] += record.estimated
                for name in _SUMMED:
                    sums[name] += getattr(record, name)
        return tuple(
            UsageLine.model_validate({"agent": agent, "mode": mode, **sums})
            for (agent, mode), sums in sorted(groups.items())
        )


def last_of(first: date) -> date:
    """Return the last day of a month."""
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
