"""The interceptors in their order, each one's decision told, and a crash of any refused for what it guards.

An interceptor that is not bound is not called: without a redactor an answer is not even looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from gateway.interceptors.decisions import Decision, OnDecision, Outcome
from gateway.interceptors.errors import (
    InterceptorFailedError,
    PatternRefusedError,
    RedactionBlockedError,
    SchemaRefusedError,
)
from gateway.interceptors.input_schema import InputSchema
from gateway.interceptors.prompt_guard import PromptGuard, guard_prompt
from gateway.interceptors.redact import Blocked, Redactor
from gateway.interceptors.redact_stream import StreamRedactor
from tenancy.errors import LockgateError

INPUT_SCHEMA: Final = "input_schema"
PROMPT_GUARD: Final = "prompt_guard"
REDACT: Final = "redact"
# What an input passes on its way in, and an answer on its way out.
REQUEST_ORDER: Final = (INPUT_SCHEMA, PROMPT_GUARD)
RESPONSE_ORDER: Final = (REDACT,)
# Some 40 ms of work at worst, 0.2 as a rule; what is longer is judged while everything else goes on.
AT_ONCE_BYTES: Final = 4096
T = TypeVar("T")


class Write(Protocol):
    """Writes events, those that come together together."""

    def __call__(self, *events: bytes) -> Awaitable[None]:
        """Return once they are written."""
        ...


@dataclass(frozen=True, slots=True)
class Chain:
    """What is bound for one tenant and agent; `decided` is told every decision."""

    decided: OnDecision
    schema: InputSchema | None = None
    guard: PromptGuard | None = None
    redactor: Redactor | None = None

    def request(self, input_json: bytes) -> None:
        """Let an input pass; raises FieldsInvalidError, PromptRefusedError and InterceptorFailedError."""
        schema, guard = self.schema, self.guard
        bound: dict[str, Callable[[], None] | None] = {
            INPUT_SCHEMA: None if schema is None else lambda: schema.check(input_json),
            PROMPT_GUARD: None if guard is None else lambda: guard_prompt(guard, input_json),
        }
        for name in REQUEST_ORDER:
            step = bound[name]
            if step is not None:
                guarded(name, self.decided, step)
                self.decided(Decision(name, Outcome.PASSED))

    async def requested(self, input_json: bytes) -> None:
        """Do the same as `request`; a long input is judged while everything else goes on."""
        if len(input_json) <= AT_ONCE_BYTES:
            self.request(input_json)
        else:
            await asyncio.to_thread(self.request, input_json)

    def answer(self, json_bytes: bytes) -> bytes:
        """Return a whole answer as it may go out; raises RedactionBlockedError and InterceptorFailedError."""
        redactor = self.redactor
        if redactor is None:
            return json_bytes

        def redact() -> bytes:
            verdict = redactor.whole(json_bytes)
            if isinstance(verdict, Blocked):
                raise RedactionBlockedError(verdict.kind)
            return verdict

        passed = guarded(REDACT, self.decided, redact)
        changed = passed is not json_bytes
        self.decided(Decision(REDACT, Outcome.CHANGED if changed else Outcome.PASSED))
        return passed

    async def answered(self, json_bytes: bytes) -> bytes:
        """Return the same as `answer`; a long one is looked at while everything else goes on."""
        if len(json_bytes) <= AT_ONCE_BYTES:
            return self.answer(json_bytes)
        return await asyncio.to_thread(self.answer, json_bytes)

    def stream(self) -> "StreamChain | None":
        """Return what a streamed answer's events pass, None where they pass untouched."""
        return None if self.redactor is None else StreamChain(self.redactor.stream(), self.decided)


class StreamChain:
    """What one streamed answer's events pass. It tells its decision once: when the answer ends, is refused or cut off.

    Leaving it drops what still waits: what was cut off goes no further.
    """

    def __init__(self, redactor: StreamRedactor, decided: OnDecision) -> None:
        self._redactor = redactor
        self._decided = decided
        self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if not self._told:
            self._tell(self._so_far("cut_off"))

    def feed(self, event_json: bytes) -> list[bytes]:
        """Return the events that may go out now; raises RedactionBlockedError and InterceptorFailedError."""
        return guarded(REDACT, self._tell, lambda: self._redactor.feed(event_json))

    async def through(self, events: Sequence[bytes], write: Write) -> None:
        """Write what may go out now that these have come; raises the same, once what came before is written.

        Long ones are judged while everything else goes on.
        """
        at_once = sum(map(len, events)) <= AT_ONCE_BYTES
        out, refused = self._fed(events) if at_once else await asyncio.to_thread(self._fed, events)
        if out:
            await write(*out)
        if refused is not None:
            raise refused

    def finish(self) -> list[bytes]:
        """Return what still waited; the answer is complete. Raises the same."""
        rest = guarded(REDACT, self._tell, self._redactor.finish)
        self._tell(self._so_far())
        return rest

    def _fed(self, events: Sequence[bytes]) -> tuple[list[bytes], LockgateError | None]:
        out: list[bytes] = []
        for event in events:
            try:
                out += self.feed(event)
            except LockgateError as refused:
                return out, refused
        return out, None

    def _so_far(self, reason: str | None = None) -> Decision:
        matches = self._redactor.matches
        return Decision(REDACT, Outcome.CHANGED if matches else Outcome.PASSED, reason, matches)

    def _tell(self, decision: Decision) -> None:
        self._told = True
        self._decided(decision)


def guarded(name: str, decided: OnDecision, step: Callable[[], T]) -> T:
    """Run an interceptor: a refusal is told and raised again, a crash becomes InterceptorFailedError."""
    try:
        return step()
    except InterceptorFailedError as failed:
        decided(Decision(name, Outcome.FAILED, failed.code))
        raise
    except (PatternRefusedError, SchemaRefusedError) as unusable:
        decided(Decision(name, Outcome.FAILED, unusable.code))
        raise InterceptorFailedError(name) from unusable
    except LockgateError as refused:
        decided(Decision(name, Outcome.REFUSED, _reason(refused)))
        raise
    except Exception as crash:
        decided(Decision(name, Outcome.FAILED, type(crash).__name__))
        raise InterceptorFailedError(name) from crash


def _reason(refused: LockgateError) -> str:
    return refused.kind if isinstance(refused, RedactionBlockedError) else refused.code
