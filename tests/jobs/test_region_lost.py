"""Jobs when the region they run in is left, or lost: each is begun anew elsewhere or fails for that reason alone."""

import pytest

from agents.errors import RuntimeFaultError, RuntimeTimeoutError, RuntimeUnreachableError
from agents.inband import InbandStatus
from jobs.execute import MAX_RUNS, Execute
from tenancy.data_models import AgentVersion, JobRecord, Status
from tenancy.ids import JobId, SessionId
from tests.clock import FakeClock
from tests.jobs.conftest import Floor, make_floor
from tests.jobs.parts import FakeRuntime, make_agent

DUBLIN, FRANKFURT = "eu-west-1", "eu-central-1"
ELSEWHERE = f"arn:aws:bedrock-agentcore:{FRANKFURT}:111111111111:runtime/echo-9876543210"
LONG = b'{"prompt":"hi","durationS":100}'

pytestmark = pytest.mark.stack


class TwoRegions(FakeRuntime):
    """Fails whatever is asked of a region that is down; another region's sessions are its own."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.down: dict[str, type[RuntimeFaultError]] = {}
        self.asked: list[str] = []

    def of(self, agent: AgentVersion, session_id: SessionId) -> SessionId:
        self.asked.append(agent.region)
        if agent.region in self.down:
            raise self.down[agent.region]
        return SessionId(f"{agent.region}/{session_id}")

    async def start_job(
        self, agent: AgentVersion, session_id: SessionId, *given: object, **more: object
    ) -> InbandStatus:
        return await super().start_job(agent, self.of(agent, session_id), *given, **more)  # type: ignore[arg-type]

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        return await super().probe_job(agent, self.of(agent, session_id), job_id)

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        await super().stop(agent, self.of(agent, session_id))


class Serving:
    """The region that serves; a jobs.runtime.Place."""

    def __init__(self) -> None:
        self.region = DUBLIN

    def __call__(self, agent: AgentVersion) -> AgentVersion:
        return agent.pinned(self.region)


@pytest.fixture
def agent(request: pytest.FixtureRequest) -> AgentVersion:
    restartable = getattr(request, "param", True)
    return make_agent(restartable=restartable).model_copy(update={"runtime_arns": (ELSEWHERE,)})


@pytest.fixture
def runtime(clock: FakeClock) -> TwoRegions:
    return TwoRegions(clock)


@pytest.fixture
def serving() -> Serving:
    return Serving()


@pytest.fixture
def two(floor: Floor, runtime: TwoRegions, aws: object, clock: FakeClock, agent: AgentVersion) -> Floor:
    return make_floor(aws, floor.redis, clock, floor.tenant_id, agent, runtime)  # type: ignore[arg-type]


def worker_of(floor: Floor, serving: Serving) -> Execute:
    worker = floor.worker()
    worker._place = serving
    return worker


async def look(floor: Floor, worker: Execute) -> None:
    await floor.tick((await floor.due())[0], worker)


async def running(floor: Floor, worker: Execute) -> JobRecord:
    job = await floor.submit(LONG)
    await look(floor, worker)
    return await floor.job(job)


async def test_a_job_of_a_lost_region_is_begun_anew_where_agents_run_now_and_loses_no_run(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await running(two, worker)
    runtime.down[DUBLIN], serving.region = RuntimeUnreachableError, FRANKFURT
    await clock.advance(5)
    await look(two, worker)
    moved = await two.job(job)
    assert (job.region, moved.region, moved.run, moved.moves) == (DUBLIN, FRANKFURT, 2, 1)
    await clock.advance(101)
    await look(two, worker)
    done = await two.job(job)
    assert (done.status, runtime.stopped) == (Status.SUCCEEDED, [f"{FRANKFURT}/{job.session_id}"])


@pytest.mark.parametrize("agent", [False], indirect=True)
async def test_a_job_that_must_not_be_begun_anew_fails_because_of_the_failover(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await running(two, worker)
    runtime.down[DUBLIN], serving.region = RuntimeTimeoutError, FRANKFURT
    await clock.advance(5)
    await look(two, worker)
    done = await two.job(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "region_failover")
    # There is nobody to be told to stop.
    assert runtime.asked == [DUBLIN, DUBLIN]


@pytest.mark.parametrize("agent", [False], indirect=True)
async def test_a_start_that_a_lost_region_may_have_taken_is_not_sent_to_another(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await two.submit(LONG)
    runtime.after["start"].append(RuntimeTimeoutError())
    await look(two, worker)
    waits = await two.job(job)
    assert (waits.status, waits.region, waits.boot_id) == (Status.RUNNING, DUBLIN, None)
    runtime.down[DUBLIN], serving.region = RuntimeUnreachableError, FRANKFURT
    await clock.advance(5)
    await look(two, worker)
    done = await two.job(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "region_failover")
    assert (runtime.asked, runtime.effects[job.job_id]) == ([DUBLIN, DUBLIN], 1)


@pytest.mark.parametrize("agent", [False], indirect=True)
async def test_a_start_that_the_region_left_may_have_taken_is_asked_for_again_there(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await two.submit(LONG)
    runtime.after["start"].append(RuntimeTimeoutError())
    await look(two, worker)
    serving.region = FRANKFURT
    await clock.advance(101)
    await look(two, worker)
    done = await two.job(job)
    assert (done.status, done.run, runtime.effects[job.job_id]) == (Status.SUCCEEDED, 1, 1)
    assert set(runtime.asked) == {DUBLIN}


@pytest.mark.parametrize("agent", [False], indirect=True)
async def test_a_start_that_reached_no_region_is_sent_to_the_one_that_serves_next(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await two.submit(LONG)
    runtime.down[DUBLIN] = RuntimeUnreachableError
    for _ in range(2):
        await look(two, worker)
        waits = await two.job(job)
        assert (waits.status, waits.region) == (Status.RUNNING, None)
        await clock.advance(5)
    serving.region = FRANKFURT
    await look(two, worker)
    runs = await two.job(job)
    assert (runs.status, runs.region, runs.run, runs.moves) == (Status.RUNNING, FRANKFURT, 1, 0)


async def test_a_start_that_is_given_up_because_its_region_was_left_is_sent_to_the_other(
    two: Floor, runtime: TwoRegions, serving: Serving
) -> None:
    worker = worker_of(two, serving)
    job = await two.submit(LONG)

    def left(agent: AgentVersion) -> AgentVersion:
        placed = agent.pinned(serving.region)
        serving.region = FRANKFURT
        return placed

    worker._place = left
    runtime.down[DUBLIN] = RuntimeTimeoutError
    await look(two, worker)
    runs = await two.job(job)
    assert (runs.status, runs.region, runs.run, runs.moves) == (Status.RUNNING, FRANKFURT, 2, 1)
    assert runtime.asked == [DUBLIN, FRANKFURT]


async def test_a_job_goes_on_in_the_region_that_was_left_while_that_answers(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await running(two, worker)
    serving.region = FRANKFURT
    await clock.advance(101)
    await look(two, worker)
    done = await two.job(job)
    assert (done.status, done.run, set(runtime.asked)) == (Status.SUCCEEDED, 1, {DUBLIN})


async def test_a_silent_region_that_serves_still_is_asked_again(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await running(two, worker)
    runtime.down[DUBLIN] = RuntimeUnreachableError
    await clock.advance(5)
    await look(two, worker)
    waits = await two.job(job)
    assert (waits.status, waits.run, waits.region) == (Status.RUNNING, 1, DUBLIN)
    del runtime.down[DUBLIN]
    await clock.advance(101)
    await look(two, worker)
    assert (await two.job(job)).status is Status.SUCCEEDED


async def test_moves_do_not_use_up_the_runs_of_a_job(
    two: Floor, runtime: TwoRegions, serving: Serving, clock: FakeClock
) -> None:
    worker = worker_of(two, serving)
    job = await running(two, worker)
    for left, now in ((DUBLIN, FRANKFURT), (FRANKFURT, DUBLIN)) * MAX_RUNS:
        runtime.down, serving.region = {left: RuntimeUnreachableError}, now
        await clock.advance(5)
        await look(two, worker)
    moved = await two.job(job)
    assert (moved.status, moved.moves) == (Status.RUNNING, 2 * MAX_RUNS)
    runtime.kill(SessionId(f"{DUBLIN}/{job.session_id}"))
    await clock.advance(5)
    await look(two, worker)
    again = await two.job(job)
    assert (again.status, again.run - again.moves) == (Status.RUNNING, 2)
