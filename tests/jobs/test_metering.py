"""What jobs cost: a line with each end, in its transaction, and an end where the budget is."""

from collections.abc import Callable

import pytest

from agents.inband import TokenUsage
from jobs.queue import JobQueue
from tenancy import tables
from tenancy.data_models import JobRecord, Mode, Status, UsageRecord
from tenancy.prices import Price
from tests.clock import FakeClock
from tests.jobs.conftest import Floor
from tests.jobs.test_execute import run_to_end

pytestmark = pytest.mark.stack


async def lines(floor: Floor) -> list[UsageRecord]:
    page = await floor.stores.db(floor.tenant_id).query(
        UsageRecord, tables.tenant_partition(floor.tenant_id), sort_prefix=UsageRecord.SORT_PREFIX, limit=100
    )
    return list(page.items)


@pytest.fixture
def priced(floor: Floor) -> Callable[[Price], None]:
    """Return what gives the agent a price."""

    def give(price: Price) -> None:
        assert floor.agents.agent is not None
        floor.agents.agent = floor.agents.agent.model_copy(update={"price": price})

    return give


async def test_a_job_s_line_says_what_its_agent_reported_and_how_long_it_ran(
    floor: Floor, clock: FakeClock, priced: Callable[[Price], None]
) -> None:
    priced(Price(invocation_microusd=7, input_1k_microusd=1000, output_1k_microusd=2000, runtime_s_microusd=10))
    floor.runtime.usage = TokenUsage(inputTokens=3, outputTokens=5)
    job = await floor.submit(b'{"prompt":"hi","durationS":20}')
    done = await run_to_end(floor, clock, job)

    [line] = await lines(floor)
    assert done.started_at is not None
    assert done.ended_at is not None
    ran_ms = int((done.ended_at - done.started_at).total_seconds() * 1000)
    assert ran_ms >= 20_000
    assert line.mode is Mode.ASYNC
    assert (line.record_id, line.outcome, line.runtime_ms) == (job.job_id, Status.SUCCEEDED, ran_ms)
    assert (line.input_tokens, line.output_tokens, line.estimated) == (3, 5, False)
    assert line.cost_microusd == 7 + -(-(3 * 1000 + 5 * 2000 + ran_ms * 10) // 1000)
    assert floor.spending.lines == [line]


async def test_a_job_whose_agent_says_nothing_is_estimated_by_its_bytes(floor: Floor) -> None:
    await floor.submit(b'{"prompt":"hi"}')
    await floor.tick((await floor.due())[0])

    [line] = await lines(floor)
    # 15 bytes in, 14 out.
    assert (line.input_tokens, line.output_tokens, line.estimated) == (4, 4, True)


async def test_what_was_reported_before_a_job_was_lost_is_charged(floor: Floor, clock: FakeClock) -> None:
    floor.runtime.usage = TokenUsage(inputTokens=30, outputTokens=50)
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    for _ in range(3):
        await floor.tick((await floor.due())[0])
        stored = await floor.job(job)
        assert stored.next_tick_at is not None
        await clock.advance((stored.next_tick_at - clock.now()).total_seconds())
    floor.runtime.kill(job.session_id)
    await run_to_end(floor, clock, job)

    [line] = await lines(floor)
    assert (line.outcome, line.input_tokens, line.output_tokens) == (Status.FAILED, 30, 50)


async def test_a_queued_job_that_is_cancelled_has_a_line_that_costs_nothing(
    floor: Floor, priced: Callable[[Price], None]
) -> None:
    priced(Price(invocation_microusd=7))
    job = await floor.submit()
    assert isinstance(floor.queue, JobQueue)
    await floor.queue.cancel(job.tenant_id, job.job_id)

    [line] = await lines(floor)
    assert (line.outcome, line.cost_microusd) == (Status.CANCELLED, 0)


async def test_a_job_that_the_budget_no_longer_covers_ends_and_its_session_with_it(
    floor: Floor, clock: FakeClock
) -> None:
    job = await floor.submit(b'{"prompt":"hi","durationS":100}')
    await floor.tick((await floor.due())[0])
    floor.spending.refused.add(job.job_id)
    done = await run_to_end(floor, clock, job)

    assert (done.status, done.error and done.error.code) == (Status.FAILED, "budget_exceeded")
    assert floor.runtime.stopped == [job.session_id]
    assert [line.outcome for line in await lines(floor)] == [Status.FAILED]


async def test_a_job_that_the_budget_does_not_cover_is_never_begun(floor: Floor, clock: FakeClock) -> None:
    job: JobRecord = await floor.submit()
    floor.spending.refused.add(job.job_id)
    done = await run_to_end(floor, clock, job)

    assert (done.error and done.error.code, done.run) == ("budget_exceeded", 0)
    assert floor.runtime.effects == {}
