"""One tenant's month on this process: what its invocations hold of the budget, what they came to, what is spare.

All of a month stands in one Redis hash: what the ledger had when it was built (`base`), and for each account what it
holds and what it has settled since. An account always tells its whole standing, never a change, so a message that is
repeated or overtaken does no harm, and after a flush the hash is built anew from the ledger and from what the accounts
tell next. What an account holds counts as spent: all processes together never draw more than the budget. One that
has not been heard of for LEASE_S is dead: what it held is let go, what it settled joins the base.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tenancy.clock import Clock
from tenancy.errors import BudgetUnknownError
from tenancy.trips import RedisAwayError, RoundTrips, Script

LEASE_S: Final = 30
# A refusal is remembered for so long: a flood of refused callers costs no trip each.
REFUSED_S: Final = 0.5
KEPT_S: Final = 40 * 86_400
# Spare units are fetched a thousandth of the budget at a time, and no more than this.
_BLOCKS: Final = 1_000
_LARGEST_BLOCK: Final = 1_000_000
# … while ten such blocks are left; then each draws just what it needs.
# While Redis is away an account may go on by itself with a hundredth of the budget.
_ALONE: Final = 100

# KEYS: the month. ARGV: account, held, needed beside it, block, settled, of which known to Redis, budget, lease ms,
# seconds kept, base or "". Answers granted, settled as it counts, left, settled by all, held by all; -1 without a base.
_TELL: Final = Script("""
local me, held, need, block = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local settled, known, budget, lease = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local base = tonumber(redis.call('HGET', KEYS[1], 'base') or ARGV[10])
if not base then return {-1} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local theirs, spent, mine = 0, 0, false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] == me then
    mine = true
  elseif all[i] ~= 'base' then
    local h, s, at = string.match(all[i + 1], '^(%d+):(%d+):(%d+)$')
    if now - tonumber(at) > lease then
      base = base + tonumber(s)
      redis.call('HDEL', KEYS[1], all[i])
    else
      theirs, spent = theirs + tonumber(h), spent + tonumber(s)
    end
  end
end
-- Forgotten: what Redis knew of is in the base by now.
if not mine then settled = settled - known end
local left = budget - base - spent - settled - theirs - held
local granted = 0
if left >= need then granted = need end
if need > 0 and left - need >= block * 10 then granted = need + block end
held, left = held + granted, left - granted
redis.call('HSET', KEYS[1], 'base', string.format('%.0f', base),
  me, string.format('%.0f:%.0f:%.0f', held, settled, now))
redis.call('EXPIRE', KEYS[1], ARGV[9])
return {granted, settled, left, base + spent + settled, theirs + held}
""")


@dataclass(frozen=True, slots=True)
class Standing:
    """A month's spending as Redis counts it, in micro-dollars: settled, and held by what still runs."""

    budget: int
    spent: int
    held: int

    @property
    def left(self) -> int:
        """What may still be spent; nothing where more was."""
        return max(0, self.budget - self.spent - self.held)


class Account:
    """One process's part in a tenant's month. `ask_ledger` says what the month has cost by the ledger."""

    def __init__(
        self,
        key: str,
        name: str,
        trips: RoundTrips,
        *,
        ask_ledger: Callable[[], Awaitable[int]],
        clock: Clock,
        on_standing: Callable[[Standing], None],
    ) -> None:
        self._key = key
        self._name = name
        self._trips = trips
        self._ask_ledger = ask_ledger
        self._monotonic = clock.monotonic
        self._on_standing = on_standing
        self._lock = asyncio.Lock()
        # Held by what runs; held by nobody yet; settled, and of that, what Redis has taken in.
        self._drawn = self._spare = self._settled = self._known = 0
        self._left: int | None = None
        self._alone: int | None = None
        self._refused = (0, float("-inf"))
        self._told = (0, 0)
        self.used_at_s = self._told_at_s = self._monotonic()
        # The budget may have changed since what is spare was granted.
        self.stale = False

    @property
    def idle(self) -> bool:
        """Whether nothing that runs holds any of it, and Redis knows all of it."""
        return self._drawn == 0 and self._spare == 0 and self._told == (0, self._settled) and not self._lock.locked()

    @property
    def drawn(self) -> int:
        """What is held by what runs."""
        return self._drawn

    def take(self, units: int) -> bool:
        """Draw units of what is spare, at once; False where that is for `draw` to do."""
        if self.stale or units > self._spare:
            return False
        self._spare -= units
        self._drawn += units
        self.used_at_s = self._monotonic()
        return True

    async def draw(self, units: int, budget: int) -> bool:
        """Draw units, and tell whether they were left; raises BudgetUnknownError, StoreUnavailableError."""
        async with self._lock:
            if self.take(units):
                return True
            if self.stale:
                # What was granted under another budget is asked for anew.
                self.stale, self._spare, self._refused = False, 0, (0, float("-inf"))
            refused_units, until_s = self._refused
            if self._monotonic() < until_s and units >= refused_units:
                return False
            needed = units - self._spare
            try:
                granted = await self._tell(needed, budget)
            except RedisAwayError:
                return await self._draw_alone(units, budget)
            self._spare += granted
            if granted < needed:
                self._refused = (units, self._monotonic() + REFUSED_S)
                return False
            # Since the answer came nobody else has had a turn.
            return self.take(units)

    def settle(self, drawn: int, cost: int) -> None:
        """Let go of what something that has ended had drawn, and count what it cost."""
        self._drawn -= drawn
        self._settled += cost

    async def standing(self, budget: int) -> Standing:
        """Return how the month stands; raises RedisAwayError, StoreUnavailableError."""
        async with self._lock:
            answer = await self._exchange(0, budget)
        return Standing(budget, answer[3], answer[4])

    async def rest(self, budget: int, *, idle_s: float, now: bool = False) -> None:
        """Give back what is spare and unused, and tell Redis what it does not know; raises as `standing`."""
        if now or self.stale or self._monotonic() - self.used_at_s >= idle_s:
            self._spare = 0
        held = self._drawn + self._spare
        stays = self._told == (held, self._settled) and self._monotonic() - self._told_at_s < LEASE_S / 3
        if (stays or self.idle) and not self.stale:
            return
        await self.standing(budget)

    async def _tell(self, needed: int, budget: int) -> int:
        return (await self._exchange(needed, budget))[0]

    async def _exchange(self, needed: int, budget: int) -> list[int]:
        base = ""
        while True:
            held, settled = self._drawn + self._spare, self._settled
            block = min(budget // _BLOCKS, _LARGEST_BLOCK)
            answer = await self._trips.run(
                _TELL, (self._key,), self._name, held, needed, block, settled, self._known, budget,
                LEASE_S * 1000, KEPT_S, base,
            )  # fmt: skip
            match answer:
                case [-1]:
                    base = str(await self._ask_ledger())
                case [int(granted), int(counted), int(left), int(spent), int(held_by_all)]:
                    # Less where Redis had forgotten this account: the ledger has told it the rest.
                    self._settled += counted - settled
                    self._known = counted
                    self._left, self._alone = left, None
                    self._told, self._told_at_s = (held + granted, counted), self._monotonic()
                    self._on_standing(Standing(budget, spent, held_by_all))
                    return [granted, counted, left, spent, held_by_all]
                case _:
                    raise TypeError("the account answered otherwise than its script does")

    async def _draw_alone(self, units: int, budget: int) -> bool:
        """Draw from what an account may spend while Redis is away; raises BudgetUnknownError when that is used up."""
        if self._alone is None:
            if self._left is None:
                self._left = budget - await self._ask_ledger()
            self._alone = min(max(0, self._left), budget // _ALONE)
            if self._left < units:
                return False
        if self._alone < units:
            raise BudgetUnknownError
        self._alone -= units
        self._drawn += units
        return True
