"""The interceptors in their order, each one's decision told, and a crash of any refused for what it guards.

An interceptor that is not bound is not called: without a redactor an answer is not even looked at.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.interceptors.decisions import Decision, OnDecision, Outcome
from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
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
# Up to some milliseconds of work.
AT_ONCE_BYTES: Final = 65_536
T = TypeVar("T")


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
    """What one streamed answer's events pass. It tells its decision once, when the answer ends or is refused."""

    def __init__(self, redactor: StreamRedactor, decided: OnDecision) -> None:
        self._redactor = redactor
        self._decided = decided

    def feed(self, event_json: bytes) -> list[bytes]:
        """Return the events that may go out now; raises RedactionBlockedError and InterceptorFailedError."""
        return guarded(REDACT, self._decided, lambda: self._redactor.feed(event_json))

    def passed(self, events: Sequence[bytes]) -> list[bytes]:
        """Return what may go out now that these have come; raises the same."""
        return [out for event in events for out in self.feed(event)]

    def finish(self) -> list[bytes]:
        """Return what still waited; the answer is complete. Raises the same."""
        rest = guarded(REDACT, self._decided, self._redactor.finish)
        matches = self._redactor.matches
        self._decided(Decision(REDACT, Outcome.CHANGED if matches else Outcome.PASSED, matches=matches))
        return rest


def guarded(name: str, decided: OnDecision, step: Callable[[], T]) -> T:
    """Run an interceptor: a refusal is told and raised again, a crash becomes InterceptorFailedError."""
    try:
        return step()
    except InterceptorFailedError as failed:
        decided(Decision(name, Outcome.FAILED, failed.code))
        raise
    except LockgateError as refused:
        decided(Decision(name, Outcome.REFUSED, _reason(refused)))
        raise
    except Exception as crash:
        decided(Decision(name, Outcome.FAILED, type(crash).__name__))
        raise InterceptorFailedError(name) from crash


def _reason(refused: LockgateError) -> str:
    return refused.kind if isinstance(refused, RedactionBlockedError) else refused.code
