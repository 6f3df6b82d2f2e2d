from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from agents.breaker import FAULTS_TO_OPEN, OPEN_S, Breakers
from agents.errors import (
    AgentFailedError,
    RuntimeBrokenError,
    RuntimeFaultError,
    RuntimeSparedError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
    RuntimeUnreachableError,
)
from agents.retries import EARNED, IN_HAND, RetryBudget
from tests.clock import FakeClock

ONE, TWO = "arn:one", "arn:two"
REGIONS = ("eu-west-1", "eu-central-1")


def call(breakers: Breakers, fault: type[RuntimeFaultError] | None = None, arn: str = ONE) -> None:
    """Make a call that ends so; lets RuntimeSparedError through."""
    try:
        with breakers.watching(arn):
            if fault is not None:
                raise fault
    except RuntimeSparedError:
        raise
    except RuntimeFaultError:
        pass


@pytest.fixture
def breakers(clock: FakeClock) -> Breakers:
    return Breakers(clock, CollectorRegistry())


@pytest.mark.parametrize("fault", [RuntimeUnreachableError, RuntimeBrokenError])
def test_a_runtime_that_keeps_failing_is_spared(breakers: Breakers, fault: type[RuntimeFaultError]) -> None:
    for _ in range(FAULTS_TO_OPEN):
        call(breakers, fault)
    with pytest.raises(RuntimeSparedError):
        call(breakers)


@pytest.mark.parametrize("fault", [AgentFailedError, RuntimeTimeoutError, RuntimeThrottledError])
def test_what_an_agent_does_with_one_tenants_input_spares_nobody(
    breakers: Breakers, fault: type[RuntimeFaultError]
) -> None:
    for _ in range(10 * FAULTS_TO_OPEN):
        call(breakers, fault)
    call(breakers)


def test_one_answer_in_between_keeps_the_breaker_closed(breakers: Breakers) -> None:
    for _ in range(5):
        for _ in range(FAULTS_TO_OPEN - 1):
            call(breakers, RuntimeBrokenError)
        call(breakers)


def test_another_runtime_is_not_spared(breakers: Breakers) -> None:
    for _ in range(FAULTS_TO_OPEN):
        call(breakers, RuntimeBrokenError)
    call(breakers, arn=TWO)


async def test_an_open_breaker_tries_one_call_at_a_time(breakers: Breakers, clock: FakeClock) -> None:
    for _ in range(FAULTS_TO_OPEN):
        call(breakers, RuntimeBrokenError)
    await clock.advance(OPEN_S)
    with breakers.watching(ONE), pytest.raises(RuntimeSparedError):
        call(breakers)
    call(breakers)


async def test_a_trial_that_fails_opens_it_again(breakers: Breakers, clock: FakeClock) -> None:
    for _ in range(FAULTS_TO_OPEN):
        call(breakers, RuntimeBrokenError)
    await clock.advance(OPEN_S)
    call(breakers, RuntimeBrokenError)
    with pytest.raises(RuntimeSparedError):
        call(breakers)
    await clock.advance(OPEN_S)
    call(breakers)
    call(breakers)


async def test_that_a_runtime_is_spared_is_told_until_a_call_is_answered(breakers: Breakers, clock: FakeClock) -> None:
    for _ in range(FAULTS_TO_OPEN - 1):
        call(breakers, RuntimeUnreachableError)
    await breakers.check()
    call(breakers, RuntimeUnreachableError)
    await clock.advance(OPEN_S)
    with pytest.raises(RuntimeSparedError):
        await breakers.check()
    call(breakers)
    await breakers.check()


async def test_runtimes_of_a_region_that_was_left_are_forgotten(breakers: Breakers) -> None:
    dublin, frankfurt = (f"arn:aws:bedrock-agentcore:{region}:1:runtime/a invocations" for region in REGIONS)
    for runtime in (dublin, frankfurt):
        for _ in range(FAULTS_TO_OPEN):
            call(breakers, RuntimeUnreachableError, runtime)
    breakers.forget(REGIONS[1])
    call(breakers, arn=dublin)
    with pytest.raises(RuntimeSparedError):
        call(breakers, arn=frankfurt)
    breakers.forget(REGIONS[0])
    await breakers.check()


async def test_the_log_names_the_runtime_when_it_is_spared_and_when_it_is_back(
    breakers: Breakers, clock: FakeClock
) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            for _ in range(FAULTS_TO_OPEN):
                with suppress(RuntimeSparedError):
                    call(breakers, RuntimeUnreachableError)
            await clock.advance(OPEN_S)
        call(breakers)
        call(breakers)
    assert [(line["event"], line["runtime"], line["log_level"]) for line in lines] == [
        ("runtime_spared", ONE, "warning"),
        ("runtime_back", ONE, "info"),
    ]
    assert lines[0]["code"] == "runtime_unreachable"


def test_repeats_stay_within_a_fifth_of_all_calls() -> None:
    budget, made = RetryBudget(CollectorRegistry()), 0
    for _ in range(1000):
        budget.earn()
        made += budget.spend() + budget.spend()
    assert 1000 * EARNED <= made <= IN_HAND + 1000 * EARNED


def test_a_quiet_process_can_repeat_a_few_times_at_once() -> None:
    budget = RetryBudget(CollectorRegistry())
    assert [budget.spend() for _ in range(int(IN_HAND) + 1)] == [True] * int(IN_HAND) + [False]
