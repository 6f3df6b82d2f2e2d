"""How many of a tenant's invocations run at once, on all processes together, each counted to its last byte.

A cap of up to EXACT_CAP is held exactly: each invocation has a lease of its own in Redis, claimed with a shared trip.
A larger one is held in blocks: a process leases some slots at a time, so that a warm invocation makes no trip; what
it holds idle (SPARE of the cap over all processes) another cannot use. Leases are renewed, so a crashed process's
slots come free within LEASE_S. While Redis is away each process holds every tenant to its whole cap by itself.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Final

from tenancy.clock import Clock
from tenancy.errors import ConcurrencyLimitError
from tenancy.held import Held
from tenancy.ids import InvocationId, TenantId
from tenancy.keys import blocks_key, slots_key
from tenancy.trips import RedisAwayError, RoundTrips, Script

EXACT_CAP: Final = 50
SPARE: Final = 0.02
LEASE_S: Final = 30
RENEW_S: Final = 10.0

# KEYS: leases by expiry. ARGV: invocation, cap, lease ms. Answers 1 where a slot was free.
_CLAIM: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return 1
""")

# KEYS: leases by expiry. ARGV: lease ms, invocations that still run.
_RENEW: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
return 0
""")

# KEYS: "count expiry" by process. ARGV: process, slots held, slots wanted more, cap, lease ms.
# Answers slots held now, and how many processes hold some.
_BLOCK: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held, wanted, others, processes = tonumber(ARGV[2]), tonumber(ARGV[3]), 0, 1
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local count, expiry = string.match(all[i + 1], '(%d+) (%d+)')
  if tonumber(expiry) <= now then redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then others = others + count; processes = processes + 1 end
end
held = held + math.max(0, math.min(wanted, ARGV[4] - others - held))
if held == 0 then redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %d', held, now + ARGV[5]))
  redis.call('PEXPIRE', KEYS[1], ARGV[5] * 2)
end
return {held, processes}
""")

# After a refusal a process asks again no sooner than this; a slot freed here is used at once all the same.
_ASK_AGAIN_S: Final = 0.1


class Slots:
    """All tenants' running invocations on this process."""

    def __init__(self, trips: RoundTrips, *, clock: Clock, process: str) -> None:
        self._trips = trips
        self._clock = clock
        self._process = process
        self._running: Tally[TenantId] = Tally()
        self._leased: dict[TenantId, set[InvocationId]] = {}
        self._blocks: dict[TenantId, _Block] = {}

    def held(self, tenant_id: TenantId, cap: int, invocation_id: InvocationId) -> Held[None]:
        """Hold a slot for the block; raises ConcurrencyLimitError."""

        async def begin() -> tuple[None, Callable[[], None]]:
            return None, await self.take(tenant_id, cap, invocation_id)

        return Held(begin())

    async def take(self, tenant_id: TenantId, cap: int, invocation_id: InvocationId) -> Callable[[], None]:
        """Take a slot and return how it is given back; raises ConcurrencyLimitError."""
        if self._running[tenant_id] >= cap:
            raise ConcurrencyLimitError
        self._running[tenant_id] += 1
        try:
            give_back = await (self._claim if cap <= EXACT_CAP else self._enter)(tenant_id, cap, invocation_id)
        except BaseException:
            self._left(tenant_id)
            raise

        def end() -> None:
            give_back()
            self._left(tenant_id)

        return end

    def inherit(self, tenant_id: TenantId, cap: int, invocation_id: InvocationId) -> Callable[[], None]:
        """Go on with the slot of an invocation that another process held and can hold no more; return how it ends.

        It runs already: it is never refused. Where slots are held in blocks the dead process's block holds it until
        that runs out; from then on it is counted on this process alone.
        """
        self._running[tenant_id] += 1
        leased = self._leased.setdefault(tenant_id, set())
        exact = cap <= EXACT_CAP
        if exact:
            leased.add(invocation_id)
            self._trips.run(_RENEW, (slots_key(tenant_id),), LEASE_S * 1000, invocation_id, keep_s=LEASE_S)

        def end() -> None:
            leased.discard(invocation_id)
            if not leased and self._leased.get(tenant_id) is leased:
                del self._leased[tenant_id]
            if exact:
                self._trips.send("ZREM", slots_key(tenant_id), invocation_id, keep_s=LEASE_S)
            self._left(tenant_id)

        return end

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew every lease until the block ends, then give the blocks back."""
        renewer = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewer.cancel()
            await asyncio.gather(renewer, return_exceptions=True)
            await self.settled()
            for tenant_id in self._blocks:
                self._trips.send("HDEL", blocks_key(tenant_id), self._process)

    async def settled(self) -> None:
        """Return once what is held agrees with what is used."""
        while asking := [block.asking for block in self._blocks.values() if block.asking is not None]:
            await asyncio.wait(asking)

    def _left(self, tenant_id: TenantId) -> None:
        self._running[tenant_id] -= 1
        if self._running[tenant_id] == 0:
            del self._running[tenant_id]

    async def _claim(self, tenant_id: TenantId, cap: int, invocation_id: InvocationId) -> Callable[[], None]:
        """Claim a slot of its own for the invocation; return how it is given back."""
        key = slots_key(tenant_id)
        leased = self._leased.setdefault(tenant_id, set())
        leased.add(invocation_id)

        def give_back() -> None:
            leased.discard(invocation_id)
            if not leased:
                self._leased.pop(tenant_id, None)
            self._trips.send("ZREM", key, invocation_id, keep_s=LEASE_S)

        granted = False
        try:
            granted = await self._claimed(self._trips.run(_CLAIM, (key,), invocation_id, cap, LEASE_S * 1000))
        finally:
            if not granted:
                give_back()
        if not granted:
            raise ConcurrencyLimitError
        return give_back

    async def _claimed(self, answer: asyncio.Future[object]) -> bool:
        try:
            return await answer == 1
        except RedisAwayError:
            return True

    async def _enter(self, tenant_id: TenantId, cap: int, _: InvocationId) -> Callable[[], None]:
        """Use a slot of the process's block; return how it is given back."""
        block = self._blocks.get(tenant_id)
        if block is None:
            block = self._blocks[tenant_id] = _Block(tenant_id, self._process, self._trips, self._clock)
        await block.enter(cap)
        return block.leave

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            for tenant_id, leased in self._leased.items():
                self._trips.run(_RENEW, (slots_key(tenant_id),), LEASE_S * 1000, *leased)
            for tenant_id, block in list(self._blocks.items()):
                if block.idle:
                    del self._blocks[tenant_id]
                    self._trips.send("HDEL", blocks_key(tenant_id), self._process)
                else:
                    block.ask()


class _Block:
    """The slots this process holds of one tenant's large cap; `in_use` never exceeds `held` while Redis answers."""

    def __init__(self, tenant_id: TenantId, process: str, trips: RoundTrips, clock: Clock) -> None:
        self._key = blocks_key(tenant_id)
        self._process = process
        self._trips = trips
        self._monotonic = clock.monotonic
        self._cap = 0
        self._in_use = self._held = self._waiting = 0
        self._spare = 1
        self._refused_until_s = float("-inf")
        self.asking: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it and nobody waits for it."""
        return self._in_use == 0 and self._waiting == 0 and self.asking is None

    async def enter(self, cap: int) -> None:
        """Use a slot; raises ConcurrencyLimitError."""
        self._cap = cap
        while self._in_use >= self._held:
            if self._monotonic() < self._refused_until_s:
                raise ConcurrencyLimitError
            self._waiting += 1
            try:
                await asyncio.shield(self.ask())
            finally:
                self._waiting -= 1
        self._in_use += 1
        if self._in_use == self._held and self._monotonic() >= self._refused_until_s:
            # The next slots are fetched before they are needed, so that nobody waits for them.
            self.ask()

    def leave(self) -> None:
        """Free a slot; more than a few spare ones go back to the other processes."""
        self._in_use -= 1
        if self._surplus:
            self.ask()

    def ask(self) -> asyncio.Task[None]:
        """Bring what is held in line with what is used; renews the lease as well."""
        if self.asking is None:
            self.asking = asyncio.get_running_loop().create_task(self._settle(), context=Context())
        return self.asking

    @property
    def _surplus(self) -> bool:
        return self._held - self._in_use - self._waiting > 2 * self._spare

    async def _settle(self) -> None:
        try:
            await self._bring()
            # Slots may have been freed while Redis was asked.
            while self._surplus:
                await self._bring()
        except RedisAwayError:
            self._held = self._cap
        finally:
            self.asking = None

    async def _bring(self) -> None:
        target = self._in_use + self._waiting + self._spare
        # What goes back must not be used from now on, not only once Redis has heard of it.
        self._held = min(self._held, max(self._in_use, target))
        wanted = max(0, target - self._held)
        arguments = (self._process, self._held, wanted, self._cap, LEASE_S * 1000)
        match await self._trips.run(_BLOCK, (self._key,), *arguments):
            case [int(held), int(processes)]:
                refused = held < self._held + wanted
                self._held, self._spare = held, max(1, int(self._cap * SPARE) // processes)
            case _:
                raise TypeError("the blocks answered otherwise than their script does")
        # Who came while slots were given back was not asked for: that all are in use then says nothing.
        if refused and self._held <= self._in_use:
            self._refused_until_s = self._monotonic() + _ASK_AGAIN_S
