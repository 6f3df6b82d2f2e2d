"""One turn of a session at a time, on every process.

A turn is a short lease in Redis, renewed while it runs, so that a crashed process frees its sessions within
LEASE_S. Claims made at the same moment share one round trip. While Redis is away each process still refuses a
second turn of its own, and a turn on another process is let through: AgentCore itself serialises a session's
provisioning, and refusing every conversation would be the worse failure.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agents.errors import SessionBusyError
from tenancy.clock import Clock
from tenancy.ids import InvocationId, SessionId, TenantId
from tenancy.keys import turn_key

LEASE_S = 30
RENEW_S = 10.0
# How long Redis is left alone after it failed, so that one outage does not cost every request a time-out.
REST_S = 1.0

# Renews (ARGV[2] ms) or releases (0) a lease only for the turn that holds it.
_OWNED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_log = structlog.get_logger("agents.turns")


@dataclass(frozen=True, slots=True)
class _Step:
    """One command of the next shared round trip; `claimed` is told whether a claim won."""

    key: str
    turn: str
    ttl_ms: int
    claimed: asyncio.Future[bool] | None = None


class Turns:
    """The turns running on this process, and their leases."""

    def __init__(self, redis: Redis, clock: Clock, metrics: CollectorRegistry) -> None:
        self._redis = redis
        self._clock = clock
        self._held: dict[str, str] = {}
        self._steps: list[_Step] = []
        self._sender: asyncio.Task[None] | None = None
        self._resting_until = 0.0
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
            if not fresh and not await claimed:
                raise SessionBusyError
            yield
        finally:
            del self._held[key]
            self._send(_Step(key, invocation_id, 0))

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew every held lease until the block ends, then send what is still to be released."""
        renewer = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewer.cancel()
            await asyncio.gather(renewer, return_exceptions=True)
            while self._sender is not None:
                await asyncio.gather(self._sender, return_exceptions=True)

    def _claim(self, key: str, turn: str) -> asyncio.Future[bool]:
        claimed = asyncio.get_running_loop().create_future()
        self._send(_Step(key, turn, LEASE_S * 1000, claimed))
        return claimed

    def _send(self, step: _Step) -> None:
        self._steps.append(step)
        if self._sender is None:
            # Outlives the request that happens to start it: it must not inherit its tenant.
            self._sender = asyncio.get_running_loop().create_task(self._drain(), context=Context())

    async def _drain(self) -> None:
        try:
            while self._steps:
                steps, self._steps = self._steps, []
                await self._round_trip(steps)
        finally:
            self._sender = None

    async def _round_trip(self, steps: list[_Step]) -> None:
        answers: list[object] = []
        if self._clock.monotonic() >= self._resting_until:
            try:
                answers = await self._pipeline(steps)
            except (RedisError, OSError, TimeoutError) as failure:
                self._resting_until = self._clock.monotonic() + REST_S
                _log.warning("turn leases unavailable", error=type(failure).__name__)
        for number, step in enumerate(steps):
            if step.claimed is None or step.claimed.done():
                continue
            if number < len(answers):
                step.claimed.set_result(bool(answers[number]))
            else:
                self._unguarded.inc()
                step.claimed.set_result(True)

    async def _pipeline(self, steps: list[_Step]) -> list[object]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for step in steps:
                if step.claimed is not None:
                    pipe.set(step.key, step.turn, nx=True, px=step.ttl_ms)
                else:
                    pipe.eval(_OWNED, 1, step.key, step.turn, str(step.ttl_ms))
            answers: list[object] = await pipe.execute()
            return answers

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            for key, turn in self._held.items():
                self._send(_Step(key, turn, LEASE_S * 1000))
