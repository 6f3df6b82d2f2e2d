"""One turn of a session at a time, on every process.

A turn is a short lease in Redis, renewed while it runs, so that a crashed process frees its sessions within LEASE_S.
While Redis is away each process still refuses a second turn of its own, and a turn on another process is let
through: AgentCore itself serialises a session's provisioning, and refusing every conversation would be worse.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from agents.errors import SessionBusyError
from tenancy.clock import Clock
from tenancy.ids import InvocationId, SessionId, TenantId
from tenancy.keys import turn_key
from tenancy.trips import RedisAwayError, RoundTrips, Script

LEASE_S: Final = 30
RENEW_S: Final = 10.0
# A turn's caller may have its answer, and go on at another process, a moment before Redis hears that the turn is over.
AGAIN_S: Final = (0.02, 0.08, 0.2)

# Renews (ARGV[2] ms) or releases (0) a lease only for the turn that holds it.
_OWNED: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")


class Turns:
    """The turns running on this process, and their leases."""

    def __init__(self, trips: RoundTrips, clock: Clock, metrics: CollectorRegistry) -> None:
        self._trips = trips
        self._clock = clock
        self._held: dict[str, InvocationId] = {}
        self._unguarded = Counter(
            "lockgate_turns_unguarded_total", "Turns begun without a lease, Redis being away", registry=metrics
        )

    @asynccontextmanager
    async def turn(
        self, tenant_id: TenantId, session_id: SessionId, invocation_id: InvocationId, *, fresh: bool
    ) -> AsyncIterator[None]:
        """Hold the session's turn for the block; raises SessionBusyError.

        A `fresh` session is known to nobody else yet: its claim is sent but not waited for.
        """
        key = turn_key(tenant_id, session_id)
        if key in self._held:
            raise SessionBusyError
        self._held[key] = invocation_id
        try:
            claimed = self._claim(key, invocation_id)
            if not fresh and not await self._won(claimed) and not await self._won_later(key, invocation_id):
                raise SessionBusyError
            yield
        finally:
            del self._held[key]
            self._trips.run(_OWNED, (key,), invocation_id, 0, keep_s=LEASE_S)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew every held lease until the block ends."""
        renewer = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewer.cancel()
            await asyncio.gather(renewer, return_exceptions=True)

    def _claim(self, key: str, invocation_id: InvocationId) -> asyncio.Future[object]:
        return self._trips.send("SET", key, invocation_id, "NX", "PX", LEASE_S * 1000)

    async def _won_later(self, key: str, invocation_id: InvocationId) -> bool:
        for pause_s in AGAIN_S:
            await self._clock.sleep(pause_s)
            if await self._won(self._claim(key, invocation_id)):
                return True
        return False

    async def _won(self, claimed: asyncio.Future[object]) -> bool:
        try:
            return await claimed is not None
        except RedisAwayError:
            self._unguarded.inc()
            return True

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            for key, turn in self._held.items():
                self._trips.run(_OWNED, (key,), turn, LEASE_S * 1000)
