"""The arq side: takes ticks from Redis, runs each, and knows when to come back.

arq's own guarantees are not relied on: a tick may run twice, late, or beside another. What arq does add is
bringing back a tick whose worker died or was stopped in it; hence many tries, though a tick's exception is never
one of them. A Redis that goes away is waited for: the process neither ends nor stops polling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from arq.worker import Function, Retry, Worker, func
from redis.exceptions import RedisError

from agents.runtime import START_TIMEOUT_S, STOP_TIMEOUT_S
from jobs.backoff import fault_ceiling_s
from jobs.errors import QueueUnavailableError, TickAgainError
from jobs.execute import TickOutcome
from jobs.gate import Gates
from jobs.lease import Tick
from jobs.metrics import JobMetrics
from jobs.queue import DELIVERY, GATE, OUTBOX, TICK
from jobs.ticks import JOBS, WEBHOOKS
from tenancy.clock import Clock
from tenancy.errors import StoreUnavailableError
from tenancy.ids import parse_delivery_id, parse_event_id, parse_job_id, parse_tenant_id, parse_webhook_id
from webhooks.ticks import DeliveryTick, RunDelivery, RunOutbox

# A job that ends in its first tick is started and stopped in it, and what came of it written. The queue id of a tick
# whose worker was killed stays locked 10 s longer than this.
TICK_TIMEOUT_S: Final = START_TIMEOUT_S + STOP_TIMEOUT_S + 15
# An attempt has 15 s, and what came of it is written.
DELIVERY_TIMEOUT_S: Final = 30
POLL_DELAY_S: Final = 0.05
# With the pauses between them, tries outlast an hour without DynamoDB.
MAX_TRIES: Final = 150
_RECONNECT_S: Final = 1.0
# Longer than any round over the queue while Redis answers.
_ROUND_S: Final = 2.0
_CANCEL_S: Final = 5.0

RunTick = Callable[[Tick], Awaitable[TickOutcome]]
Prepare = Callable[..., Awaitable[object]]
"""Reads a message into what has to be done; it raises at the call for a message that is no tick, which is dropped."""

_log = structlog.get_logger("jobs.worker")


@dataclass(frozen=True, slots=True)
class Line:
    """One queue: what its ticks' names mean, how many run at once, and for how long."""

    queue: str
    kinds: Mapping[str, Prepare]
    at_once: int
    timeout_s: float


def job_line(execute: RunTick, gates: Gates, *, at_once: int = 50) -> Line:
    """Return the queue of jobs' ticks."""

    def tick(tenant: str, job: str, fence: int, faults: int) -> Awaitable[TickOutcome]:
        return execute(Tick(parse_tenant_id(tenant), parse_job_id(job), fence, faults))

    def gate(tenant: str) -> Awaitable[str]:
        return gates.open(parse_tenant_id(tenant), aside=":gate")

    return Line(JOBS, {TICK: tick, GATE: gate}, at_once, TICK_TIMEOUT_S)


def webhook_line(fan_out: RunOutbox, deliver: RunDelivery, *, at_once: int = 50) -> Line:
    """Return the queue of webhooks' ticks."""

    def outbox(tenant: str, event: str) -> Awaitable[object]:
        return fan_out(parse_tenant_id(tenant), parse_event_id(event))

    def delivery(tenant: str, webhook: str, delivery: str, fence: int | None) -> Awaitable[object]:
        ids = parse_tenant_id(tenant), parse_webhook_id(webhook), parse_delivery_id(delivery)
        return _attempted(deliver, DeliveryTick(*ids, fence))

    return Line(WEBHOOKS, {OUTBOX: outbox, DELIVERY: delivery}, at_once, DELIVERY_TIMEOUT_S)


async def _attempted(deliver: RunDelivery, tick: DeliveryTick) -> str:
    again_at = await deliver(tick)
    if again_at is not None:
        raise TickAgainError("the attempt has to wait", at=again_at)
    return "done"


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


class TickWorker:
    """One process's share of one queue."""

    def __init__(self, line: Line, redis: ArqRedis, *, clock: Clock, metrics: JobMetrics) -> None:
        self._line = line
        self._redis = redis
        self._clock = clock
        self._metrics = metrics
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
            functions=[self._named(name, prepare) for name, prepare in self._line.kinds.items()],
            queue_name=self._line.queue,
            redis_pool=self._redis,
            job_serializer=self._redis.job_serializer,
            job_deserializer=self._redis.job_deserializer,
            handle_signals=False,
            max_jobs=self._line.at_once,
            # Locked ids of dead ticks stand first in the queue: read past them.
            queue_read_limit=self._line.at_once * 10,
            job_timeout=self._line.timeout_s,
            max_tries=MAX_TRIES,
            keep_result=0,
            poll_delay=POLL_DELAY_S,
            log_results=False,
        )

    def _named(self, name: str, prepare: Prepare) -> Function:
        async def tick(ctx: dict[str, Any], *args: str | int | None) -> None:
            lag_s = (self._clock.now() - datetime.fromtimestamp(ctx["score"] / 1000, UTC)).total_seconds()
            self._metrics.tick_lag.labels(name).observe(max(0.0, lag_s))
            await self._tick(name, prepare(*args), args, ctx["job_try"])

        return func(tick, name=name)

    async def _tick(self, name: str, work: Awaitable[object], args: tuple[str | int | None, ...], tries: int) -> None:
        began = self._clock.monotonic()
        outcome = "crashed"
        try:
            outcome = str(await work)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except TickAgainError as again:
            outcome = "again"
            raise Retry(self._pause_s(again, tries)) from again
        except (StoreUnavailableError, QueueUnavailableError) as away:
            outcome = away.code
            raise Retry(fault_ceiling_s(tries)) from away
        except Exception as bug:
            # The boundary of a run: whatever it is, what it was about must not be forgotten over it.
            _log.exception("tick.crashed", kind=name, about=args)
            raise Retry(fault_ceiling_s(tries)) from bug
        finally:
            seconds = self._clock.monotonic() - began
            self._metrics.ticks.labels(name, outcome).inc()
            self._metrics.tick_seconds.labels(name).observe(seconds)
            _log.debug("tick", kind=name, about=args, outcome=outcome, seconds=round(seconds, 3))

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
