"""The only producer for Redis: asks for named ticks, each of one queue.

A tick only says where to look, so it may be lost, doubled or late. Its id says what it is for: asking twice for the
same makes one. Messages are JSON: who can write to Redis cannot make a worker run code. A tick that Redis did not
take is owed: it is asked for again, by the process that wanted it, until Redis has it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
import structlog
from arq.connections import ArqRedis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.errors import QueueUnavailableError
from jobs.metrics import JobMetrics
from tenancy.clock import Clock

JOBS: Final = "lockgate:jobs"
# Of their own, and run by a worker of their own: receivers that hang delay no job.
WEBHOOKS: Final = "lockgate:webhooks"
# A Redis that hangs may hold up whoever asks for no longer than this.
ASK_TIMEOUT_S: Final = 1.0
# How often the ticks owed are asked for again, and how many are kept in mind.
PAY_EVERY_S: Final = 1.0
OWED_LIMIT: Final = 10_000
# A late tick is harmless (what is stored decides), a dropped one is not: a tick outlives any outage of a day.
KEPT_S: Final = 86_400

_log = structlog.get_logger("jobs.ticks")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tick: whose queue, the name of what to run, what to run it with, and the id that makes two of it one."""

    queue: str
    name: str
    id: str
    args: tuple[str | int | None, ...]


def connect(redis_url: str) -> ArqRedis:
    """Return a client for arq with JSON messages; it connects at first use and again after every break."""
    # Refused connections surface as OSError here: without it, one restart of Redis ends arq's main loop.
    redis: ArqRedis = ArqRedis.from_url(
        redis_url,
        socket_connect_timeout=2,
        socket_timeout=5,
        retry=Retry(ExponentialBackoff(cap=2, base=0.1), 30),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, OSError],
    )
    redis.job_serializer = orjson.dumps
    redis.job_deserializer = orjson.loads
    redis.default_queue_name = JOBS
    return redis


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a queue holds: ticks, also those that are for later, and by how much the oldest is late."""

    ticks: int
    late_s: int


class TickQueue:
    """Asks for ticks; `run` asks for those again that Redis did not take."""

    def __init__(self, redis: ArqRedis, *, clock: Clock, metrics: JobMetrics) -> None:
        self._redis = redis
        self._clock = clock
        self._metrics = metrics
        # Oldest first, by id.
        self._owed: dict[str, tuple[Wanted, datetime]] = {}

    async def ask(self, wanted: Wanted, *, at: datetime) -> None:
        """Ask for a tick at a time; asking again for the same one changes nothing.

        Raises QueueUnavailableError; the tick is then owed.
        """
        try:
            await self._ask(wanted, at)
        except QueueUnavailableError:
            self._metrics.enqueue_failures.inc()
            self._owed[wanted.id] = (wanted, at)
            if len(self._owed) > OWED_LIMIT:
                del self._owed[next(iter(self._owed))]
            self._metrics.owed.set(len(self._owed))
            raise

    async def waiting(self, queue: str) -> Waiting:
        """Return what a queue holds now; raises QueueUnavailableError."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                # arq keeps ticks by the time they are due, in ms.
                ticks = await self._redis.zcard(queue)
                first = await self._redis.zrange(queue, 0, 0, withscores=True)
        except (RedisError, OSError) as away:
            raise QueueUnavailableError(type(away).__name__) from away
        late_s = sum(self._clock.now().timestamp() - due_ms / 1000 for _, due_ms in first)
        return Waiting(ticks, max(0, int(late_s)))

    async def run(self) -> None:
        """Pay what is owed whenever Redis is back, until cancelled."""
        while True:
            await self._clock.sleep(PAY_EVERY_S)
            await self.pay()

    async def pay(self) -> None:
        """Ask for the ticks owed, up to the first that Redis does not take."""
        paid = 0
        with suppress(QueueUnavailableError):
            for wanted, at in tuple(self._owed.values()):
                await self._ask(wanted, at)
                self._owed.pop(wanted.id, None)
                paid += 1
        if paid:
            _log.info("ticks.asked_late", ticks=paid, owed=len(self._owed))
        self._metrics.owed.set(len(self._owed))

    async def _ask(self, wanted: Wanted, at: datetime) -> None:
        pause_s = max(0.0, (at - self._clock.now()).total_seconds())
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await self._redis.enqueue_job(
                    wanted.name,
                    *wanted.args,
                    _job_id=wanted.id,
                    _queue_name=wanted.queue,
                    _defer_by=pause_s,
                    _expires=pause_s + KEPT_S,
                )
        except (RedisError, OSError) as away:
            raise QueueUnavailableError(type(away).__name__) from away
