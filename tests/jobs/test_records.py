"""The legal life of a job's record."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobs import records
from jobs.errors import IllegalTransitionError
from tenancy.data_models import Failure, JobRecord, Progress, Status
from tenancy.ids import TenantId, WebhookId
from tests.jobs.parts import NOON, make_agent, make_context, make_job

TERMINAL = [status for status in Status if status.terminal]


def test_an_accepted_job_is_queued_with_a_session_and_a_deadline_of_its_own() -> None:
    ctx, agent = make_context(TenantId("acme")), make_agent()
    jobs = [
        records.accepted(
            ctx,
            agent,
            NOON,
            timeout_s=60,
            principal="sub-1",
            request_id="req-1",
            metadata_json='{"a":1}',
            webhook_id=WebhookId("wh-1"),
            traceparent="00-1-2-01",
        )
        for _ in range(2)
    ]
    job = jobs[0]
    assert (job.status, job.run, job.fence, job.deadline_at) == (Status.QUEUED, 0, 0, NOON + timedelta(seconds=60))
    assert (job.agent, job.agent_version, job.next_tick_at) == ("echo-agent", "1.0.0", NOON)
    assert (job.metadata_json, job.webhook_id, job.traceparent) == ('{"a":1}', "wh-1", "00-1-2-01")
    assert jobs[0].session_id != jobs[1].session_id


@pytest.mark.parametrize("end", TERMINAL)
def test_nothing_follows_an_end(end: Status) -> None:
    over = make_job().model_copy(update={"status": end})
    with pytest.raises(IllegalTransitionError):
        records.started(over, NOON)
    with pytest.raises(IllegalTransitionError):
        records.parked(over, NOON)
    for other in TERMINAL:
        with pytest.raises(IllegalTransitionError):
            records.ended(over, other, NOON)


def test_a_queued_job_cannot_have_succeeded() -> None:
    with pytest.raises(IllegalTransitionError):
        records.ended(make_job(), Status.SUCCEEDED, NOON)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_job_cannot_end_in_a_status_that_is_no_end(status: Status) -> None:
    with pytest.raises(IllegalTransitionError):
        records.ended(records.started(make_job(), NOON), status, NOON)


def test_a_run_begun_anew_forgets_the_progress_of_the_lost_one() -> None:
    job = records.progressed(records.started(make_job(), NOON), Progress(percent=70), NOON)
    again = records.started(job, NOON + timedelta(seconds=9))
    assert (again.run, again.progress, again.started_at) == (2, None, NOON)


def test_progress_that_is_left_out_stays_as_it_was() -> None:
    job = records.progressed(make_job(), Progress(percent=70), NOON)
    assert records.progressed(job, None, NOON + timedelta(seconds=1)) is job


def test_an_ended_job_is_kept_for_seven_days_and_owed_no_tick() -> None:
    held = make_job().model_copy(update={"lease_owner": "w", "lease_until_at": NOON})
    job = records.ended(held, Status.FAILED, NOON, error=Failure(code="job_lost", detail="Gone."))
    assert job.ttl == int((NOON + timedelta(days=7)).timestamp())
    assert (job.lease_owner, job.lease_until_at, job.next_tick_at, job.index_keys()) == (None, None, None, {})


class JobLife(RuleBasedStateMachine):
    """Any order of steps: what is refused changes nothing, what is done is a path of LEGAL."""

    @initialize()
    def begin(self) -> None:
        self.job = make_job()
        self.path: list[Status] = [self.job.status]

    def _take(self, job: JobRecord) -> None:
        if job.status is not self.job.status or job.run != self.job.run:
            self.path.append(job.status)
        self.job = job

    @rule()
    def start(self) -> None:
        before = self.job
        try:
            self._take(records.started(self.job, NOON))
        except IllegalTransitionError:
            assert before.status.terminal
        else:
            assert self.job.run == before.run + 1

    @rule(percent=st.integers(0, 100))
    def progress(self, percent: int) -> None:
        self._take(records.progressed(self.job, Progress(percent=percent), NOON))

    @rule()
    def park(self) -> None:
        try:
            self._take(records.parked(self.job, NOON))
        except IllegalTransitionError:
            assert self.job.status.terminal

    @rule(status=st.sampled_from(Status))
    def end(self, status: Status) -> None:
        try:
            self._take(records.ended(self.job, status, NOON))
        except IllegalTransitionError:
            assert not status.terminal or status not in records.LEGAL[self.job.status]

    @invariant()
    def the_history_is_legal(self) -> None:
        for earlier, later in zip(self.path, self.path[1:], strict=False):
            assert later in records.LEGAL[earlier]

    @invariant()
    def it_ends_once(self) -> None:
        assert sum(status.terminal for status in self.path) <= 1
        assert (self.job.ended_at is not None) == self.job.status.terminal
        assert not (self.job.status.terminal and self.job.lease_until_at)


TestJobLife = JobLife.TestCase
TestJobLife.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
