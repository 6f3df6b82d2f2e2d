"""What a webhook receiver does wrong when it is told to: slow answers, wrong ones, none.

Each fault is spent by the attempts it hits, in the order in which they were injected; nothing is random.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, PositiveInt

from ops.devstack.receipts import Name, ReceiverModel


class Fault(ReceiverModel):
    """One fault, for the next `times` attempts to `name`, or to any name.

    `hangS` comes first; then the connection is broken (`drop`), or the attempt is answered with `status` and
    `headers` (`Retry-After`, `Location`), or, without a status, as it would have been.
    """

    name: Name | None = None
    times: PositiveInt = 1
    hang_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    drop: bool = False
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    headers: Mapping[str, Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]] = {}


class Faults:
    """The faults that wait, the oldest first."""

    def __init__(self) -> None:
        self._waiting: Final[list[Fault]] = []

    @property
    def waiting(self) -> tuple[Fault, ...]:
        """What was injected and not yet met."""
        return tuple(self._waiting)

    def inject(self, fault: Fault) -> None:
        """Let the next fitting attempts meet the fault."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Forget every fault."""
        self._waiting.clear()

    def take(self, name: str) -> Fault | None:
        """Spend the oldest fault that fits an attempt to this name."""
        for place, fault in enumerate(self._waiting):
            if fault.name in (None, name):
                rest = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                self._waiting[place : place + 1] = rest
                return fault
        return None
