"""A verdict as people read it: the figures of the run, and on failure each job's story from the store."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from tenancy.ids import event_id_of, parse_job_id
from tests.chaos.harness import Verdict
from tests.chaos.verdict import Account

_JOB_DIGITS = 26

Name = TypeVar("Name", bound=str)


def told(verdict: Verdict) -> str:
    """Return the report as text."""
    return "\n".join([*_figures(verdict), *_wrong(verdict)]) + "\n"


def _figures(verdict: Verdict) -> Iterator[str]:
    account = verdict.account
    submits = sum(len(history.accepted) for history in account.histories)
    asked_again = sum(history.unanswered for history in account.histories)
    settle = "never" if account.settle_s is None else f"{account.settle_s:.1f} s"
    posts = sum(map(len, account.outside.posts.values()))
    yield f"seed {verdict.seed}: {'ALL INVARIANTS HOLD' if not verdict.wrong else f'{len(verdict.wrong)} VIOLATIONS'}"
    yield f"  jobs        {_counts(verdict.ends)}; {submits} submissions accepted, {asked_again} calls asked again"
    effects, events = sum(account.outside.effects.values()), len(account.stored.outbox)
    yield f"  effects     {effects}; {posts} webhook posts for {events} events"
    yield f"  faults      {sum(verdict.faults.values())}: {_counts(verdict.faults)}"
    yield f"  lost calls  {sum(verdict.losses.values())}: {_counts(verdict.losses)}"
    yield f"  store       {verdict.calls} calls, {len(account.writes)} accepted writes of jobs"
    yield f"  settled     {settle} after the last fault; {verdict.load_s:.0f} s in all"


def _counts(counts: Mapping[Name, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])) or "none"


def _wrong(verdict: Verdict) -> Iterator[str]:
    for sentence in verdict.wrong:
        yield f"  ! {sentence}"
    for job_id in dict.fromkeys(word for sentence in verdict.wrong for word in sentence.split() if _names_a_job(word)):
        yield from _story(job_id.rstrip(":"), verdict.account)


def _names_a_job(word: str) -> bool:
    return word.startswith("job_") and len(word.rstrip(":")) == len("job_") + _JOB_DIGITS


def _story(job_id: str, account: Account) -> Iterator[str]:
    """Tell everything that is known of one job."""
    yield f"  -- {job_id}"
    job = account.stored.jobs.get(job_id)
    if job is not None:
        yield f"     record   {job.model_dump_json(exclude_none=True, exclude={'input_json', 'result_json'})}"
    for event in account.stored.events.get(job_id, ()):
        yield f"     event    {event.seq} {event.at:%H:%M:%S.%f} {event.type} {event.data_json}"
    event_id = event_id_of(parse_job_id(job_id))
    told_by = account.stored.outbox.get(event_id)
    yield f"     outbox   {None if told_by is None else told_by.model_dump_json(exclude_none=True)}"
    for delivery in account.stored.deliveries:
        if delivery.event_id == event_id:
            yield f"     delivery {delivery.model_dump_json(exclude_none=True, exclude={'payload_json'})}"
    for write in account.writes:
        if write.job_id == job_id:
            yield f"     write    {write.began_s:.3f} to {write.ended_s:.3f} {write.kind} under {write.fence}"
    for history in account.histories:
        if job_id in history.accepted:
            seen = ", ".join(f"{each.status} {each.run}" for each in history.seen)
            yield f"     client   {history.wish} cancel {history.cancel} saw {seen}"
    yield f"     effects  {account.outside.effects.get(job_id, 0)}"
