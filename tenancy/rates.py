"""How fast a tenant may call, Lockgate or one of its tools: token buckets shared by all processes.

The bucket lives in Redis, filled by Redis's own clock, and is disposable: one that is lost starts full. While Redis
is away each process holds every tenant to its whole rate by itself, so the sum is bounded by the number of processes.
"""

import math
from dataclasses import dataclass
from typing import Final

from tenancy.clock import Clock
from tenancy.data_models import Tool
from tenancy.ids import TenantId
from tenancy.keys import rate_key, tool_rate_key
from tenancy.leases import Grant, Lease
from tenancy.tiers import Limits
from tenancy.trips import RoundTrips, Script

# A batch covers a tenth of a second at the sustained rate.
_BATCHES_PER_S: Final = 10
_LARGEST_BATCH: Final = 50

# KEYS: bucket. ARGV: rate per second, burst, units wanted (negative: given back). Answers units, and tokens left.
_TAKE: Final = Script("""
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or burst
local spent = now - (tonumber(bucket[2]) or now)
tokens = math.min(burst, tokens + math.max(0, spent) * rate / 1000)
local units = math.min(wanted, math.floor(tokens))
tokens = math.min(burst, tokens - units)
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return {units, tostring(tokens)}
""")


@dataclass(frozen=True, slots=True)
class RateState:
    """A tenant's bucket as one request saw it: the figures of the RateLimit headers.

    `retry_after_s` is None where the request was within the rate.
    """

    burst: int
    window_s: int
    remaining: int
    reset_s: int
    retry_after_s: int | None


class _Bucket:
    """The bucket of one key."""

    def __init__(self, key: str, rate: int, burst: int, trips: RoundTrips, clock: Clock) -> None:
        self._key = key
        self._rate, self._burst = rate, burst
        self._trips = trips
        self._monotonic = clock.monotonic
        self._own = float(self._burst)
        self._own_at_s = clock.monotonic()

    async def ask(self, units: int) -> Grant:
        answer = await self._trips.run(_TAKE, (self._key,), self._rate, self._burst, units)
        match answer:
            case [int(granted), bytes(left)]:
                tokens = float(left)
                return Grant(granted, tokens, max(0.0, 1 - tokens) / self._rate)
            case _:
                raise TypeError("the bucket answered otherwise than its script does")

    def give(self, units: int) -> None:
        self._trips.run(_TAKE, (self._key,), self._rate, self._burst, -units)

    def without(self, units: int) -> Grant:
        now_s = self._monotonic()
        self._own = min(self._burst, self._own + (now_s - self._own_at_s) * self._rate)
        self._own_at_s = now_s
        granted = min(units, int(self._own))
        self._own -= granted
        return Grant(granted, self._own, max(0.0, 1 - self._own) / self._rate)


class Rates:
    """All tenants' rates on this process."""

    def __init__(self, trips: RoundTrips, *, clock: Clock) -> None:
        self._trips = trips
        self._clock = clock
        self._leases: dict[tuple[str, int, int], Lease] = {}

    async def take(self, tenant_id: TenantId, limits: Limits) -> RateState:
        """Spend one request and tell whether that was within the rate."""
        return await self._take(rate_key(tenant_id), limits.requests_per_s, limits.burst_requests)

    async def take_call(self, tenant_id: TenantId, tool: Tool) -> RateState:
        """Spend one of a tenant's calls of a tool and tell whether that was within the tool's rate."""
        return await self._take(tool_rate_key(tenant_id, tool.name), tool.calls_per_s, tool.burst_calls)

    async def _take(self, key: str, rate: int, burst: int) -> RateState:
        lease = self._lease(key, rate, burst)
        wait_s = await lease.take()
        remaining = min(lease.remaining, burst)
        retry_after_s = None if wait_s is None else max(1, math.ceil(wait_s))
        return RateState(
            burst, math.ceil(burst / rate), remaining, math.ceil((burst - remaining) / rate), retry_after_s
        )

    def rest(self, *, now: bool = False) -> None:
        """Give back what is idle, or everything `now`, and forget tenants that are."""
        for key, lease in list(self._leases.items()):
            if lease.rest(now=now):
                del self._leases[key]

    def _lease(self, key: str, rate: int, burst: int) -> Lease:
        # A changed limit is another lease: the old one goes idle and is given back.
        lease = self._leases.get((key, rate, burst))
        if lease is None:
            batch = min(max(1, rate // _BATCHES_PER_S), _LARGEST_BATCH)
            bucket = _Bucket(key, rate, burst, self._trips, self._clock)
            lease = self._leases[key, rate, burst] = Lease(bucket, batch, self._clock)
        return lease
