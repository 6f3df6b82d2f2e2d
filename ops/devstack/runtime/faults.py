"""Faults on demand: what AWS and agents do wrong, at the next call of one runtime.

Each fault is spent by the calls it hits, in the order in which they were injected; nothing is random.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from ops.devstack.runtime.errors import (
    InternalFaultError,
    QuotaExceededError,
    RuntimeApiError,
    SessionInTransitionError,
    ThrottledError,
)
from ops.devstack.runtime.spec import Wire

RefusalKind = Literal["throttle", "conflict", "quota", "internalError"]
StartKind = Literal["slowStart"]
AnswerKind = Literal["hang", "reset", "crash", "garbage"]
FaultKind = RefusalKind | StartKind | AnswerKind

REFUSALS: Final[Sequence[FaultKind]] = ("throttle", "conflict", "quota", "internalError")
STARTS: Final[Sequence[FaultKind]] = ("slowStart",)
ANSWERS: Final[Sequence[FaultKind]] = ("hang", "reset", "crash", "garbage")


class Fault(Wire):
    """One fault.

    - throttle (429), conflict (409 retryable), quota (402), internalError (500): refused, nothing runs.
    - slowStart: the next session's process is ready `delayS` later.
    - hang, reset, crash: the answer stops for ever, is reset, or its process is killed, once `afterBytes` of it were
      passed on; None means before its first byte and its status line.
    - garbage: the answer is not HTTP.
    """

    kind: FaultKind
    times: PositiveInt = 1
    after_bytes: NonNegativeInt | None = None
    delay_s: NonNegativeFloat = Field(0.0, alias="delayS")


class Faults:
    """The faults that wait, per runtime id."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Fault]] = defaultdict(list)

    def inject(self, runtime_id: str, fault: Fault) -> None:
        """Let the next `fault.times` fitting calls of this runtime meet the fault."""
        self._waiting[runtime_id].append(fault)

    def waiting(self) -> dict[str, list[Fault]]:
        """Return what was injected and not yet met."""
        return {runtime_id: list(faults) for runtime_id, faults in self._waiting.items() if faults}

    def clear(self) -> None:
        """Forget every fault."""
        self._waiting.clear()

    def take(self, runtime_id: str, kinds: Sequence[FaultKind]) -> Fault | None:
        """Spend the oldest waiting fault of these kinds, if there is one."""
        faults = self._waiting.get(runtime_id, [])
        for place, fault in enumerate(faults):
            if fault.kind in kinds:
                rest = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                faults[place : place + 1] = rest
                return fault
        return None


def refusal(fault: Fault) -> RuntimeApiError:
    """Return the error of a fault that refuses the call."""
    match fault.kind:
        case "throttle":
            return ThrottledError()
        case "conflict":
            return SessionInTransitionError()
        case "quota":
            return QuotaExceededError("maxVms limit exceeded")
        case _:
            return InternalFaultError()


async def hang() -> None:
    """Never return; ended by cancellation or a deadline."""
    await asyncio.get_running_loop().create_future()
