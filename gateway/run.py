"""An open invocation: its record as begun, the agent's answer, and the meter on it.

The meter sees what the agent sends before anything else does, and is asked before anything is passed on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.errors import AgentFailedError
from agents.invocation import AgentError, AgentEvent, AgentUsage, Answer
from tenancy.data_models import InvocationRecord
from tenancy.meters import Meter


@dataclass(slots=True)
class Run:
    """An open invocation: its record as begun, the agent's answer, and the meter on it."""

    record: InvocationRecord
    meter: Meter
    monotonic: Callable[[], float]
    started_s: float = field(init=False)
    first_byte_s: float | None = field(default=None, init=False)
    answer: Answer = field(init=False)
    # Whether the whole answer is here: then there is nothing left to stop.
    over: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.started_s = self.monotonic()

    @property
    def lasted_s(self) -> float:
        """Seconds since it began."""
        return self.monotonic() - self.started_s

    async def read(self) -> bytes:
        """Return a whole answer."""
        self.first_byte_s = self.lasted_s
        body = await self.answer.read()
        self.meter.answered(len(body), self.answer.usage)
        self.over = True
        return body

    def metering(self, take: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return `take`, weighing what it is offered and counting what it takes."""
        meter = self.meter

        def counted(data: bytes) -> bool:
            if self.first_byte_s is None or not meter.weighed(len(data)) or not take(data):
                return False
            meter.count(len(data))
            return True

        return counted

    async def metered(self, events: Sequence[AgentEvent]) -> list[bytes]:
        """Weigh and count events as they pass and return their JSON.

        Raises AgentFailedError where the agent raised, BudgetExceededError where they are more than may be spent.
        """
        if self.first_byte_s is None:
            self.first_byte_s = self.lasted_s
        chunks = []
        for event in events:
            if isinstance(event, AgentError):
                raise AgentFailedError(event.kind)
            if isinstance(event, AgentUsage):
                self.meter.report(event)
            else:
                chunks.append(event.data)
        await self.meter.weigh(sum(map(len, chunks)))
        for chunk in chunks:
            self.meter.count(len(chunk))
        return chunks
