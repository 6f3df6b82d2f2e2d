"""The judge is judged: a history that breaks an invariant is found out, by that invariant, and a good one is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from jobs import events, records
from tenancy.data_models import JobEvent, JobGate, JobRecord, Status
from tenancy.ids import event_id_of
from tests.chaos.fences import Write, writes_of
from tests.chaos.load import History, Seen, Wish
from tests.chaos.proxy import Call
from tests.chaos.verdict import Account, Outside, Post, Stored, violations
from tests.jobs.parts import NOON, make_job
from webhooks.outbox import job_ended

WISH = Wish(0.0, "acme", "token", 1.0, fails=False, input_bytes=0, result_bytes=0, twice=False, cancel_after_s=None)


def ended(status: Status = Status.SUCCEEDED) -> tuple[JobRecord, list[JobEvent]]:
    """Return a job that went its way, and the events of it."""
    queued = make_job().model_copy(update={"events": 1})
    told = [events.of_acceptance(queued)]
    running = _next(queued, records.started(queued, NOON), told)
    return _next(running, records.ended(running, status, NOON + timedelta(seconds=1)), told), told


def _next(before: JobRecord, after: JobRecord, told: list[JobEvent]) -> JobRecord:
    event = events.of_change(before, after)
    assert event is not None
    told.append(event)
    return after.model_copy(update={"events": event.seq})


def good() -> Account:
    """Return the account of one job that was submitted, done once, seen and told of."""
    job, told = ended()
    event = job_ended(job)
    seen = [Seen(status=Status.QUEUED), Seen(status=Status.SUCCEEDED, run=1, result={"token": "token"})]
    history = History(WISH, [job.job_id] * 2, [b"same"] * 2, seen)
    post = Post(name="acme", verified=True, taken=True, body=event.payload_json)
    return Account(
        [history],
        Outside(effects={job.job_id: 1}, posts={event.event_id: (post,)}),
        Stored({job.job_id: job}, {job.job_id: told}, {event.event_id: event}),
        [
            Write(job.job_id, "create", 0, 0.0, 0.1),
            Write(job.job_id, "claim", 1, 1.0, 1.1),
            Write(job.job_id, "change", 1, 1.2, 1.3),
            Write(job.job_id, "claim", 2, 2.0, 2.1),
            Write(job.job_id, "change", 2, 2.2, 2.3),
        ],
        crashes=[],
        settle_s=3.0,
    )


def the_job(account: Account) -> JobRecord:
    (job,) = account.stored.jobs.values()
    return job


def stored(account: Account, **changed: object) -> Account:
    """Return the account with something else stored of its one job."""
    job = the_job(account).model_copy(update=changed)
    return replace(account, stored=replace(account.stored, jobs={job.job_id: job}))


def seen(account: Account, **changed: object) -> Account:
    """Return the account with a client that saw something else."""
    return replace(account, histories=[replace(account.histories[0], **changed)])  # type: ignore[arg-type]  # by name


def written(account: Account, *writes: Write) -> Account:
    """Return the account with more writes of its one job."""
    its = [replace(write, job_id=the_job(account).job_id) for write in writes]
    return replace(account, writes=[*account.writes, *its])


def posted(account: Account, **changed: object) -> Account:
    """Return the account with another webhook post."""
    ((event_id, (post,)),) = account.outside.posts.items()
    return replace(
        account,
        outside=account.outside.model_copy(update={"posts": {event_id: (post.model_copy(update=changed),)}}),
    )


def effects(account: Account, count: int) -> Account:
    """Return the account with another number of effects."""
    changed = {"effects": {the_job(account).job_id: count}}
    return replace(account, outside=account.outside.model_copy(update=changed))


def without_an_event(account: Account) -> Account:
    job_id = the_job(account).job_id
    return replace(account, stored=replace(account.stored, events={job_id: account.stored.events[job_id][:-1]}))


def to_nowhere(account: Account) -> Account:
    """Return the account of a job that ended, and then was begun again."""
    job, told = the_job(account), list(account.stored.events[the_job(account).job_id])
    told[1], told[2] = (
        told[2].model_copy(update={"seq": 2}),
        told[1].model_copy(update={"seq": 3}),
    )
    return replace(account, stored=replace(account.stored, events={job.job_id: told}))


WRONG: dict[str, tuple[str, Callable[[Account], Account]]] = {
    "lost": ("I1", lambda good: replace(good, stored=replace(good.stored, jobs={}))),
    "crashed": ("I1", lambda good: replace(good, crashes=["GET /"])),
    "refused": ("I1", lambda good: seen(good, refused="500")),
    "never ends": ("I1", lambda good: stored(good, status=Status.RUNNING)),
    "fails for nothing": ("I1", lambda good: stored(good, status=Status.FAILED)),
    "another's result": ("I1", lambda good: seen(good, seen=[Seen(status=Status.SUCCEEDED, result={"token": "no"})])),
    "owed a tick for ever": ("I1", lambda good: stored(good, next_tick_at=NOON)),
    "counted for ever": (
        "I1",
        lambda good: replace(
            good, stored=replace(good.stored, gates=[JobGate(tenant_id=the_job(good).tenant_id, running=1)])
        ),
    ),
    "done twice": ("I2", lambda good: effects(good, 2)),
    "never done": ("I2", lambda good: effects(good, 0)),
    "no event": ("I3", lambda good: replace(good, stored=replace(good.stored, outbox={}))),
    "never told": ("I3", lambda good: posted(good, taken=False)),
    "told unsigned": ("I3", lambda good: posted(good, verified=False)),
    "told to another": ("I3", lambda good: posted(good, name="globex")),
    "a gap in its events": ("I4", without_an_event),
    "begun after its end": ("I4", to_nowhere),
    "a stale write": ("I4", lambda good: written(good, Write("", "change", 1, 2.2, 2.3))),
    "a stale transaction": ("I4", lambda good: written(good, Write("", "change", 1, 2.2, 2.3, "a token of its own"))),
    "a write under nothing": ("I4", lambda good: written(good, Write("", "change", None, 2.2, 2.3))),
    "one fence, two claims": ("I4", lambda good: written(good, Write("", "claim", 2, 2.2, 2.3))),
    "seen going back": ("I5", lambda good: seen(good, seen=[*good.histories[0].seen, Seen(status=Status.RUNNING)])),
    "two jobs of a key": ("I6", lambda good: seen(good, accepted=[the_job(good).job_id, make_job().job_id])),
    "two answers to a key": ("I6", lambda good: seen(good, answers=[b"one", b"two"])),
    "a job of nobody": ("I6", lambda good: seen(good, accepted=[], seen=[])),
    "succeeded all the same": ("I7", lambda good: seen(good, cancel=202)),
    "late": ("I8", lambda good: replace(good, settle_s=61.0)),
    "never": ("I8", lambda good: replace(good, settle_s=None)),
}


def test_a_good_history_is_found_good() -> None:
    assert violations(good()) == []


def test_a_transaction_that_comes_again_late_writes_nothing() -> None:
    first = Write("", "change", 2, 2.4, 2.5, "token")
    after = Write("", "claim", 3, 3.0, 3.1), replace(first, began_s=4.0, ended_s=4.1)
    assert violations(written(good(), first, *after)) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_must_not_be_is_found(name: str) -> None:
    invariant, spoil = WRONG[name]
    assert invariant in {sentence.split()[0] for sentence in violations(spoil(good()))}


def test_a_webhook_is_known_by_its_jobs_id() -> None:
    account = good()
    assert list(account.outside.posts) == [event_id_of(the_job(account).job_id)]


def call(operation: str, request: object, answer: object = None, status: int = 200) -> Call:
    return Call(f"DynamoDB_20120810.{operation}", orjson.dumps(request), status, orjson.dumps(answer), 1.0, 2.0)


CLAIM = {
    "Key": {"pk": {"S": "TENANT#acme"}, "sk": {"S": "JOB#job_1"}},
    "UpdateExpression": "SET #c0 = :c0 ADD #c1 :c1",
    "ExpressionAttributeNames": {"#n0": "status", "#c0": "lease_owner", "#c1": "fence"},
}
CHANGE = {
    "Key": CLAIM["Key"],
    "UpdateExpression": "SET #c0 = :c0",
    "ConditionExpression": "(#n0 = :v0 AND #n1 = :v1)",
    "ExpressionAttributeNames": {"#n0": "fence", "#n1": "status", "#c0": "progress"},
    "ExpressionAttributeValues": {":v0": {"N": "3"}, ":v1": {"S": "running"}},
}


def test_a_claim_is_read_off_the_wire_with_the_fence_it_took() -> None:
    (claim,) = writes_of(call("UpdateItem", CLAIM, {"Attributes": {"fence": {"N": "4"}}}))
    assert (claim.job_id, claim.kind, claim.fence) == ("job_1", "claim", 4)


def test_a_change_is_read_off_the_wire_with_the_fence_it_was_written_under() -> None:
    legs = {"TransactItems": [{"Update": CHANGE}, {"Put": {"Item": {}}}], "ClientRequestToken": "token"}
    (change,) = writes_of(call("TransactWriteItems", legs))
    assert (change.kind, change.fence, change.token) == ("change", 3, "token")
    bare = {**CHANGE, "ConditionExpression": "#n1 = :v1"}
    (unfenced,) = writes_of(call("UpdateItem", bare, {}))
    assert (unfenced.kind, unfenced.fence) == ("change", None)


def test_what_was_refused_is_no_write() -> None:
    assert list(writes_of(call("UpdateItem", CHANGE, status=400))) == []
