"""The arq side of jobs: takes ticks from Redis, runs each, and knows when to come back.

arq's own guarantees are not relied on: a tick may run twice, late, or beside another. What arq does add is
bringing back a tick whose worker died or was stopped in it; hence many tries, though a tick's exception is never
one of them. A Redis that goes away is waited for: the process neither ends nor stops polling.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from arq.worker import Retry, Worker, func
from redis.exceptions import RedisError

from agents.runtime import START_TIMEOUT_S, STOP_TIMEOUT_S
from jobs.backoff import fault_ceiling_s
from jobs.errors import QueueUnavailableError, TickAgainError
from jobs.execute import TickOutcome
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.queue import QUEUE_NAME, TICK
from tenancy.clock import Clock
from tenancy.errors import StoreUnavailableError
from tenancy.ids import parse_job_id, parse_tenant_id

# A job that ends in its first tick is started and stopped in it, and what came of it written. The queue id of a tick
# whose worker was killed stays locked 10 s longer than this.
TICK_TIMEOUT_S: Final = START_TIMEOUT_S + STOP_TIMEOUT_S + 15
POLL_DELAY_S: Final = 0.05
# With the pauses between them, tries outlast an hour without DynamoDB.
MAX_TRIES: Final = 150
_RECONNECT_S: Final = 1.0
# Longer than any round over the queue while Redis answers.
_ROUND_S: Final = 2.0
_CANCEL_S: Final = 5.0

RunTick = Callable[[Tick], Awaitable[TickOutcome]]

_log = structlog.get_logger("jobs.worker")


class _PollingWorker(Worker):
    """arq's worker, telling when it last went round."""

    def __init__(self, clock: Clock, **options: Any) -> None:  # noqa: ANN401 - arq's own options, typed there
        super().__init__(**options)
        self._clock = clock
        self.polled_at = clock.monotonic()
        self.went_round = asyncio.Event()

    async def heart_beat(self) -> None:
        """Note the end of one round over the queue."""
        await super().heart_beat()
        self.polled_at = self._clock.monotonic()
        self.went_round.set()


class JobWorker:
    """One process's share of the ticks."""

    def __init__(
        self, execute: RunTick, redis: ArqRedis, *, clock: Clock, metrics: JobMetrics, max_ticks: int = 50
    ) -> None:
        self._execute = execute
        self._redis = redis
        self._clock = clock
        self._metrics = metrics
        self._max_ticks = max_ticks
        self._arq = self._new()

    def silent_s(self) -> float:
        """Return the seconds since the queue was last looked at."""
        return self._clock.monotonic() - self._arq.polled_at

    async def run(self, stopping: asyncio.Event, *, grace_s: float) -> None:
        """Run ticks until `stopping`; then take none, give those under way `grace_s` to end, and cancel the rest."""
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(self._poll())
            await stopping.wait()
            self._arq.allow_pick_jobs = False
            await self._finish(grace_s)
            polling.cancel()

    async def _poll(self) -> None:
        while True:
            try:
                await self._arq.main()
            except (RedisError, OSError) as away:
                _log.warning("worker.redis_away", cause=type(away).__name__)
            finally:
                await _cancel(set(self._arq.tasks.values()))
            await self._clock.sleep(_RECONNECT_S)
            # What was cancelled stays in Redis; a round that ended halfway leaves arq's own counters wrong.
            picking, self._arq = self._arq.allow_pick_jobs, self._new()
            self._arq.allow_pick_jobs = picking

    async def _finish(self, grace_s: float) -> None:
        # A round under way may still take a tick; the one after it does not.
        self._arq.went_round.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._arq.went_round.wait(), _ROUND_S)
        if under_way := set(self._arq.tasks.values()):
            _, left = await asyncio.wait(under_way, timeout=grace_s)
            _log.info("worker.drained", ticks=len(under_way), cancelled=len(left))

    def _new(self) -> _PollingWorker:
        return _PollingWorker(
            self._clock,
            functions=[func(self._tick, name=TICK)],
            queue_name=QUEUE_NAME,
            redis_pool=self._redis,
            job_serializer=self._redis.job_serializer,
            job_deserializer=self._redis.job_deserializer,
            handle_signals=False,
            max_jobs=self._max_ticks,
            # Locked ids of dead ticks stand first in the queue: read past them.
            queue_read_limit=self._max_ticks * 10,
            job_timeout=TICK_TIMEOUT_S,
            max_tries=MAX_TRIES,
            keep_result=0,
            poll_delay=POLL_DELAY_S,
            log_results=False,
        )

    async def _tick(self, ctx: dict[str, Any], tenant: str, job: str, fence: int, faults: int) -> None:
        began = self._clock.monotonic()
        tick = Tick(parse_tenant_id(tenant), parse_job_id(job), fence, faults)
        outcome = "crashed"
        try:
            outcome = await self._execute(tick)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except TickAgainError as again:
            outcome = "again"
            raise Retry(self._pause_s(again, ctx["job_try"])) from again
        except (StoreUnavailableError, QueueUnavailableError) as away:
            outcome = away.code
            raise Retry(fault_ceiling_s(ctx["job_try"])) from away
        except Exception as bug:
            # The boundary of a run: whatever it is, the job must not be forgotten over it.
            _log.exception("job.tick_crashed", tenant=tenant, job=job, fence=fence)
            raise Retry(fault_ceiling_s(ctx["job_try"])) from bug
        finally:
            seconds = self._clock.monotonic() - began
            self._metrics.ticks.labels(outcome).inc()
            self._metrics.tick_seconds.observe(seconds)
            _log.debug("job.tick", tenant=tenant, job=job, fence=fence, outcome=outcome, seconds=round(seconds, 3))

    def _pause_s(self, again: TickAgainError, tries: int) -> float:
        if again.at is None:
            return fault_ceiling_s(tries)
        return max(POLL_DELAY_S, (again.at - self._clock.now()).total_seconds())


async def _cancel(ticks: set[asyncio.Task[Any]]) -> None:
    # Twice: a cancelled tick first tells Redis, and must not wait for one that is away.
    for _ in range(2):
        left = {tick for tick in ticks if not tick.done()}
        for tick in left:
            tick.cancel()
        if left:
            await asyncio.wait(left, timeout=_CANCEL_S)
