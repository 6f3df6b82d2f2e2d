"""What the store was asked to write of jobs, read off the wire, and whether a stale write was ever accepted."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import orjson

from tests.chaos.proxy import Call

_JOB: Final = "JOB#"
_EQUALS: Final = re.compile(r"(#\w+) = (:\w+)")
_ADDS: Final = re.compile(r"ADD .*?(#\w+) (:\w+)")

# JSON as it came.
Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One accepted write of a job's record.

    `fence` is the fence a claim took, or the one that a change was written under; None where it names none. `token` is
    its transaction's: one that comes again is acknowledged again, and changes nothing.
    """

    job_id: str
    kind: Literal["create", "claim", "change"]
    fence: int | None
    began_s: float
    ended_s: float
    token: str | None = None


def writes_of(call: Call) -> Iterator[Write]:
    """Yield the writes of jobs that a call to the store carried out."""
    operation = call.target.partition(".")[2]
    if call.status != 200 or operation not in {"PutItem", "UpdateItem", "TransactWriteItems"}:
        return
    asked = orjson.loads(call.request)
    if operation == "UpdateItem":
        yield from _update(asked, call, orjson.loads(call.answer).get("Attributes"))
    elif operation == "PutItem":
        yield from _put(asked, call)
    else:
        token = asked.get("ClientRequestToken")
        for step in asked["TransactItems"]:
            for write in (*_put(step.get("Put", {}), call), *_update(step.get("Update", {}), call, None)):
                yield replace(write, token=token)


def _put(put: Json, call: Call) -> Iterator[Write]:
    sort_key = put.get("Item", {}).get("sk", {}).get("S", "")
    if sort_key.startswith(_JOB):
        yield Write(sort_key.removeprefix(_JOB), "create", 0, call.began_s, call.ended_s)


def _update(update: Json, call: Call, image: Json | None) -> Iterator[Write]:
    sort_key = update.get("Key", {}).get("sk", {}).get("S", "")
    if not sort_key.startswith(_JOB):
        return
    job_id, names = sort_key.removeprefix(_JOB), update.get("ExpressionAttributeNames", {})
    added = (names.get(name) for name, _ in _ADDS.findall(update.get("UpdateExpression", "")))
    if "fence" in added:
        fence = None if image is None else int(image["fence"]["N"])
        yield Write(job_id, "claim", fence, call.began_s, call.ended_s)
        return
    values = update.get("ExpressionAttributeValues", {})
    under = [
        int(values[value]["N"])
        for name, value in _EQUALS.findall(update.get("ConditionExpression", ""))
        if names.get(name) == "fence"
    ]
    yield Write(job_id, "change", under[0] if under else None, call.began_s, call.ended_s)


def faults_of(writes: Iterable[Write]) -> Iterator[str]:
    """Yield what is wrong with the order in which writes were accepted, a sentence each, beginning with the job."""
    by_job: defaultdict[str, list[Write]] = defaultdict(list)
    for write in _done(writes):
        by_job[write.job_id].append(write)
    for job_id, its in by_job.items():
        claims = sorted((write for write in its if write.kind == "claim"), key=lambda claim: claim.ended_s)
        taken = [claim.fence for claim in claims if claim.fence is not None]
        if len(set(taken)) < len(taken):
            yield f"{job_id}: two claims took one fence: {taken}"
        for change in its:
            if change.kind == "change":
                yield from _stale(change, claims)


def _done(writes: Iterable[Write]) -> Iterator[Write]:
    """Yield the writes without the repeats of transactions that had been done."""
    known: set[tuple[str, str | None]] = set()
    for write in sorted(writes, key=lambda write: write.ended_s):
        transaction = write.job_id, write.token
        if write.token is None or transaction not in known:
            known.add(transaction)
            yield write


def _stale(change: Write, claims: list[Write]) -> Iterator[str]:
    if change.fence is None:
        yield f"{change.job_id}: a change was accepted that names no fence"
        return
    for claim in claims:
        if claim.fence is not None and claim.fence > change.fence and claim.ended_s < change.began_s:
            yield f"{change.job_id}: a change under fence {change.fence} was accepted once {claim.fence} was taken"
            return
