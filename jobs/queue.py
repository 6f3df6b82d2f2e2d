"""Submitting jobs, and the only producer of ticks.

A job is durable before its first tick is asked for; Redis only says when to look. A tick's queue id is the job and
the fence it follows, so asking twice for the same look makes one. Messages are JSON: who can write to Redis cannot
make a worker run code.

A tick that Redis did not take is owed: it is asked for again, by the process that wanted it, until Redis has it.
"""

import asyncio
from contextlib import suppress
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

from jobs import records
from jobs.errors import QueueUnavailableError
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.store import JobStore
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, JobRecord
from tenancy.ids import WebhookId

QUEUE_NAME: Final = "lockgate:jobs"
TICK: Final = "tick"
# A Redis that hangs may hold up a submission for no longer than this.
ENQUEUE_TIMEOUT_S: Final = 1.0
# How often the ticks owed are asked for again, and how many are kept in mind.
PAY_EVERY_S: Final = 1.0
OWED_LIMIT: Final = 10_000
# A late tick is harmless (the claim decides), a dropped one is not: a tick outlives any outage of a day.
TICK_KEPT_S: Final = 86_400

_log = structlog.get_logger("jobs.queue")


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
    redis.default_queue_name = QUEUE_NAME
    return redis


class JobQueue:
    """Stores new jobs and asks for their ticks; `run` asks for those again that Redis did not take."""

    def __init__(
        self, store: JobStore, redis: ArqRedis, *, clock: Clock, metrics: JobMetrics, job_timeout_s: float
    ) -> None:
        self._store = store
        self._redis = redis
        self._clock = clock
        self._metrics = metrics
        self._job_timeout_s = job_timeout_s
        # Oldest first, by queue id.
        self._owed: dict[str, tuple[Tick, datetime]] = {}

    async def submit(
        self,
        ctx: TenantContext,
        agent: AgentVersion,
        *,
        body: bytes,
        principal: str,
        request_id: str,
        metadata_json: str | None,
        webhook_id: WebhookId | None,
        traceparent: str | None,
    ) -> JobRecord:
        """Store a job for `body`, the input's JSON; it is durable once this returns, whatever Redis does.

        Raises StoreUnavailableError.
        """
        accepted = records.accepted(
            ctx,
            agent,
            self._clock.now(),
            timeout_s=self._job_timeout_s,
            principal=principal,
            request_id=request_id,
            metadata_json=metadata_json,
            webhook_id=webhook_id,
            traceparent=traceparent,
        )
        job = await self._store.create(accepted, body)
        self._metrics.submitted.inc()
        try:
            await self.enqueue(Tick(job.tenant_id, job.job_id, job.fence), at=job.created_at)
        except QueueUnavailableError as away:
            _log.warning("job.not_enqueued", tenant=job.tenant_id, job=job.job_id, cause=str(away))
        return job

    async def enqueue(self, tick: Tick, *, at: datetime) -> None:
        """Ask for a tick at a time; asking again for the same one changes nothing.

        Raises QueueUnavailableError; the tick is then owed.
        """
        try:
            await self._ask(tick, at)
        except QueueUnavailableError:
            self._metrics.enqueue_failures.inc()
            self._owed[_id(tick)] = (tick, at)
            if len(self._owed) > OWED_LIMIT:
                del self._owed[next(iter(self._owed))]
            self._metrics.owed.set(len(self._owed))
            raise

    async def run(self) -> None:
        """Pay what is owed whenever Redis is back, until cancelled."""
        while True:
            await self._clock.sleep(PAY_EVERY_S)
            await self.pay()

    async def pay(self) -> None:
        """Ask for the ticks owed, up to the first that Redis does not take."""
        paid = 0
        with suppress(QueueUnavailableError):
            for tick, at in tuple(self._owed.values()):
                await self._ask(tick, at)
                self._owed.pop(_id(tick), None)
                paid += 1
        if paid:
            _log.info("job.enqueued_late", ticks=paid, owed=len(self._owed))
        self._metrics.owed.set(len(self._owed))

    async def _ask(self, tick: Tick, at: datetime) -> None:
        pause_s = max(0.0, (at - self._clock.now()).total_seconds())
        try:
            async with asyncio.timeout(ENQUEUE_TIMEOUT_S):
                await self._redis.enqueue_job(
                    TICK,
                    tick.tenant_id,
                    tick.job_id,
                    tick.fence,
                    tick.faults,
                    _job_id=_id(tick),
                    _defer_by=pause_s,
                    _expires=pause_s + TICK_KEPT_S,
                )
        except (RedisError, OSError) as away:
            raise QueueUnavailableError(type(away).__name__) from away


def _id(tick: Tick) -> str:
    return f"{tick.job_id}:{tick.fence}"
