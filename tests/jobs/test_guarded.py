"""What an agent says about its job, held to a policy before any of it is stored."""

import pytest

from jobs.guarded import guarded
from jobs.poll import LOST, Busy, Ended
from tenancy.data_models import Failure, JobRecord, Progress, Status
from tests.jobs.conftest import Floor
from tests.jobs.parts import make_job

BLOCKED = Failure(code="redaction_blocked", detail="It was blocked.")


class Policy:
    """Replaces a word, or withholds what has it; remembers what it was shown."""

    def __init__(self, *, blocks: bool = False) -> None:
        self.blocks = blocks
        self.shown: list[bytes] = []

    async def __call__(self, _: JobRecord, answer: bytes) -> bytes | Failure:
        self.shown.append(answer)
        if self.blocks and b"secret" in answer:
            return BLOCKED
        return answer.replace(b"secret", b"[REDACTED:word]")


async def test_a_result_and_a_message_are_kept_as_the_policy_lets_them_pass() -> None:
    found = Ended(Status.SUCCEEDED, result=b'"a secret"', progress=Progress(percent=100, message="secret done"))
    kept = await guarded(Policy(), make_job(), found)
    assert kept == Ended(
        Status.SUCCEEDED,
        result=b'"a [REDACTED:word]"',
        progress=Progress(percent=100, message="[REDACTED:word] done"),
    )


async def test_a_result_that_is_withheld_fails_its_job() -> None:
    kept = await guarded(Policy(blocks=True), make_job(), Ended(Status.SUCCEEDED, result=b'"secret"', tokens=(1, 2)))
    assert kept == Ended(Status.FAILED, BLOCKED, tokens=(1, 2))


async def test_a_message_that_is_withheld_is_left_out_and_its_job_goes_on() -> None:
    kept = await guarded(Policy(blocks=True), make_job(), Busy(Progress(percent=7, message="secret"), "boot"))
    assert kept == Busy(Progress(percent=7), "boot")


async def test_a_message_that_has_not_changed_is_not_judged_again() -> None:
    policy, progress = Policy(), Progress(percent=7, message="as before")
    job = make_job().changed({"progress": progress})
    assert await guarded(policy, job, Busy(progress)) == Busy(progress)
    assert policy.shown == []


async def test_what_says_nothing_passes() -> None:
    policy = Policy()
    for finding in (LOST, Busy(None), Ended(Status.CANCELLED), Busy(Progress(percent=1))):
        assert await guarded(policy, make_job(), finding) == finding
    assert policy.shown == []


@pytest.mark.stack
async def test_a_job_s_result_is_stored_as_the_policy_lets_it_pass(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"a secret"}')
    await floor.worker(guard=Policy())((await floor.due())[0])
    done = await floor.job(job)
    assert done.status is Status.SUCCEEDED
    assert await floor.store.result(done) == b'{"echo": "a [REDACTED:word]"}'


@pytest.mark.stack
async def test_a_job_whose_result_is_withheld_fails_and_keeps_none_of_it(floor: Floor) -> None:
    job = await floor.submit(b'{"prompt":"a secret"}')
    await floor.worker(guard=Policy(blocks=True))((await floor.due())[0])
    done = await floor.job(job)
    assert (done.status, done.error) == (Status.FAILED, BLOCKED)
    assert await floor.store.result(done) is None
