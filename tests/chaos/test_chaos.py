"""A short seed of the fault harness: a whole stack is broken for some seconds and loses nothing."""

from pathlib import Path

import pytest

from tests.chaos.harness import run
from tests.chaos.load import BURST
from tests.chaos.report import told

pytestmark = pytest.mark.stack

SEED = 4
JOBS = 12
SECONDS = 10


async def test_a_stack_that_is_broken_for_seconds_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    verdict = await run(SEED, jobs=JOBS, seconds=SECONDS, state=tmp_path / "state")
    assert verdict.wrong == [], told(verdict)
    assert sum(verdict.faults.values()) > 2
    assert sum(verdict.ends.values()) == JOBS + 1
    # A hundred at once under one key, over two gateways: one job, equal answers.
    hundred = verdict.account.histories[0]
    assert (len(hundred.answers), len(set(hundred.answers)), len(set(hundred.accepted))) == (BURST, 1, 1)
    assert "ALL INVARIANTS HOLD" in told(verdict)
