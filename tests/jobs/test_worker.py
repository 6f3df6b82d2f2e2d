"""The worker over a real Redis, in process and as a process of its own that is killed."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs import ticks
from jobs.execute import TickOutcome
from jobs.lease import LEASE_S, Tick
from jobs.ticks import PAY_EVERY_S, WEBHOOKS, connect
from jobs.worker import RunTick, TickWorker, job_line
from ops.beside import running
from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tenancy.clock import SystemClock
from tenancy.data_models import JobRecord, Status
from tenancy.errors import StoreUnavailableError
from tenancy.ids import TenantId, event_id_of
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.jobs.conftest import Floor, make_floor
from tests.jobs.parts import Gate, make_agent

pytestmark = pytest.mark.stack

GRACE_S = 30.0


class ClockAhead(SystemClock):
    """The machine's clock, some way ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


@pytest.fixture
async def live(aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId]) -> AsyncIterator[Floor]:
    """Return a floor on the machine's own clock."""
    redis = connect(redis_url)
    yield make_floor(aws, redis, SystemClock(), tenant_id(), make_agent())
    await redis.aclose()


@asynccontextmanager
async def working(
    floor: Floor, execute: RunTick | None = None, *, grace_s: float = GRACE_S
) -> AsyncIterator[TickWorker]:
    """Run a worker for as long as the block; leaving it drains the worker."""
    line = job_line(execute or floor.worker(), floor.gates)
    worker = TickWorker(line, floor.redis, clock=floor.clock, metrics=floor.metrics)
    stopping = asyncio.Event()
    running = asyncio.create_task(worker.run(stopping, grace_s=grace_s))
    try:
        yield worker
    finally:
        stopping.set()
        await running


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await SystemClock().sleep(0.02)


async def until_status(floor: Floor, job: JobRecord, status: Status) -> JobRecord:
    async def holds() -> bool:
        return (await floor.job(job)).status is status

    await until(holds)
    return await floor.job(job)


async def test_a_worker_drives_jobs_to_their_results_and_leaves_nothing_in_redis_but_the_events_of_their_ends(
    live: Floor,
) -> None:
    jobs = [await live.submit(b'{"prompt":"hi","durationS":0.5}') for _ in range(5)]
    async with working(live):
        for job in jobs:
            done = await until_status(live, job, Status.SUCCEEDED)
            assert await live.store.result(done) == b'{"echo": "hi"}'
    assert live.runtime.effects == {job.job_id: 1 for job in jobs}
    events = {event_id_of(job.job_id) for job in jobs}
    assert {told[2] for told in await live.told()} == events
    left = {f"arq:job:{event}".encode() for event in events} | {WEBHOOKS.encode()}
    assert {key for key in await live.redis.keys("*") if b"health-check" not in key} == left


async def test_a_tick_that_the_store_failed_is_run_again(live: Floor) -> None:
    failures = [StoreUnavailableError(), StoreUnavailableError()]
    execute = live.worker()

    async def flaky(tick: Tick) -> TickOutcome:
        if failures:
            raise failures.pop()
        return await execute(tick)

    async with working(live, flaky):
        await until_status(live, await live.submit(), Status.SUCCEEDED)
    assert live.count("lockgate_job_ticks_total", kind="tick", outcome="store_unavailable") == 2


async def test_a_tick_that_crashed_is_told_and_run_again(live: Floor) -> None:
    crashes = [KeyError("a bug")]
    execute = live.worker()

    async def crashing(tick: Tick) -> TickOutcome:
        if crashes:
            raise crashes.pop()
        return await execute(tick)

    with capture_logs() as lines:
        async with working(live, crashing):
            await until_status(live, await live.submit(), Status.SUCCEEDED)
    assert [line["log_level"] for line in lines if line["event"] == "tick.crashed"] == ["error"]


async def test_a_message_that_is_no_tick_is_dropped_and_the_next_one_runs(live: Floor) -> None:
    await live.redis.enqueue_job("tick", "No Tenant", "no job", 0, 0)
    await live.redis.enqueue_job("tick")
    await live.redis.enqueue_job("os.system", "true")
    await live.redis.set("arq:job:pickled", b"\x80\x04\x95.")
    await live.redis.zadd(live.redis.default_queue_name, {"pickled": 1})
    async with working(live):
        await until_status(live, await live.submit(), Status.SUCCEEDED)

        async def empty() -> bool:
            return not await live.redis.exists(live.redis.default_queue_name)

        await until(empty)


async def test_a_worker_told_to_end_lets_its_ticks_finish(live: Floor) -> None:
    live.runtime.gates.append(gate := Gate())
    job = await live.submit()
    line = job_line(live.worker(), live.gates)
    worker = TickWorker(line, live.redis, clock=live.clock, metrics=live.metrics)
    stopping = asyncio.Event()
    running = asyncio.create_task(worker.run(stopping, grace_s=GRACE_S))
    await gate.reached.wait()
    stopping.set()
    gate.opened.set()
    await running
    done = await live.job(job)
    assert (done.status, done.lease_until_at) == (Status.SUCCEEDED, None)


async def test_a_tick_cut_off_by_the_grace_writes_no_end_and_another_worker_ends_the_job(live: Floor, aws: Aws) -> None:
    live.runtime.gates.append(gate := Gate())
    job = await live.submit()
    async with working(live, grace_s=0.1):
        await gate.reached.wait()
    held = await live.job(job)
    # Let go of as if it had never been taken.
    assert (held.status, held.lease_until_at, held.claims) == (Status.RUNNING, None, 0)
    assert live.count("lockgate_job_ticks_total", kind="tick", outcome="cancelled") == 1
    # What was cut off stands in Redis still: nobody has to ask for it again.
    heir = make_heir(live, aws)
    async with working(heir, heir.worker("heir")):
        await until_status(live, job, Status.SUCCEEDED)


async def test_a_worker_outlives_a_redis_that_is_killed_and_comes_back_empty(
    aws: Aws, tenant_id: Callable[[], TenantId], tmp_path: Path
) -> None:
    port = free_port()
    server = await start_redis(port, tmp_path / "first", tmp_path / "log")
    redis = connect(f"redis://127.0.0.1:{port}/0")
    floor = make_floor(aws, redis, SystemClock(), tenant_id(), make_agent())
    async with working(floor), running(floor.ticks.run()):
        await until_status(floor, await floor.submit(), Status.SUCCEEDED)
        server.kill()
        await server.wait()
        orphan = await floor.submit()
        # What the worker itself wants to enqueue fails too.
        assert floor.count("lockgate_job_enqueue_failures_total") >= 1
        assert (await floor.job(orphan)).status is Status.QUEUED
        server = await start_redis(port, tmp_path / "second", tmp_path / "log")
        await until_status(floor, await floor.submit(), Status.SUCCEEDED)
        await until_status(floor, orphan, Status.SUCCEEDED)
    await redis.aclose()
    await stop(server)


async def test_a_redis_that_hangs_does_not_hang_a_submission(
    aws: Aws, tenant_id: Callable[[], TenantId], tmp_path: Path
) -> None:
    port = free_port()
    server = await start_redis(port, tmp_path / "data", tmp_path / "log")
    redis = connect(f"redis://127.0.0.1:{port}/0")
    floor = make_floor(aws, redis, SystemClock(), tenant_id(), make_agent())
    await redis.ping()
    server.send_signal(signal.SIGSTOP)
    with capture_logs() as lines:
        async with asyncio.timeout(10):
            job = await floor.submit()
    assert (await floor.job(job)).status is Status.QUEUED
    assert [line["job"] for line in lines if line["event"] == "job.not_enqueued"] == [job.job_id]
    server.send_signal(signal.SIGCONT)
    await redis.aclose()
    await stop(server)


async def test_a_tick_that_redis_did_not_take_is_asked_for_again_once_redis_is_back(
    aws: Aws, tenant_id: Callable[[], TenantId], tmp_path: Path, clock: FakeClock
) -> None:
    port = free_port()
    redis = connect(f"redis://127.0.0.1:{port}/0")
    floor = make_floor(aws, redis, clock, tenant_id(), make_agent())
    job = await floor.submit()
    assert floor.count("lockgate_job_ticks_owed") == 1
    server = await start_redis(port, tmp_path / "data", tmp_path / "log")
    paying = asyncio.create_task(floor.ticks.run())
    await clock.until_sleeping()
    await clock.advance(PAY_EVERY_S)
    await clock.until_sleeping()
    assert await floor.due() == [Tick(job.tenant_id, job.job_id, job.fence)]
    assert floor.count("lockgate_job_ticks_owed") == 0
    paying.cancel()
    await redis.aclose()
    await stop(server)


async def test_of_the_ticks_owed_the_oldest_goes_where_there_are_too_many(
    aws: Aws, tenant_id: Callable[[], TenantId], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "ASK_TIMEOUT_S", 0.0)
    monkeypatch.setattr(ticks, "OWED_LIMIT", 2)
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    floor = make_floor(aws, redis, clock, tenant_id(), make_agent())
    for _ in range(3):
        await floor.submit()
    assert floor.count("lockgate_job_enqueue_failures_total") == 3
    assert floor.count("lockgate_job_ticks_owed") == 2
    await redis.aclose()


async def test_a_worker_killed_in_the_middle_of_a_start_leaves_a_job_that_another_one_ends(
    live: Floor, aws: Aws, redis_url: str
) -> None:
    job = await live.submit()
    held = await killed_in_a_start(live, aws, redis_url, job)
    heir = make_heir(live, aws)
    await heir.queue.enqueue(Tick(job.tenant_id, job.job_id, held.fence), at=heir.clock.now())
    async with working(heir, heir.worker("heir")):
        done = await until_status(live, job, Status.SUCCEEDED)
    assert (done.fence, live.runtime.effects) == (2, {job.job_id: 1})


async def test_the_tick_of_a_killed_worker_is_handed_out_again_when_its_lock_runs_out(
    live: Floor, aws: Aws, redis_url: str
) -> None:
    job = await live.submit()
    await killed_in_a_start(live, aws, redis_url, job)
    lock = f"arq:in-progress:{job.job_id}:0"
    assert 0 < await live.redis.pttl(lock) <= 180_000
    await live.redis.pexpire(lock, 1)
    heir = make_heir(live, aws)
    async with working(heir, heir.worker("heir")):
        await until_status(live, job, Status.SUCCEEDED)


async def killed_in_a_start(live: Floor, aws: Aws, redis_url: str, job: JobRecord) -> JobRecord:
    """Let a worker process begin to start the job, kill it there, and return how it left the job."""
    argv = [redis_url, aws.dynamodb.meta.endpoint_url, aws.table_prefix, live.tenant_id]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.jobs.hanging_worker", *argv, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"starting\n"
    process.kill()
    await process.wait()
    held = await live.job(job)
    assert (held.status, held.boot_id, held.fence) == (Status.RUNNING, None, 1)
    assert str(held.lease_owner).startswith("doomed#")
    return held


def make_heir(floor: Floor, aws: Aws) -> Floor:
    """Return the same floor as seen by a worker whose clock is past every lease."""
    ahead = ClockAhead(timedelta(seconds=LEASE_S + 2))
    return make_floor(aws, floor.redis, ahead, floor.tenant_id, floor.agent, floor.runtime)
