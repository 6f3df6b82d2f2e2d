"""What can go wrong while a job is driven; none of it is a job's own failure, which is part of its record."""

from datetime import datetime

from tenancy.data_models import JobRecord
from tenancy.errors import LockgateError


class IllegalTransitionError(LockgateError):
    """A job cannot go from where it stands to the wanted status."""

    code = "illegal_transition"


class LeaseLostError(LockgateError):
    """Another worker holds the job now, or it has ended: nothing may be written under the old fence."""

    code = "lease_lost"


class CancelRequestedError(LockgateError):
    """The job is still held, but its cancel has been asked for since it was read: nothing else may end it now."""

    code = "cancel_requested"

    def __init__(self, job: JobRecord) -> None:
        super().__init__()
        self.job = job


class GateFullError(LockgateError):
    """As many of the tenant's jobs run as may run at once."""

    code = "gate_full"


class JobRunningError(LockgateError):
    """The job has begun: it can be cancelled, which stops its agent, and not simply be given up."""

    code = "job_running"


class NoDeadLetterError(LockgateError):
    """The job is no dead letter: it never was one, or it was dealt with."""

    code = "no_dead_letter"


class QueueUnavailableError(LockgateError):
    """Redis did not take a tick in time; the job itself is stored."""

    code = "queue_unavailable"


class TickAgainError(LockgateError):
    """The same tick must be run again: at `at`, or after a growing pause where that is None."""

    code = "tick_again"

    def __init__(self, reason: str, *, at: datetime | None = None) -> None:
        super().__init__(reason)
        self.at = at
