"""Every runbook that can be run is run on the local stack: its fault injected, detected, mitigated, verified."""

import asyncio
from collections.abc import Iterator

import pytest

from ops.devstack.stack import Stack
from ops.runbooks.commands import commands
from ops.runbooks.page import Runbook, every
from ops.runbooks.rehearsal import FOLDER, Rehearsals, keep
from ops.runbooks.run import Outcome
from ops.settings import DevSettings
from tenancy.clock import SystemClock
from tests.flows.conftest import watched_stack

pytestmark = pytest.mark.stack

RUNNABLE = [book for book in every(FOLDER) if book.front.runs == "local"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a platform that nothing else has used: the pages say what a quiet one shows."""
    with watched_stack(tmp_path_factory.mktemp("runbooks")) as running:
        yield running


@pytest.fixture(scope="module")
def rehearse(stack: Stack) -> Iterator[Rehearsals]:
    """Return what runs runbooks on the stack; the commands' process is the module's."""
    inherited = DevSettings().inherited
    assert stack.dev is not None
    with asyncio.Runner() as runner:
        warm = commands(inherited)
        folder = runner.run(warm.__aenter__())
        yield Rehearsals(stack.dev, stack.layout, inherited, folder, SystemClock())
        runner.run(warm.__aexit__(None, None, None))


@pytest.mark.parametrize("book", RUNNABLE, ids=lambda book: book.front.id)
async def test_it_shows_what_its_page_says(book: Runbook, rehearse: Rehearsals, stack: Stack) -> None:
    evidence = await rehearse(book, lambda _: None)
    last = evidence.steps[-1]
    assert (evidence.outcome, last.missing) == (Outcome.SEEN, None), last.model_dump_json(indent=2)
    assert keep(evidence, stack.layout).exists()
