"""When a job is looked at next: pure numbers, with the randomness passed in.

Short jobs finish fast: the pause begins at FIRST_LOOK_S and grows with the time the job has been running, up to
the poll interval. After an upstream fault the pause is drawn from a growing range (full jitter), and how often a
fault may repeat in a row is one row of TRIES.
"""

import random
from datetime import datetime, timedelta
from typing import Final

from agents.errors import (
    AgentFailedError,
    RuntimeBrokenError,
    RuntimeBusyError,
    RuntimeFaultError,
    RuntimeQuotaError,
    RuntimeSparedError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
    RuntimeUnreachableError,
    StreamInterruptedError,
)
from tenancy.data_models import JobRecord

FIRST_LOOK_S: Final = 0.2
JITTER: Final = 0.2
FAULT_BASE_S: Final = 0.5
FAULT_CAP_S: Final = 30.0

# Even what may have run is safe to send again: the kit runs a job id once. What is not listed will not get better.
TRIES: Final[dict[type[RuntimeFaultError], int]] = {
    RuntimeThrottledError: 20,
    RuntimeQuotaError: 20,
    RuntimeBusyError: 20,
    # About two hours, and some minutes: a region may be away, and it takes people to fail over to another.
    RuntimeUnreachableError: 500,
    RuntimeSparedError: 500,
    RuntimeTimeoutError: 10,
    StreamInterruptedError: 5,
    RuntimeBrokenError: 5,
    AgentFailedError: 3,
}


def may_try_again(fault: RuntimeFaultError, faults: int) -> bool:
    """Tell whether a job may be tried again after `faults` faults in a row, this one included."""
    return faults < TRIES.get(type(fault), 0)


def next_look_at(job: JobRecord, now: datetime, *, interval_s: float, rng: random.Random) -> datetime:
    """Return when a running job is probed next, at its deadline at the latest."""
    running_s = (now - (job.started_at or now)).total_seconds()
    pause_s = min(interval_s, max(FIRST_LOOK_S, running_s)) * rng.uniform(1 - JITTER, 1 + JITTER)
    return _within_deadline(job, now, pause_s)


def next_try_at(job: JobRecord, now: datetime, *, faults: int, rng: random.Random) -> datetime:
    """Return when a job is tried again after `faults` faults in a row, at its deadline at the latest."""
    return _within_deadline(job, now, rng.uniform(0, fault_ceiling_s(faults)))


def fault_ceiling_s(faults: int) -> float:
    """Return the longest pause after `faults` (from 1) faults in a row."""
    return min(FAULT_CAP_S, FAULT_BASE_S * 2.0 ** min(faults - 1, 16))


def _within_deadline(job: JobRecord, now: datetime, pause_s: float) -> datetime:
    return max(now, min(now + timedelta(seconds=pause_s), job.deadline_at))
