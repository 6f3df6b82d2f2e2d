"""Steps in a real shell: what is seen, what is not, and what evidence says of it."""

import os
from pathlib import Path

import pytest

from ops.devstack.layout import Layout
from ops.runbooks.page import RUN, Front, Runbook, Section, Step
from ops.runbooks.rehearsal import keep
from ops.runbooks.run import Evidence, Outcome, Run, StepEvidence
from tenancy.clock import SystemClock

WITHIN_S = 20


def step(script: str, *expected: str, section: Section = Section.STEPS, again: bool = False, exits: int = 0) -> Step:
    return Step(section, script, script, expected, WITHIN_S, again, exits, "nothing")


async def run(folder: Path, *steps: Step) -> Evidence:
    front = Front(id="042", owner="x", severity="page", blast_radius="none")
    book = Runbook(folder / "RUNBOOK-042.md", front, "The sky", "", (), steps)
    told: list[StepEvidence] = []
    running = Run(book, environment="local", version="1", clock=SystemClock(), told=told.append)
    evidence = await running(RUN, {"PATH": os.environ["PATH"]}, folder)
    assert tuple(told) == evidence.steps
    return evidence


async def test_steps_share_a_shell_and_run_in_the_order_of_their_sections(tmp_path: Path) -> None:
    evidence = await run(
        tmp_path,
        step("echo $X\npwd", "1", str(tmp_path), section=Section.VERIFICATION),
        step("say", "hello … there", section=Section.STEPS),
        step("X=1; say() { echo hello all out there; }; say", "hello …", section=Section.REHEARSAL),
        step("cat; echo no input", "no input", section=Section.FIRST),
    )
    assert evidence.outcome is Outcome.SEEN
    assert [each.section for each in evidence.steps] == list(RUN[:4])
    assert None not in (evidence.detected_s, evidence.mitigated_s, evidence.verified_s)


async def test_a_step_that_shows_something_else_ends_the_run(tmp_path: Path) -> None:
    evidence = await run(tmp_path, step("echo drifted", "as it was"), step("touch never", ""))
    assert (evidence.outcome, evidence.steps[0].missing, len(evidence.steps)) == (Outcome.NOT_SEEN, "as it was", 1)
    assert evidence.verified_s is None


@pytest.mark.parametrize("script", ["echo so; false; echo on", "echo so; false | true; echo on", "echo so; echo $NONE"])
async def test_a_command_that_fails_ends_the_run_at_once(tmp_path: Path, script: str) -> None:
    [only] = (await run(tmp_path, step(script, "so"))).steps
    assert (only.outcome, "on" in only.output.splitlines()) == (Outcome.FAILED, False)


async def test_an_exit_code_is_expected_like_an_output(tmp_path: Path) -> None:
    evidence = await run(tmp_path, step("echo so; (exit 6)", "so", exits=6), step("(exit 5)", exits=6))
    assert [each.outcome for each in evidence.steps] == [Outcome.SEEN, Outcome.FAILED]
    assert [each.exit_code for each in evidence.steps] == [6, 5]


async def test_a_step_is_repeated_until_it_is_seen(tmp_path: Path) -> None:
    script = "echo x >> tries; test $(wc -l < tries) = 3 && echo third"
    evidence = await run(tmp_path, step(script, "third", again=True))
    assert (evidence.outcome, (tmp_path / "tries").read_text()) == (Outcome.SEEN, "x\nx\nx\n")


async def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow = Step(Section.STEPS, "wait", "echo $$ > pid; exec tail -f /dev/null", ("never",), 1, False, 0, "nothing")
    evidence = await run(tmp_path, slow)
    assert evidence.outcome is Outcome.TIMED_OUT
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_evidence_is_kept_without_secrets(tmp_path: Path) -> None:
    evidence = await run(tmp_path, step("echo key lg_live_abc123", "key …"))
    path = keep(evidence, Layout(tmp_path))
    assert Evidence.model_validate_json(path.read_bytes()) == evidence
    assert (evidence.steps[0].output, path.name[:4]) == ("key (secret)", "042-")
