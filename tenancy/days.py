"""How much a tenant may invoke in a day (UTC): a count shared by all processes.

The count lives in Redis. While Redis is away invocations are let through, and what was let through is told to Redis
when it is back: the rate still bounds them, and refusing every tenant's work over a counter would be the worse
failure. Only a process that ends meanwhile takes its untold invocations with it.
"""

import asyncio
import math
from collections import Counter as Tally
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from tenancy.clock import Clock
from tenancy.errors import DailyLimitError
from tenancy.ids import TenantId
from tenancy.keys import day_key
from tenancy.leases import Grant, Lease
from tenancy.trips import RoundTrips, Script

_KEPT_S: Final = 48 * 3600
# A process holds at most a thousandth of the day's units unused.
_BATCHES_A_DAY: Final = 1000
_LARGEST_BATCH: Final = 50

# KEYS: count. ARGV: cap, units wanted (negative: given back), units owed, seconds kept. Answers units, and units left.
_TAKE: Final = Script("""
local cap, wanted, owed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local used = tonumber(redis.call('GET', KEYS[1]) or '0') + owed
local units = math.min(wanted, math.max(0, cap - used))
redis.call('SET', KEYS[1], math.max(0, used + units), 'EX', ARGV[4])
return {units, math.max(0, cap - used - units)}
""")


class _Debts:
    """Units handed out that Redis does not know of yet, by the count they belong to."""

    def __init__(self, trips: RoundTrips) -> None:
        self._trips = trips
        self._owed: Tally[str] = Tally()

    def owe(self, key: str, units: int) -> None:
        self._owed[key] += units

    def pay(self, key: str) -> None:
        """Tell Redis with the next trip; what it does not hear stays owed."""
        units = self._owed.pop(key, 0)
        if units == 0:
            return

        def heard(answer: asyncio.Future[object]) -> None:
            if answer.exception() is not None:
                self.owe(key, units)

        self._trips.run(_TAKE, (key,), 0, 0, units, _KEPT_S).add_done_callback(heard)

    def pay_all(self) -> None:
        for key in list(self._owed):
            self.pay(key)


class _Count:
    """One tenant's count on one day."""

    def __init__(self, key: str, cap: int, trips: RoundTrips, debts: _Debts) -> None:
        self._key = key
        self._cap = cap
        self._trips = trips
        self._debts = debts

    async def ask(self, units: int) -> Grant:
        # On the same trip, so that what is owed counts before more is taken.
        self._debts.pay(self._key)
        answer = await self._trips.run(_TAKE, (self._key,), self._cap, units, 0, _KEPT_S)
        match answer:
            case [int(granted), int(left)]:
                # A cap is raised, or the day ends: look again now and then.
                return Grant(granted, left, wait_s=1.0)
            case _:
                raise TypeError("the count answered otherwise than its script does")

    def give(self, units: int) -> None:
        self._trips.run(_TAKE, (self._key,), self._cap, -units, 0, _KEPT_S)

    def without(self, units: int) -> Grant:
        self._debts.owe(self._key, units)
        return Grant(units, 0)


class Days:
    """All tenants' days on this process."""

    def __init__(self, trips: RoundTrips, *, clock: Clock) -> None:
        self._trips = trips
        self._clock = clock
        self._debts = _Debts(trips)
        self._leases: dict[tuple[TenantId, date, int], Lease] = {}

    async def take(self, tenant_id: TenantId, cap: int | None) -> None:
        """Spend one invocation of today's; raises DailyLimitError. None is unlimited."""
        if cap is None:
            return
        now = self._clock.now()
        if await self._lease(tenant_id, now.date(), cap).take() is not None:
            midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
            raise DailyLimitError(math.ceil((midnight - now).total_seconds()))

    def put_back(self, tenant_id: TenantId, cap: int | None) -> None:
        """Take back an invocation that was refused after all."""
        if cap is not None:
            self._lease(tenant_id, self._clock.now().date(), cap).put_back()

    def rest(self, *, now: bool = False) -> None:
        """Give back what is idle, or everything `now`, tell what is owed, and forget tenants that are idle."""
        for key, lease in list(self._leases.items()):
            if lease.rest(now=now):
                del self._leases[key]
        self._debts.pay_all()

    def _lease(self, tenant_id: TenantId, day: date, cap: int) -> Lease:
        key = (tenant_id, day, cap)
        lease = self._leases.get(key)
        if lease is None:
            batch = min(max(1, cap // _BATCHES_A_DAY), _LARGEST_BATCH)
            lease = self._leases[key] = Lease(
                _Count(day_key(tenant_id, day), cap, self._trips, self._debts), batch, self._clock
            )
        return lease
