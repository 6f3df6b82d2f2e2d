"""Runbooks are whole, and belong to the alarms that send somebody to them."""

import re
from pathlib import Path

import pytest

from ops.alarms.catalogue import catalogue
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


def strayed(alarms: dict[str, str], books: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the alarms that lead to no runbook, or to one that does not name them, and the other way round."""
    found = [
        f"{alarm} leads to {book}, which does not name it"
        for alarm, book in alarms.items()
        if alarm not in books.get(book, ())
    ]
    named = [(book, alarm) for book, names in books.items() for alarm in names]
    return found + [
        f"{book} names {alarm}, which does not lead to it" for book, alarm in named if alarms.get(alarm) != book
    ]


def test_alarms_and_runbooks_name_each_other() -> None:
    alarms = {alarm.name: alarm.runbook for alarm in catalogue()}
    assert strayed(alarms, {book.front.id: book.front.alarms for book in BOOKS}) == []


def test_an_alarm_or_a_runbook_that_stands_alone_is_found() -> None:
    assert strayed({"a": "001", "b": "002"}, {"001": ("c",), "002": ("b",)}) == [
        "a leads to 001, which does not name it",
        "001 names c, which does not lead to it",
    ]


def test_there_are_the_nine() -> None:
    assert [book.front.id for book in BOOKS] == [f"{number:03}" for number in range(9)]


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
