"""One invocation as a typed value, what an agent answers, and the protocol of whatever carries it there."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tenancy.admission import Permit
from tenancy.context import TenantContext
from tenancy.data_models import AgentVersion, Mode
from tenancy.ids import InvocationId, SessionId


@dataclass(frozen=True, slots=True)
class TraceHeaders:
    """W3C trace context to hand on, already validated."""

    traceparent: str | None = None
    tracestate: str | None = None
    # The caller's span, empty where the trace began here.
    parent_id: str = ""

    @property
    def trace_id(self) -> str:
        """The trace's own id, empty where there is no trace."""
        return (self.traceparent or "")[3:35]

    @property
    def span_id(self) -> str:
        """The id of this hop, empty where there is no trace."""
        return (self.traceparent or "")[36:52]

    @property
    def sampled(self) -> bool:
        """Whether the trace's caller wants it recorded."""
        return self.traceparent is not None and int(self.traceparent[53:55], 16) & 1 == 1


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a tenant asked for, read once at the edge. `body` is the input's JSON, byte for byte."""

    id: InvocationId
    ctx: TenantContext
    agent: AgentVersion
    mode: Mode
    session_id: SessionId
    body: bytes
    trace: TraceHeaders = TraceHeaders()


@dataclass(frozen=True, slots=True)
class AgentChunk:
    """One event of a streamed answer: the agent's own JSON, byte for byte."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AgentError:
    """The agent raised in the middle of its answer; always the last event. `kind` is for logs, never for callers."""

    kind: str


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """What a kit-built agent's models have used so far, as it says between its events; no event of its own."""

    input_tokens: int
    output_tokens: int


AgentEvent = AgentChunk | AgentError | AgentUsage


class Answer(Protocol):
    """An agent's answer that has begun."""

    @property
    def usage(self) -> AgentUsage | None:
        """What a whole answer says that its models used; None where it does not."""
        ...

    async def read(self) -> bytes:
        """Return the whole answer's JSON; raises RuntimeFaultError."""
        ...

    def events(self, offer: Callable[[bytes], bool] | None = None) -> AsyncGenerator[list[AgentEvent], None]:
        """Yield the answer's events as they arrive, those of one read together, an AgentError alone.

        While the generator waits, the data of a chunk that arrives alone may be offered first, without waking anybody:
        what `offer` takes is not yielded. It must not raise. Raises RuntimeFaultError.
        """
        ...


class Invoke(Protocol):
    """Carries an admitted invocation to its agent.

    Entering returns once the answer has begun; leaving closes the connection. Raises RuntimeFaultError.
    """

    def __call__(self, permit: Permit, invocation: Invocation) -> AbstractAsyncContextManager[Answer]:
        """Open the invocation."""
        ...
