"""Which runtime sessions are in use, and whose: AgentCore lists no sessions, and its quota is of the whole account.

A session takes a place from its first use until it has been idle for IDLE_S. Processes mark what they use in Redis,
in batches beside the calls; there all marks together are the account's. Redis is all that remembers: after a flush
the count begins anew and is whole again within IDLE_S. It is for operators to look at; nothing is refused by it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from tenancy.clock import Clock
from tenancy.data_models import AgentVersion
from tenancy.errors import InvalidIdError
from tenancy.ids import AgentName, SessionId, TenantId, parse_session_id, parse_tenant_id
from tenancy.keys import SESSIONS_KEY, SESSIONS_OF_KEY
from tenancy.trips import RedisAwayError, RoundTrips, Script

# After AgentCore's own idleRuntimeSessionTimeout.
IDLE_S: Final = 900
MARK_S: Final = 1.0
COUNT_S: Final = 5.0
_BATCH: Final = 500

# KEYS: sessions by the end of their use, whose each is. ARGV: idle ms, then session and whose by turns; where whose is
# empty the session is only kept if it is known.
_MARK: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] ~= '' then redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
redis.call('PEXPIRE', KEYS[2], ARGV[1] * 2)
return 0
""")

# KEYS as above. Forgets what is idle; answers session and whose by turns.
_COUNT: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local idle = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
for _, session in ipairs(idle) do
  redis.call('ZREM', KEYS[1], session)
  redis.call('HDEL', KEYS[2], session)
end
return redis.call('HGETALL', KEYS[2])
""")

S = TypeVar("S")


class Places(Protocol):
    """Hears which sessions are used."""

    def used(self, tenant_id: TenantId, agent: AgentVersion, session_id: SessionId) -> None:
        """Say that a session has been used."""
        ...

    def begun(self, session_id: SessionId) -> Callable[[], None]:
        """Say that a session somebody said to use is being used until what is returned is called."""
        ...

    def kept(self, session_id: SessionId) -> None:
        """Say that a session somebody said to use goes on."""
        ...

    def stopped(self, session_id: SessionId) -> None:
        """Say that a session is no more."""
        ...


class Uncounted:
    """Places that nobody counts."""

    def used(self, tenant_id: TenantId, agent: AgentVersion, session_id: SessionId) -> None:
        """Do nothing."""

    def begun(self, session_id: SessionId) -> Callable[[], None]:
        """Return what does nothing."""
        return lambda: self.kept(session_id)

    def kept(self, session_id: SessionId) -> None:
        """Do nothing."""

    def stopped(self, session_id: SessionId) -> None:
        """Do nothing."""


UNCOUNTED: Final = Uncounted()


@dataclass(frozen=True, slots=True)
class UsedSession:
    """A session that takes a place."""

    id: SessionId
    tenant_id: TenantId
    agent: AgentName
    version: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many sessions are in use, in all and by tenant, the most first, as it was known at `at`."""

    total: int = 0
    by_tenant: Mapping[TenantId, int] | None = None
    at: datetime | None = None

    @property
    def loudest(self) -> int:
        """How many the tenant with the most has."""
        return max((self.by_tenant or {}).values(), default=0)


class Census:
    """One process's part in it."""

    def __init__(self, trips: RoundTrips, clock: Clock) -> None:
        self._trips: Final = trips
        self._clock: Final = clock
        self._marks: dict[SessionId, str] = {}
        self._running: Final[set[SessionId]] = set()
        self._renewed_s = clock.monotonic()
        self.last = Count()

    def used(self, tenant_id: TenantId, agent: AgentVersion, session_id: SessionId) -> None:
        """Say that a session has been used."""
        self._marks[session_id] = f"{tenant_id} {agent.name} {agent.version}"

    def begun(self, session_id: SessionId) -> Callable[[], None]:
        """Say that a session somebody said to use is being used until what is returned is called."""
        self._running.add(session_id)

        def ended() -> None:
            self._running.discard(session_id)
            self.kept(session_id)

        return ended

    def kept(self, session_id: SessionId) -> None:
        """Say that a session somebody said to use goes on."""
        self._marks.setdefault(session_id, "")

    def stopped(self, session_id: SessionId) -> None:
        """Say that a session is no more."""
        self._marks.pop(session_id, None)
        self._running.discard(session_id)
        self._trips.send("ZREM", SESSIONS_KEY, session_id)
        self._trips.send("HDEL", SESSIONS_OF_KEY, session_id)

    async def sessions(self, tenant_id: TenantId) -> tuple[UsedSession, ...]:
        """Return a tenant's sessions in use; raises RedisAwayError."""
        await self._mark()
        return tuple(session for session in await self._all() if session.tenant_id == tenant_id)

    async def count(self) -> Count:
        """Count now; raises RedisAwayError."""
        await self._mark()
        found = await self._all()
        tally: dict[TenantId, int] = {}
        for session in found:
            tally[session.tenant_id] = tally.get(session.tenant_id, 0) + 1
        by_tenant = dict(sorted(tally.items(), key=lambda pair: (-pair[1], pair[0])))
        self.last = Count(len(found), by_tenant, self._clock.now())
        return self.last

    async def run(self) -> None:
        """Mark what is used, and count now and then, until cancelled."""
        counted_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(MARK_S)
            with suppress(RedisAwayError):
                if self._clock.monotonic() - counted_s < COUNT_S:
                    await self._mark()
                else:
                    counted_s = self._clock.monotonic()
                    await self.count()

    async def _mark(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._renewed_s >= IDLE_S / 3:
            self._marks, self._renewed_s = dict.fromkeys(self._running, "") | self._marks, now_s
        marks, self._marks = list(self._marks.items()), {}
        for batch in _batches(marks, _BATCH):
            said = [text for mark in batch for text in mark]
            try:
                await self._trips.run(_MARK, (SESSIONS_KEY, SESSIONS_OF_KEY), IDLE_S * 1000, *said)
            except RedisAwayError:
                self._marks = dict(marks) | self._marks
                raise

    async def _all(self) -> list[UsedSession]:
        match await self._trips.run(_COUNT, (SESSIONS_KEY, SESSIONS_OF_KEY)):
            case [*said]:
                texts = [text.decode() if isinstance(text, bytes) else str(text) for text in said]
            case _:
                texts = []
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return [session for pair in pairs if (session := _session(*pair)) is not None]


def _session(session_id: str, whose: str) -> UsedSession | None:
    match whose.split(" "):
        case [tenant_id, agent, version]:
            try:
                tenant = parse_tenant_id(tenant_id)
                return UsedSession(parse_session_id(session_id), tenant, AgentName(agent), version)
            except InvalidIdError:
                return None
        case _:
            return None


def _batches(items: Sequence[S], size: int) -> list[Sequence[S]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
