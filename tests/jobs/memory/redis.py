"""The queue in memory: what TickQueue asks of arq, and what arq then does with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis.exceptions import ConnectionError as RedisConnectionError

from tenancy.clock import Clock


@dataclass(frozen=True, slots=True)
class Queued:
    """A tick in Redis."""

    id: str
    queue: str
    name: str
    args: tuple[str | int | None, ...]
    due_at: datetime


class MemoryRedis:
    """Holds ticks by id, as arq does: asking for one that is there changes nothing. While `away` it takes none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, Queued] = {}
        self.away = False

    async def enqueue_job(
        self,
        function: str,
        *args: str | int | None,
        _job_id: str,
        _queue_name: str,
        _defer_by: float,
        _expires: float,
    ) -> None:
        if self.away:
            raise RedisConnectionError
        due_at = self._clock.now() + timedelta(seconds=_defer_by)
        self._held.setdefault(_job_id, Queued(_job_id, _queue_name, function, args, due_at))

    @property
    def held(self) -> Mapping[str, Queued]:
        return self._held

    def due(self, queue: str) -> list[Queued]:
        """Return a queue's ticks that are due, the longest due first."""
        due = [tick for tick in self._held.values() if tick.queue == queue and tick.due_at <= self._clock.now()]
        return sorted(due, key=lambda tick: tick.due_at)

    def done(self, tick: Queued) -> None:
        """Forget a tick that was run."""
        self._held.pop(tick.id, None)

    def again(self, tick: Queued, at: datetime) -> None:
        """Have a tick run again, unless Redis has forgotten it."""
        if tick.id in self._held:
            self._held[tick.id] = Queued(tick.id, tick.queue, tick.name, tick.args, at)

    def flush(self) -> None:
        """Lose everything."""
        self._held.clear()
