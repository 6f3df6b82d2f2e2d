"""Runbooks are whole, and belong to the alarms that send somebody to them."""

import re
from pathlib import Path

import pytest

from ops.runbooks.page import OPTIONAL, Runbook, Section, every, parsed
from ops.runbooks.rehearsal import FOLDER
from tests.docs.papers import Page

BOOKS = every(FOLDER)
WITH_STEPS = {Section.FIRST, Section.STEPS, Section.VERIFICATION}
STEP = "### Hold\n```sh\nhold $SKY\n```\n```text\nheld\n```\nWithin 1 s. Undo: drop\n"


def faults(book: Runbook) -> list[str]:
    """Return what a runbook lacks beyond what reading it refuses."""
    wanted = [section for section in Section if section in book.sections or section not in OPTIONAL]
    found = [] if list(book.sections) == wanted else [f"its sections are not {', '.join(wanted)}, in this order"]
    page = Page(book.path.name, book.text)
    found += [f"{section} says nothing" for section in book.sections if not page.section(section)]
    found += [f"{section} has no step" for section in WITH_STEPS - {step.section for step in book.steps}]
    if book.path.name != f"RUNBOOK-{book.front.id}.md":
        found.append("its id is not its name's")
    if book.front.severity != "routine" and not book.front.alarms:
        found.append("no alarm leads to it, and it is no routine")
    used = {name for step in book.steps for name in re.findall(r"\$\{?([A-Z]+)", step.script)}
    found += [f"needs {name}, and no step uses it" for name in book.front.needs if name not in used]
    return found


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.front.id)
def test_every_runbook_is_whole(book: Runbook) -> None:
    assert faults(book) == []


GOOD = f"""\
---
id: "042"
owner: x
severity: page
alarms: [sky-falls]
blast_radius: none
needs: [SKY]
---

# The sky

{"".join(f"## {section}{chr(10)}So.{chr(10)}{STEP if section in WITH_STEPS else ''}{chr(10)}" for section in Section)}
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## Impact\nSo.\n", "", "its sections are not "),
        ("## Impact\nSo.\n", "## Impact\n", "Impact says nothing"),
        (STEP, "", "First five minutes has no step"),
        ('"042"', '"041"', "its id is not its name's"),
        ("alarms: [sky-falls]\n", "", "no alarm leads to it"),
        ("[SKY]", "[SKY, MOON]", "needs MOON, and no step uses it"),
    ],
)
def test_a_faulty_runbook_is_found(old: str, new: str, fault: str) -> None:
    assert faults(parsed(Path("RUNBOOK-042.md"), GOOD)) == []
    [found] = faults(parsed(Path("RUNBOOK-042.md"), GOOD.replace(old, new, 1)))
    assert found.startswith(fault)
