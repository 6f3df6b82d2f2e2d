"""When a job is looked at next."""

import random
from datetime import timedelta
from http import HTTPStatus

import pytest

from agents.errors import (
    AgentAnswerTooLargeError,
    AgentFailedError,
    RuntimeFaultError,
    RuntimeMissingError,
    RuntimeQuotaError,
    RuntimeRefusedError,
    RuntimeTimeoutError,
    RuntimeUnreachableError,
)
from gateway.problems import problem_of
from jobs import backoff
from tests.jobs.parts import NOON, make_job

RNG = random.SystemRandom()


def look_s(running_s: float, *, timeout_s: float = 3600) -> float:
    job = make_job(timeout_s=timeout_s).model_copy(update={"started_at": NOON})
    now = NOON + timedelta(seconds=running_s)
    return (backoff.next_look_at(job, now, interval_s=5, rng=RNG) - now).total_seconds()


@pytest.mark.parametrize(("running_s", "pause_s"), [(0, 0.2), (0.2, 0.2), (1, 1), (4, 4), (5, 5), (3000, 5)])
def test_looks_grow_apart_up_to_the_interval(running_s: float, pause_s: float) -> None:
    pauses = [look_s(running_s) for _ in range(200)]
    assert all(pause_s * 0.8 - 1e-6 <= pause <= pause_s * 1.2 + 1e-6 for pause in pauses)
    assert max(pauses) - min(pauses) > pause_s * 0.2


def test_no_look_is_later_than_the_deadline() -> None:
    assert look_s(58, timeout_s=60) == 2
    assert look_s(61, timeout_s=60) == 0


@pytest.mark.parametrize(("faults", "ceiling_s"), [(1, 0.5), (2, 1), (3, 2), (7, 30), (1000, 30)])
def test_pauses_after_faults_are_drawn_from_a_growing_range(faults: int, ceiling_s: float) -> None:
    assert backoff.fault_ceiling_s(faults) == ceiling_s
    pauses = [
        (backoff.next_try_at(make_job(), NOON, faults=faults, rng=RNG) - NOON).total_seconds() for _ in range(200)
    ]
    assert 0 <= min(pauses) < ceiling_s * 0.2
    assert ceiling_s * 0.8 < max(pauses) <= ceiling_s


@pytest.mark.parametrize("fault", [each() for each in RuntimeFaultError.__subclasses__() if each.nothing_ran])
def test_a_fault_that_asks_a_tenant_to_try_again_is_tried_again_for_a_job(fault: RuntimeFaultError) -> None:
    lasting = problem_of(fault).status == HTTPStatus.BAD_GATEWAY and not isinstance(fault, RuntimeUnreachableError)
    assert backoff.may_try_again(fault, 1) is not lasting


def test_no_try_is_later_than_the_deadline() -> None:
    pauses = {backoff.next_try_at(make_job(timeout_s=1), NOON, faults=50, rng=RNG) - NOON for _ in range(50)}
    assert max(pauses) == timedelta(seconds=1)


@pytest.mark.parametrize("fault", [RuntimeMissingError(), RuntimeRefusedError(), AgentAnswerTooLargeError()])
def test_what_will_not_get_better_is_not_tried_again(fault: RuntimeFaultError) -> None:
    assert not backoff.may_try_again(fault, 1)


@pytest.mark.parametrize(
    ("fault", "tries"),
    [(RuntimeQuotaError(), 20), (RuntimeUnreachableError(), 500), (RuntimeTimeoutError(), 10), (AgentFailedError(), 3)],
)
def test_a_passing_fault_is_tried_a_bounded_number_of_times(fault: RuntimeFaultError, tries: int) -> None:
    assert [backoff.may_try_again(fault, n) for n in (1, tries - 1, tries)] == [True, True, False]
