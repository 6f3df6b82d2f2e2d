"""Runs a runbook step by step and keeps evidence of it: what was typed, what was seen, how long it took.

The first step that does not show what its page says ends the run: a page that has drifted is no runbook any more.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from ops.runbooks.page import RUN, Runbook, Section, Step
from ops.runbooks.shell import Shell, ShellEndedError, shell
from ops.telemetry import without_secrets
from tenancy.clock import Clock

# What evidence keeps of an output.
_KEPT: Final = 8_000
_AGAIN_S: Final = 0.3


class Outcome(StrEnum):
    """How a step, or a run, ended."""

    SEEN = "seen"
    NOT_SEEN = "not_seen"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class _Evidence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class StepEvidence(_Evidence):
    """What became of one step; `missing` is the first expected line that was not seen."""

    section: Section
    title: str
    script: str
    output: str
    exit_code: int | None
    took_s: float
    outcome: Outcome
    missing: str | None = None


class Evidence(_Evidence):
    """What became of a run; the times are seconds from the injected fault, or from the first step."""

    runbook: str
    title: str
    environment: str
    version: str
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    detected_s: float | None
    mitigated_s: float | None
    verified_s: float | None
    steps: tuple[StepEvidence, ...]


Told = Callable[[StepEvidence], None]
Ask = Callable[[Step], bool]


class Run:
    """One run of a runbook; `told` hears of each step, `may` is asked before it."""

    def __init__(
        self, book: Runbook, *, environment: str, version: str, clock: Clock, told: Told, may: Ask = lambda _: True
    ) -> None:
        self._book: Final = book
        self._environment: Final = environment
        self._version: Final = version
        self._clock: Final = clock
        self._told: Final = told
        self._may: Final = may

    async def __call__(self, sections: tuple[Section, ...], variables: Mapping[str, str], folder: Path) -> Evidence:
        """Run these sections' steps in one shell with these variables, until one does not show what it should."""
        started_at, steps, ends = self._clock.now(), list[StepEvidence](), dict[Section, float]()
        began_s = self._clock.monotonic()
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(shell(variables, folder))
            for step in self._steps(sections):
                if not self._may(step):
                    break
                steps.append(await self._step(running, step))
                self._told(steps[-1])
                if steps[-1].outcome is not Outcome.SEEN:
                    break
                ends[step.section] = self._clock.monotonic()
        began_s = ends.get(Section.REHEARSAL, began_s)
        return Evidence(
            runbook=self._book.front.id,
            title=self._book.title,
            environment=self._environment,
            version=self._version,
            started_at=started_at,
            ended_at=self._clock.now(),
            outcome=next((step.outcome for step in steps if step.outcome is not Outcome.SEEN), Outcome.SEEN),
            detected_s=_since(began_s, ends.get(Section.FIRST)),
            mitigated_s=_since(began_s, ends.get(Section.STEPS)),
            verified_s=_since(began_s, ends.get(Section.VERIFICATION)),
            steps=tuple(steps),
        )

    def _steps(self, sections: tuple[Section, ...]) -> list[Step]:
        return [step for section in RUN if section in sections for step in self._book.steps if step.section is section]

    async def _step(self, running: Shell, step: Step) -> StepEvidence:
        began_s = self._clock.monotonic()
        output, exit_code, outcome, missing = "", None, Outcome.TIMED_OUT, None
        try:
            async with asyncio.timeout(step.within_s):
                while outcome is not Outcome.SEEN:
                    output, exit_code = await running.run(step.script, may_fail=step.again or step.exit_code != 0)
                    missing = step.missing(output)
                    outcome = _outcome(step, exit_code, missing)
                    if not step.again:
                        break
                    await self._clock.sleep(0 if outcome is Outcome.SEEN else _AGAIN_S)
        except TimeoutError:
            outcome = Outcome.TIMED_OUT
        except ShellEndedError as ended:
            output, exit_code, missing = ended.output, ended.exit_code, step.missing(ended.output)
            outcome = Outcome.FAILED
        return StepEvidence(
            section=step.section,
            title=step.title,
            script=step.script,
            output=without_secrets(output)[-_KEPT:],
            exit_code=exit_code,
            took_s=round(self._clock.monotonic() - began_s, 2),
            outcome=outcome,
            missing=None if outcome is Outcome.SEEN else missing,
        )


def _outcome(step: Step, exit_code: int, missing: str | None) -> Outcome:
    if exit_code != step.exit_code:
        return Outcome.FAILED
    return Outcome.SEEN if missing is None else Outcome.NOT_SEEN


def _since(began_s: float, end_s: float | None) -> float | None:
    return None if end_s is None else round(end_s - began_s, 2)
