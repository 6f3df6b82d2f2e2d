"""What in-band answers mean."""

from datetime import timedelta

import pytest

from agents.inband import InbandStatus, JobError
from jobs.poll import EXPIRED, Busy, Ended, Lost, find
from tenancy.data_models import JobRecord, Progress, Status
from tests.jobs.parts import NOON, make_job

JOB = make_job(timeout_s=60)
LATE = NOON + timedelta(seconds=60)


def answer(state: str, ping: str = "Healthy", job: JobRecord = JOB, **more: object) -> InbandStatus:
    return InbandStatus.model_validate({"bootId": "b", "ref": job.job_id, "state": state, "ping": ping, **more})


@pytest.mark.parametrize("ping", ["Healthy", "HealthyBusy"])
def test_running_is_running_whatever_the_ping_says(ping: str) -> None:
    assert find(answer("running", ping, progress={"percent": 40}), JOB, NOON) == Busy(Progress(percent=40))


def test_a_healthy_process_that_does_not_know_the_job_has_lost_it() -> None:
    assert find(answer("unknown", "Healthy"), JOB, NOON) == Lost()


def test_an_answer_about_another_job_says_nothing_of_this_one() -> None:
    other = make_job()
    assert find(answer("succeeded", job=other), JOB, NOON) == Lost()


def test_a_result_is_kept_byte_for_byte() -> None:
    text = b'{"a":  1.0, "b":"\\u00e4"}'
    assert find(answer("succeeded", resultJson=text), JOB, NOON) == Ended(Status.SUCCEEDED, result=text)


def test_the_agents_own_words_about_its_failure_stay_out_of_the_record() -> None:
    end = find(answer("failed", error=JobError(type="KeyError", message="secret")), JOB, NOON)
    assert isinstance(end, Ended)
    assert (end.status, end.kind) == (Status.FAILED, "KeyError")
    assert end.error is not None
    assert end.error.code == "agent_error"
    assert "secret" not in end.error.detail


def test_a_job_its_agent_stopped_is_cancelled() -> None:
    assert find(answer("cancelled"), JOB, NOON) == Ended(Status.CANCELLED)


def test_a_job_still_running_at_its_deadline_has_expired() -> None:
    assert find(answer("running"), JOB, LATE - timedelta(microseconds=1)) == Busy(None)
    assert find(answer("running"), JOB, LATE) == EXPIRED


def test_a_result_that_was_ready_counts_even_past_the_deadline() -> None:
    assert find(answer("succeeded"), JOB, LATE) == Ended(Status.SUCCEEDED, result=b"null")
