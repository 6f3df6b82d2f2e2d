"""What an agent's in-band answer says about its job.

Success is a result that the agent's own bookkeeping reports, never a healthy ping: a crashed agent and a fresh
microVM both look healthy. An agent that does not know the job has lost it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from agents.inband import InbandStatus
from tenancy.data_models import Failure, JobRecord, Progress, Status

# Input and output tokens that the agent has reported.
Tokens: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Busy:
    """Still running; `boot_id` is the process that has just acknowledged a start."""

    progress: Progress | None
    boot_id: str | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The session's process knows nothing of the job: the one that ran it is gone, and its work with it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Over: with `result` (the agent's JSON, byte for byte) if it succeeded, else with `error`.

    `kind` is what the agent calls its error: for logs, never for callers.
    """

    status: Status
    error: Failure | None = None
    result: bytes | None = None
    progress: Progress | None = None
    kind: str | None = None
    tokens: Tokens | None = None


Finding = Busy | Lost | Ended

EXPIRED: Final = Ended(Status.EXPIRED, Failure(code="job_expired", detail="The job did not end before its deadline."))
LOST: Final = Ended(Status.FAILED, Failure(code="job_lost", detail="The agent lost the job before it ended."))
REGION_LOST: Final = Ended(
    Status.FAILED,
    Failure(code="region_failover", detail="The region in which the job ran was lost, and it cannot be begun again."),
)
OVER_BUDGET: Final = Ended(
    Status.FAILED, Failure(code="budget_exceeded", detail="The month's budget does not cover the job any longer.")
)


def find(answer: InbandStatus, job: JobRecord, now: datetime) -> Finding:
    """Return what an answer to start or status means; an end counts even past the deadline."""
    if answer.ref != job.job_id:
        return Lost()
    tokens = None if answer.usage is None else (answer.usage.input_tokens, answer.usage.output_tokens)
    match answer.state:
        case "succeeded":
            return Ended(Status.SUCCEEDED, result=answer.result_json, progress=answer.progress, tokens=tokens)
        case "failed":
            failure = Failure(code="agent_error", detail="The agent failed while it ran the job.")
            kind = None if answer.error is None else answer.error.type
            return Ended(Status.FAILED, failure, kind=kind, tokens=tokens)
        case "cancelled":
            return Ended(Status.CANCELLED, tokens=tokens)
        case "unknown":
            return Lost()
        case "running":
            return EXPIRED if now >= job.deadline_at else Busy(answer.progress, tokens=tokens)
