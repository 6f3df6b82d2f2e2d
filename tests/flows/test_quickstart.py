"""The tenants' quick start: every snippet of every language, run on a running stack."""

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tenancy.tiers import LIMITS, Tier
from tests.docs.papers import pages
from tests.docs.tour import JAVASCRIPT, PYTHON, SHELL, settled, steps, walk
from tests.flows.conftest import Caller

pytestmark = pytest.mark.stack

PAGE = pages()["docs/QUICKSTART.md"]
SECTIONS = {"curl": SHELL, "Python": PYTHON, "JavaScript": JAVASCRIPT}
# Sets up, and asks with patience.
PATIENT = {"curl": (0, -1), "Python": (0, 1), "JavaScript": (0, 1)}
REFUSED = re.compile(r'^lockgate_problems_total\{code="concurrency_limit"\} (\S+)', re.MULTILINE)


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    """Return a folder that looks like the checkout of the running stack."""
    (tmp_path / ".lockgate").symlink_to(stack.layout.state)
    return tmp_path


def variables(stack: Stack, tenant: str) -> dict[str, str]:
    return {"LOCKGATE_URL": stack.gateway, "LOCKGATE_TOKEN": stack.tenants[TenantId(tenant)].token}


async def refusals(stack: Stack) -> float:
    """Return how many requests were refused for want of a slot."""
    async with ClientSession() as session, session.get(f"{stack.private}/metrics") as answer:
        found = REFUSED.search(await answer.text())
    return 0.0 if found is None else float(found[1])


async def hold_a_slot(caller: Caller, held: asyncio.Event) -> None:
    """Stream until cancelled; tell when the slot is held."""
    async for _ in caller.stream(caller.echo(chunks=2, delayMs=3_000_000)):
        held.set()


async def test_the_page_begins_with_the_local_stack(stack: Stack, folder: Path) -> None:
    [(script, _)] = steps(PAGE, "Before you begin")
    script = script.replace("http://127.0.0.1:8080", stack.gateway)
    [said] = await walk([f'{script}echo "$LOCKGATE_URL $LOCKGATE_TOKEN"'], folder)
    assert said.split() == list(variables(stack, "acme").values())


@pytest.mark.parametrize("section", SECTIONS)
async def test_every_snippet_does_what_it_shows(stack: Stack, folder: Path, section: str) -> None:
    language = SECTIONS[section]
    tour = steps(PAGE, section, language)
    outputs = await walk([script for script, _ in tour], folder, language, variables(stack, "acme"))
    assert len(outputs) >= 7
    assert [settled(output) for output in outputs] == [settled(shown) for _, shown in tour]


@pytest.mark.parametrize("section", SECTIONS)
async def test_a_refused_call_waits_and_goes_through(stack: Stack, folder: Path, globex: Caller, section: str) -> None:
    language, before = SECTIONS[section], await refusals(stack)
    patient = [steps(PAGE, section, language)[index] for index in PATIENT[section]]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        held = [asyncio.Event() for _ in range(LIMITS[Tier.BASIC].concurrent_streams)]
        streams = [group.create_task(hold_a_slot(globex, event)) for event in held]
        await asyncio.gather(*(event.wait() for event in held))
        asking = group.create_task(
            walk([script for script, _ in patient], folder, language, variables(stack, "globex"))
        )
        while await refusals(stack) == before:
            await asyncio.sleep(0.05)
        for stream in streams:
            stream.cancel()
    assert settled(asking.result()[-1]) == settled(patient[-1][1])
