"""What must be true of a stack that was broken and has come to rest: invariants I1 to I8, checked on histories.

Pure: everything that was seen comes in, sentences about what must not be come out. Each begins with its invariant,
and names the job it is about.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict

from jobs.records import LEGAL
from tenancy.data_models import Delivery, JobEvent, JobGate, JobRecord, OutboxEvent, Status, WaitingJob
from tenancy.ids import event_id_of
from tests.chaos.fences import Write, faults_of
from tests.chaos.load import History, Seen

SETTLE_LIMIT_S: Final = 60.0
_RANK: Final = {Status.QUEUED: 0, Status.RUNNING: 1}
_ENDED: Final = 2


class Post(BaseModel):
    """One webhook post as the oracle got it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    verified: bool
    taken: bool
    body: str


class Outside(BaseModel):
    """What the oracle saw: effects by job, posts by webhook-id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effects: Mapping[str, int] = {}
    posts: Mapping[str, tuple[Post, ...]] = {}

    def told(self, event_id: str) -> bool:
        """Tell whether an event was taken by the receiver, verified."""
        return any(post.taken for post in self.posts.get(event_id, ()))


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds at the end, of all tenants."""

    jobs: Mapping[str, JobRecord]
    events: Mapping[str, Sequence[JobEvent]] = field(default_factory=dict)
    outbox: Mapping[str, OutboxEvent] = field(default_factory=dict)
    deliveries: Sequence[Delivery] = ()
    gates: Sequence[JobGate] = ()
    waiting: Sequence[WaitingJob] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """All that is known of a run. `settle_s` is the time from the last fault to rest; None is: it never came."""

    histories: Sequence[History]
    outside: Outside
    stored: Stored
    writes: Sequence[Write]
    crashes: Sequence[str]
    settle_s: float | None


def violations(account: Account) -> list[str]:
    """Return what must not be, a sentence each; an empty list is the verdict that all is well."""
    found: list[str] = []
    for check in (_lost, _twice, _untold, _out_of_order, _backwards, _doubled, _uncancelled, _unsettled, _leaked):
        found += check(account)
    return found


def _lost(account: Account) -> Iterator[str]:
    yield from (f"I1 a gateway crashed over {crash}" for crash in account.crashes)
    for history in account.histories:
        if history.refused is not None:
            yield f"I1 the client of {history.wish.token} was answered {history.refused}"
        for job_id in dict.fromkeys(history.accepted):
            job = account.stored.jobs.get(job_id)
            if job is None:
                yield f"I1 {job_id} was accepted and does not exist"
            elif not job.status.terminal:
                yield f"I1 {job_id} was accepted and is still {job.status}"
            else:
                yield from _wrong_end(history, job)


def _wrong_end(history: History, job: JobRecord) -> Iterator[str]:
    wish = history.wish
    ends = {Status.FAILED} if wish.fails else {Status.SUCCEEDED}
    if wish.cancel_after_s is not None:
        ends.add(Status.CANCELLED)
    if job.status not in ends:
        code = "" if job.error is None else f" ({job.error.code})"
        yield f"I1 {job.job_id} is {job.status}{code}, which nothing it was asked for explains"
    result = history.seen[-1].result if history.seen else None
    if job.status is Status.SUCCEEDED and (result is None or result.get("token") != wish.token):
        yield f"I1 {job.job_id} succeeded with the result of something else"


def _twice(account: Account) -> Iterator[str]:
    for job_id, count in account.outside.effects.items():
        if count > 1:
            yield f"I2 {job_id} had its effect {count} times"
        if job_id not in account.stored.jobs:
            yield f"I2 {job_id} had an effect and is no job"
    for job in account.stored.jobs.values():
        if job.status is Status.SUCCEEDED and account.outside.effects.get(job.job_id, 0) != 1:
            yield f"I2 {job.job_id} succeeded without its effect"


def _untold(account: Account) -> Iterator[str]:
    expected: dict[str, JobRecord] = {
        event_id_of(job.job_id): job for job in account.stored.jobs.values() if job.status.terminal
    }
    for event_id, job in expected.items():
        if event_id not in account.stored.outbox:
            yield f"I3 {job.job_id} ended without an event"
        if not account.outside.told(event_id):
            yield f"I3 {job.job_id} ended and its tenant was never told"
    for event_id in account.stored.outbox.keys() - expected.keys():
        yield f"I3 {event_id} tells of no end"
    for event_id, posts in account.outside.posts.items():
        yield from _wrongly_told(event_id, posts, expected)


def _wrongly_told(event_id: str, posts: Sequence[Post], expected: Mapping[str, JobRecord]) -> Iterator[str]:
    job = expected.get(event_id)
    if job is None:
        yield f"I3 {event_id} was posted and tells of no end"
        return
    for post in posts:
        if not post.verified:
            yield f"I3 {job.job_id} was told with a signature that does not verify"
        data = orjson.loads(post.body)["data"]
        if (post.name, data["jobId"], data["status"]) != (job.tenant_id, job.job_id, job.status):
            yield f"I3 {job.job_id} is {job.status} of {job.tenant_id} and was told as {data} to {post.name}"


def _out_of_order(account: Account) -> Iterator[str]:
    for job in account.stored.jobs.values():
        events = account.stored.events.get(job.job_id, ())
        if [event.seq for event in events] != list(range(1, job.events + 1)):
            yield f"I4 {job.job_id} counts {job.events} events and has {[event.seq for event in events]}"
        path = [status for event in events if (status := _status_after(event)) is not None]
        if not path or path[0] is not Status.QUEUED or path[-1] is not job.status:
            yield f"I4 {job.job_id} is {job.status}, its events say {[*map(str, path)]}"
        for before, after in pairwise(path):
            if after not in LEGAL[before]:
                yield f"I4 {job.job_id} went from {before} to {after}"
    yield from (f"I4 {fault}" for fault in faults_of(account.writes))


def _status_after(event: JobEvent) -> Status | None:
    name = event.type.removeprefix("job.")
    if name == "progress":
        return None
    return Status.RUNNING if name == "started" else Status(name)


def _backwards(account: Account) -> Iterator[str]:
    for history in account.histories:
        for before, after in pairwise(history.seen):
            if _place(after) < _place(before) or (before.status.terminal and after != before):
                yield f"I5 {history.accepted[0]} was seen as {before} and later as {after}"


def _place(seen: Seen) -> tuple[int, int]:
    return _RANK.get(seen.status, _ENDED), seen.run


def _doubled(account: Account) -> Iterator[str]:
    for history in account.histories:
        if len(set(history.accepted)) > 1:
            yield f"I6 one key made {len(set(history.accepted))} jobs: {sorted(set(history.accepted))}"
        if len(set(history.answers)) > 1:
            yield f"I6 {history.accepted[0]}: one key was answered in {len(set(history.answers))} ways"
    accepted = {job_id for history in account.histories for job_id in history.accepted}
    for job_id in account.stored.jobs.keys() - accepted:
        yield f"I6 {job_id} is a job that nobody was told of"


def _uncancelled(account: Account) -> Iterator[str]:
    for history in account.histories:
        for job_id in set(history.accepted):
            job = account.stored.jobs.get(job_id)
            if history.cancel == 202 and job is not None and job.status is not Status.CANCELLED:
                yield f"I7 {job_id} was acknowledged as cancelled and is {job.status}"


def _unsettled(account: Account) -> Iterator[str]:
    if account.settle_s is None:
        yield "I8 the stack never came to rest"
    elif account.settle_s > SETTLE_LIMIT_S:
        yield f"I8 the stack came to rest {account.settle_s:.0f} s after the last fault"


def _leaked(account: Account) -> Iterator[str]:
    running = Counter(job.tenant_id for job in account.stored.jobs.values() if job.status is Status.RUNNING)
    for gate in account.stored.gates:
        counted, there = gate.running, running[gate.tenant_id]
        if counted != there:
            yield f"I1 the gate of {gate.tenant_id} counts {counted} running jobs, there are {there}"
    for marker in account.stored.waiting:
        yield f"I1 {marker.job_id} still waits at its gate"
    for job in account.stored.jobs.values():
        if job.status.terminal and (job.next_tick_at is not None or job.lease_until_at is not None):
            yield f"I1 {job.job_id} has ended and is still held or owed a tick"


def grouped(events: Iterable[JobEvent]) -> dict[str, list[JobEvent]]:
    """Return events by job, in order."""
    by_job: defaultdict[str, list[JobEvent]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.seq):
        by_job[event.job_id].append(event)
    return dict(by_job)
