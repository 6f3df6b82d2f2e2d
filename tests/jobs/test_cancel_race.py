"""Cancels racing with ends, call by call: every process makes its next call when a seed says so.

Whatever the order, a job ends once, tells of it once, and does not succeed once its cancel was acknowledged.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tenancy.data_models import JobRecord
from tenancy.ids import TenantId
from tests.jobs.memory.world import Process, World

ACME = TenantId("acme")
RUNS = 250
# So many share a store; it is looked through item by item.
_JOBS = 25
SHORT = b'{"prompt":"hi"}'
LONGER = b'{"prompt":"hi","durationS":3}'
STUBBORN = b'{"prompt":"hi","durationS":3,"stopS":1}'


@dataclass(slots=True, eq=False)
class Stepped(Process):
    """A process that waits for its turn before each of its calls."""

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    waits: bool = False

    async def before(self, call: str) -> None:
        self.waits = True
        await self.turn.acquire()

    async def take_a_turn(self, task: asyncio.Task[None]) -> None:
        """Make the next call and whatever follows up to the one after it."""
        while not (self.waits or task.done()):
            await asyncio.sleep(0)
        self.waits = False
        self.turn.release()
        while not (self.waits or task.done()):
            await asyncio.sleep(0)


class Race:
    """One store's jobs, each ended and cancelled at once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._world = World({ACME: _JOBS})
        self.orders: set[str] = set()

    async def run(self, body: bytes, *, begun: bool, ticks: int, cancels: int) -> None:
        """Race one job's tick, as often as it comes at once, with as many cancels."""
        job = await self._world.submit(ACME, body)
        assert job is not None
        if begun:
            await self._tick(job, Process())
            await self._world.clock.advance(25)
        parties = [Stepped() for _ in range(ticks + cancels)]
        acts = [self._tick(job, process) for process in parties[:ticks]]
        acts += [self._cancel(job, process) for process in parties[ticks:]]
        await self._interleaved(list(zip(parties, map(asyncio.ensure_future, acts), strict=True)))

    async def over(self) -> Counter[str]:
        """Let everything come to rest, and return how many jobs ended how."""
        await self._world.settle(1000)
        self._world.history.check_rest(self._world.runtime.effects, 1)
        return Counter(map(str, self._world.history.statuses.values()))

    async def _tick(self, job: JobRecord, process: Process) -> None:
        (tick,) = [tick for tick in self._world.due() if job.job_id in tick.args]
        await self._world.run(tick, process)

    async def _cancel(self, job: JobRecord, process: Process) -> None:
        done = await self._world.cancel(job, process)
        assert done is not None
        if not done.was_over:
            self._world.history.cancelled.add(job.job_id)

    async def _interleaved(self, parties: Sequence[tuple[Stepped, asyncio.Task[None]]]) -> None:
        order = ""
        while left := [number for number, (_, task) in enumerate(parties) if not task.done()]:
            number = self._rng.choice(left)
            order += str(number)
            process, task = parties[number]
            await process.take_a_turn(task)
        self.orders.add(order)
        await asyncio.gather(*(task for _, task in parties))


@pytest.mark.parametrize(
    ("body", "begun", "ticks", "cancels"),
    [(SHORT, False, 2, 1), (SHORT, False, 1, 2), (LONGER, True, 2, 1), (STUBBORN, True, 1, 2)],
    ids=["queued, ticked twice", "queued, cancelled twice", "done, ticked twice", "done, cancelled twice"],
)
async def test_a_job_that_ends_while_it_is_cancelled_ends_once(
    body: bytes, *, begun: bool, ticks: int, cancels: int
) -> None:
    rng = random.Random(f"{body!r} {ticks} {cancels}")  # noqa: S311 - the same races in each run
    ends: Counter[str] = Counter()
    orders: set[str] = set()
    for _ in range(RUNS // _JOBS):
        race = Race(rng)
        for _ in range(_JOBS):
            await race.run(body, begun=begun, ticks=ticks, cancels=cancels)
        ends += await race.over()
        orders |= race.orders
    # Each side has won some, and most of the races were of their own.
    assert ends.total() == RUNS
    assert set(ends) == {"succeeded", "cancelled"}
    assert len(orders) > RUNS / 2
