"""Following a job: every event once and in order, one look a second however many follow."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from gateway.follow import LOOK_EVERY_S, PAGE, Followers
from tenancy.data_models import JobEvent, JobEventType
from tenancy.errors import StoreUnavailableError
from tenancy.ids import JobId, TenantId
from tenancy.steps import Page
from tests.clock import FakeClock, settle
from tests.tenancy.samples import NOW

TENANT = TenantId("acme")
JOB = JobId("job_01jd3k5m7p9q1r3s5t7v9w1x3y")


@dataclass
class Told:
    """The events of one job, and how often they were looked at; breaks where it is told to."""

    events_: list[JobEvent] = field(default_factory=list)
    looks: int = 0
    away: bool = False
    hidden: set[int] = field(default_factory=set)

    def happens(self, kind: JobEventType = "job.progress", times: int = 1) -> None:
        for _ in range(times):
            self.events_.append(
                JobEvent(
                    tenant_id=TENANT, job_id=JOB, seq=len(self.events_) + 1, type=kind, at=NOW, data_json="{}", ttl=0
                )
            )

    async def events(self, _: TenantId, __: JobId, *, after: int, limit: int) -> Page[JobEvent]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError
        found = [event for event in self.events_ if event.seq > after and event.seq not in self.hidden]
        return Page(tuple(found[:limit]), None)


@dataclass
class Follower:
    """Who follows the job, and what came."""

    followers: Followers
    after: int = 0
    came: list[int] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def _follow(self) -> None:
        async with aclosing(self.followers.follow(TENANT, JOB, self.after)) as batches:
            async for batch in batches:
                self.came += [event.seq for event in batch]

    def starts(self) -> "Follower":
        self.task = asyncio.get_running_loop().create_task(self._follow())
        return self

    async def ended(self) -> list[int]:
        assert self.task is not None
        await self.task
        return self.came


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def new(told: Told, clock: FakeClock) -> Callable[..., Follower]:
    """Return a maker of followers on one process."""
    followers = Followers(told, clock)
    return lambda after=0: Follower(followers, after)


async def test_the_past_comes_first_and_then_what_happens(
    told: Told, clock: FakeClock, new: Callable[..., Follower]
) -> None:
    told.happens("job.queued")
    told.happens("job.started")
    follower = new().starts()
    await settle()
    assert follower.came == [1, 2]
    told.happens()
    await clock.advance(LOOK_EVERY_S)
    assert follower.came == [1, 2, 3]
    told.happens("job.succeeded")
    await clock.advance(LOOK_EVERY_S)
    assert await follower.ended() == [1, 2, 3, 4]


async def test_however_many_follow_there_is_one_look(
    told: Told, clock: FakeClock, new: Callable[..., Follower]
) -> None:
    told.happens("job.queued")
    many = [new().starts() for _ in range(50)]
    await settle()
    before = told.looks
    for _ in range(10):
        told.happens()
        await clock.advance(LOOK_EVERY_S)
    assert told.looks - before == 10
    told.happens("job.failed")
    await clock.advance(LOOK_EVERY_S)
    assert [await one.ended() for one in many] == [list(range(1, 13))] * 50


async def test_who_comes_later_or_goes_on_elsewhere_misses_nothing(
    told: Told, clock: FakeClock, new: Callable[..., Follower]
) -> None:
    told.happens("job.queued")
    first = new().starts()
    await settle()
    told.happens(times=2 * PAGE)
    await clock.advance(3 * LOOK_EVERY_S)
    late, resumed = new().starts(), new(after=150).starts()
    await settle()
    told.happens("job.succeeded")
    await clock.advance(LOOK_EVERY_S)
    everything = list(range(1, 2 * PAGE + 3))
    assert await first.ended() == everything
    assert await late.ended() == everything
    assert await resumed.ended() == everything[150:]


async def test_nothing_is_told_behind_a_gap(told: Told, clock: FakeClock, new: Callable[..., Follower]) -> None:
    told.happens("job.queued")
    told.happens(times=2)
    told.hidden = {2}
    follower = new().starts()
    await clock.advance(LOOK_EVERY_S)
    assert follower.came == [1]
    told.hidden = set()
    told.happens("job.cancelled")
    await clock.advance(LOOK_EVERY_S)
    assert await follower.ended() == [1, 2, 3, 4]


async def test_a_store_that_is_away_is_asked_again(told: Told, clock: FakeClock, new: Callable[..., Follower]) -> None:
    told.happens("job.queued")
    told.away = True
    follower = new().starts()
    await clock.advance(5 * LOOK_EVERY_S)
    assert follower.came == []
    told.away = False
    told.happens("job.expired")
    await clock.advance(LOOK_EVERY_S)
    assert await follower.ended() == [1, 2]


async def test_a_job_nobody_follows_any_more_is_not_looked_at(
    told: Told, clock: FakeClock, new: Callable[..., Follower]
) -> None:
    told.happens("job.queued")
    follower = new().starts()
    await clock.advance(LOOK_EVERY_S)
    assert follower.task is not None
    assert len(follower.followers) == 1
    follower.task.cancel()
    await asyncio.gather(follower.task, return_exceptions=True)
    assert len(follower.followers) == 0
    before = told.looks
    await clock.advance(10 * LOOK_EVERY_S)
    assert told.looks == before
