"""Which region a process sends its calls to, how it learns of a switch, and what it says of a region's health."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from agents.errors import AgentFailedError, RuntimeTimeoutError, RuntimeUnreachableError
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from agents.region_health import WINDOW_S, Lately, RegionHealth
from agents.region_left import LOOK_S
from agents.region_watch import POLL_S, RegionUnknownError, RegionWatch
from agents.regions import Regions, Way
from agents.upstream import open_upstream
from ops.devstack.process import free_port
from tenancy.changes import ChangeFeed
from tenancy.data_models import RegionFlag
from tenancy.region_flag import KIND
from tests.agents.given import REGION, SESSION, agent, agentcore, invocation, permit, signed
from tests.agents.test_runtime_jobs import JOB, told
from tests.agents.upstream import Received, Upstream, hangs, http, refuse, says, upstream
from tests.clock import FakeClock, settle
from tests.tenancy.flags import MemoryFlags

DUBLIN, FRANKFURT = "eu-west-1", "eu-central-1"
ELSEWHERE = f"arn:aws:bedrock-agentcore:{FRANKFURT}:111111111111:runtime/echo-9876543210"


class Feed:
    """The two of a ChangeFeed's methods that are used, called by the test."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[str], None]] = []

    def on(self, kind: str, listener: Callable[[str], None]) -> None:
        assert kind == KIND
        self.listeners.append(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        self.listeners.append(lambda _: listener())

    def tell(self, key: str) -> None:
        self.listeners[0](key)


def flag(region: str, fence: int) -> RegionFlag:
    return RegionFlag(
        region=region,
        fence=fence,
        record_version=str(fence),
        changed_by="anna",
        reason="down",
        changed_at=FakeClock().now(),
    )


def regions(clock: FakeClock) -> Regions:
    ways = [Way(region, cast("object", None), signed(clock)) for region in (DUBLIN, FRANKFURT)]  # type: ignore[arg-type]
    return Regions(ways)


@asynccontextmanager
async def watching(flags: MemoryFlags, feed: Feed, clock: FakeClock) -> AsyncIterator[tuple[Regions, RegionWatch]]:
    known = regions(clock)
    watch = RegionWatch(flags, known, cast("ChangeFeed", feed), clock=clock)
    running = asyncio.create_task(watch.run())
    try:
        yield known, watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_call_goes_where_agents_run_now_to_the_runtime_that_is_there(clock: FakeClock) -> None:
    there = agent().model_copy(update={"runtime_arns": (ELSEWHERE,)})
    async with (
        upstream(http(200, {"from": "dublin"})) as dublin,
        upstream(http(200, {"from": "frankfurt"})) as frankfurt,
        agentcore(dublin.url, clock) as core,
        open_upstream(frankfurt.url, clock=clock) as way,
    ):
        core._regions = Regions([core._regions.home, Way(FRANKFURT, way, signed(clock))])
        answers = []
        for region in (DUBLIN, FRANKFURT):
            core._regions.switch(region)
            wanted = invocation(of=there)
            async with core(permit(wanted), wanted) as answer:
                answers.append(await answer.read())
    assert answers == [b'{"from":"dublin"}', b'{"from":"frankfurt"}']
    assert FRANKFURT in frankfurt.received[0].target
    assert FRANKFURT not in dublin.received[0].target


def test_an_agent_without_a_runtime_in_the_serving_region_stays_where_it_is(clock: FakeClock) -> None:
    known, only_dublin = regions(clock), agent()
    both = only_dublin.model_copy(update={"runtime_arns": (ELSEWHERE,)})
    known.switch(FRANKFURT)
    assert known.place(only_dublin).runtime_arn == only_dublin.runtime_arn
    assert known.place(both).runtime_arn == ELSEWHERE
    assert known.way(known.place(both)).region == FRANKFURT
    # What was begun in a region goes on there, whichever serves.
    assert known.place(both.pinned(DUBLIN)).runtime_arn == only_dublin.runtime_arn


@asynccontextmanager
async def starting(server: Upstream, clock: FakeClock) -> AsyncIterator[tuple[Regions, asyncio.Task[InbandStatus]]]:
    """Have a job's start under way in Dublin, not answered yet."""
    async with agentcore(server.url, clock) as core:
        core._regions = Regions([core._regions.home, Way(FRANKFURT, core._regions.home.upstream, signed(clock))])
        start = core.start_job(agent(arn=ELSEWHERE.replace(FRANKFURT, REGION)), SESSION, JOB, b"{}", TraceHeaders())
        task = asyncio.create_task(start)
        while not server.received:
            await asyncio.sleep(0)
        yield core._regions, task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_start_is_given_up_once_its_region_was_left_and_is_silent(clock: FakeClock) -> None:
    async with upstream(hangs) as dublin, starting(dublin, clock) as (known, start):
        dublin.close()
        await clock.advance(LOOK_S)
        assert not start.done()
        known.switch(FRANKFURT)
        await clock.until_sleeping()
        await clock.advance(LOOK_S)
        with pytest.raises(RuntimeTimeoutError, match="left"):
            await start


async def test_a_start_goes_on_in_the_region_that_was_left_while_that_answers(clock: FakeClock) -> None:
    warm = asyncio.Event()

    async def cold(received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await warm.wait()
        await says(http(body=told("running")))(received, reader, writer)

    gone = says(refuse(404, "ResourceNotFoundException"))
    async with upstream(cold, gone) as dublin, starting(dublin, clock) as (known, start):
        known.switch(FRANKFURT)
        for _ in range(3):
            await clock.until_sleeping()
            await clock.advance(LOOK_S)
        await clock.until_sleeping()
        warm.set()
        assert (await start).state == "running"
    asked = [received.target.partition("?")[0].rpartition("/")[2] for received in dublin.received]
    assert asked == ["invocations", *["stopruntimesession"] * 3]


def test_a_region_without_a_way_is_not_switched_to(clock: FakeClock) -> None:
    known, told = regions(clock), list[str]()
    known.on_switch(told.append)
    for region in ("us-east-1", DUBLIN, FRANKFURT, FRANKFURT, DUBLIN):
        known.switch(region)
    assert told == [FRANKFURT, DUBLIN]


async def test_a_switch_is_followed_at_a_word_and_without_one_within_the_poll(clock: FakeClock) -> None:
    flags, feed = MemoryFlags(), Feed()
    async with watching(flags, feed, clock) as (known, watch):
        await settle()
        await watch.ready()
        flags.flag = flag(FRANKFURT, 1)
        feed.tell("1")
        await settle()
        assert known.serving == FRANKFURT
        flags.flag = flag(DUBLIN, 2)
        await settle()
        assert known.serving == FRANKFURT
        await clock.advance(POLL_S)
        assert known.serving == DUBLIN


async def test_the_last_region_known_serves_while_the_store_is_away(clock: FakeClock) -> None:
    flags, feed = MemoryFlags(), Feed()
    flags.flag = flag(FRANKFURT, 1)
    async with watching(flags, feed, clock) as (known, watch):
        await settle()
        flags.away = True
        await clock.advance(10 * POLL_S)
        assert known.serving == FRANKFURT
        await watch.ready()
        flags.away, flags.flag = False, flag(DUBLIN, 2)
        await clock.advance(POLL_S)
        assert known.serving == DUBLIN


async def test_a_process_that_never_read_the_flag_is_not_ready(clock: FakeClock) -> None:
    flags = MemoryFlags()
    flags.away = True
    async with watching(flags, Feed(), clock) as (_, watch):
        await settle()
        with pytest.raises(RegionUnknownError):
            await watch.ready()


async def test_an_older_flag_read_late_changes_nothing(clock: FakeClock) -> None:
    flags, feed = MemoryFlags(), Feed()
    flags.flag = flag(FRANKFURT, 5)
    async with watching(flags, feed, clock) as (known, _):
        await settle()
        flags.flag = flag(DUBLIN, 4)
        await clock.advance(POLL_S)
        assert known.serving == FRANKFURT


async def test_only_what_a_region_itself_does_wrong_counts_against_it(clock: FakeClock) -> None:
    metrics = CollectorRegistry()
    health = RegionHealth(clock, metrics)
    health.answered(DUBLIN)
    for fault in (RuntimeUnreachableError(), RuntimeTimeoutError(), AgentFailedError()):
        health.failed(DUBLIN, fault)
    assert health.lately(DUBLIN) == Lately(calls=4, faults=2)
    assert health.lately(FRANKFURT) == Lately(calls=0, faults=0)
    assert metrics.get_sample_value("lockgate_region_faults_total", {"region": DUBLIN}) == 2
    await clock.advance(WINDOW_S)
    assert health.lately(DUBLIN) == Lately(calls=0, faults=0)


def test_a_region_that_serves_again_is_judged_anew(clock: FakeClock) -> None:
    health = RegionHealth(clock, CollectorRegistry())
    health.failed(DUBLIN, RuntimeUnreachableError())
    health.answered(FRANKFURT)
    health.anew(DUBLIN)
    assert (health.lately(DUBLIN), health.lately(FRANKFURT)) == (Lately(calls=0, faults=0), Lately(calls=1, faults=0))


async def test_a_region_is_lost_when_nothing_takes_a_connection(clock: FakeClock) -> None:
    async with agentcore(f"http://127.0.0.1:{free_port()}", clock) as core:
        assert await core.lost(agent())
    async with upstream() as runtime, agentcore(runtime.url, clock) as core:
        assert not await core.lost(agent())
