"""Round trips to Redis that callers share.

What is asked for while a trip is under way goes with the next one, so a busy process pays one trip for many callers
and a quiet one waits for nobody. Redis away is an answer like any other: each caller decides what it does without.
What must be heard all the same, such as that a lease is given back, is kept for some seconds and goes first.
"""

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from tenancy.clock import Clock
from tenancy.errors import LockgateError

# How long Redis is left alone after it failed, so that an outage does not cost every caller a time-out.
REST_S: Final = 1.0
# The newest that are kept; what is lost beyond runs out by itself.
_KEPT: Final = 10_000
Argument = str | int | float | bytes

_log = structlog.get_logger("tenancy.trips")


class RedisAwayError(LockgateError):
    """Redis did not answer."""

    code = "redis_unavailable"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, run by its hash once Redis knows it."""

    text: str

    @property
    def sha(self) -> str:
        """The name Redis gives it."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class _Asked:
    """One command and who waits for its answer."""

    command: tuple[Argument, ...]
    answer: asyncio.Future[object]
    script: Script | None
    kept_until_s: float


class RoundTrips:
    """One process's trips; `aclose` waits for those under way."""

    def __init__(self, redis: Redis, *, clock: Clock, metrics: CollectorRegistry) -> None:
        self._redis = redis
        self._clock = clock
        self._asked: list[_Asked] = []
        self._kept: deque[_Asked] = deque(maxlen=_KEPT)
        self._trip: asyncio.Task[None] | None = None
        self._resting_until = float("-inf")
        self._away = False
        self._trips = Counter(
            "lockgate_redis_trips_total", "Shared trips to Redis, by outcome", ["outcome"], registry=metrics
        )

    def send(self, *command: Argument, keep_s: float = 0.0) -> asyncio.Future[object]:
        """Send a command with the next trip; the future raises RedisAwayError. Nobody has to wait for it.

        One that Redis did not take is sent again for `keep_s`: it may then be done twice.
        """
        return self._ask(command, None, keep_s)

    def run(
        self, script: Script, keys: tuple[str, ...], *arguments: Argument, keep_s: float = 0.0
    ) -> asyncio.Future[object]:
        """Run a script as `send` sends a command."""
        return self._ask(("EVALSHA", script.sha, len(keys), *keys, *arguments), script, keep_s)

    async def aclose(self) -> None:
        """Return once nothing is under way any more."""
        while self._trip is not None:
            await asyncio.wait([self._trip])

    def _ask(self, command: tuple[Argument, ...], script: Script | None, keep_s: float) -> asyncio.Future[object]:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(command, answer, script, self._clock.monotonic() + keep_s))
        if self._trip is None:
            # Outlives the request that happens to begin it: it must not inherit its tenant.
            self._trip = asyncio.get_running_loop().create_task(self._travel(), context=Context())
        return answer

    async def _travel(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                await self._go(asked)
        finally:
            self._trip = None

    async def _go(self, asked: list[_Asked]) -> None:
        if self._clock.monotonic() < self._resting_until:
            self._trips.labels("skipped").inc()
            return self._lose(asked)
        asked = [*self._still_kept(), *asked]
        try:
            answers = await self._pipeline([one.command for one in asked])
            for one, answer in zip(asked, answers, strict=True):
                unknown = one.script if isinstance(answer, NoScriptError) else None
                _settle(one, answer if unknown is None else await self._teach(unknown, one.command))
        except (RedisError, OSError, TimeoutError) as away:
            self._resting_until, self._away = self._clock.monotonic() + REST_S, True
            self._trips.labels("failed").inc()
            _log.warning("redis away", error=type(away).__name__)
            return self._lose(asked)
        self._trips.labels("made").inc()
        if self._away:
            self._away = False
            _log.info("redis back")
        return None

    def _still_kept(self) -> list[_Asked]:
        now_s, kept = self._clock.monotonic(), list(self._kept)
        self._kept.clear()
        return [one for one in kept if one.kept_until_s > now_s]

    def _lose(self, asked: list[_Asked]) -> None:
        now_s = self._clock.monotonic()
        self._kept.extend(one for one in asked if one.kept_until_s > now_s)
        _fail(asked)

    async def _teach(self, script: Script, command: tuple[Argument, ...]) -> object:
        [answer] = await self._pipeline([("EVAL", script.text, *command[2:])])
        return answer

    async def _pipeline(self, commands: list[tuple[Argument, ...]]) -> list[object]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[object] = await pipe.execute(raise_on_error=False)
            return answers


def _settle(one: _Asked, answer: object) -> None:
    if one.answer.done():
        return
    if isinstance(answer, ResponseError):
        _log.error("redis refused a command", command=one.command[0], error=type(answer).__name__)
        _fail([one])
    else:
        one.answer.set_result(answer)


def _fail(asked: list[_Asked]) -> None:
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(RedisAwayError())
            # A caller that does not wait never looks: that is no error of its own.
            one.answer.exception()
