"""A decision record says what was decided, what was not and why, and which test would notice its breach."""

import re

import pytest

from tests.architecture.tree import ROOT, files
from tests.docs.papers import Page, pages

RECORDS = sorted(path for path in files() if re.fullmatch(r"adr/\d{3}-[a-z0-9-]+\.md", path))
SECTIONS = ("Context", "Decision", "Options weighed", "Consequences", "Confirmed by")


def faults(page: Page, definitions: dict[str, str]) -> list[str]:
    """Return what a record lacks; `definitions` maps each test file to its text."""
    found = [f"no section {title}" for title in SECTIONS if not page.section(title)]
    number = page.path.removeprefix("adr/")[:3]
    if not re.match(rf"# {number} [A-Za-z]", page.text):
        found.append("title does not begin with its number")
    if not re.search(
        r"^Status: (?:proposed|accepted|superseded by \[\d{3}\]\([^)]+\)) · \d{4}-\d\d-\d\d$", page.text, re.MULTILINE
    ):
        found.append("no status and date")
    if len(re.findall(r"^- \*\*.+?\*\*.*: ", page.section("Options weighed") or "", re.MULTILINE)) < 2:
        found.append("fewer than two options with a reason")
    consequences = page.section("Consequences") or ""
    found += [
        f"no consequence that begins with {side}" for side in ("Good: ", "Bad: ") if f"- {side}" not in consequences
    ]
    tests = re.findall(r"`(tests/[\w/-]+\.py)(?:::(\w+))?`", page.section("Confirmed by") or "")
    if not tests:
        found.append("names no test")
    found += [
        f"{path}::{name} does not exist" if name else f"{path} does not exist"
        for path, name in tests
        if path not in definitions or (name and f"def {name}(" not in definitions[path])
    ]
    return found


def definitions() -> dict[str, str]:
    return {path: (ROOT / path).read_text() for path in files() if path.startswith("tests/") and path.endswith(".py")}


@pytest.mark.parametrize("path", RECORDS)
def test_every_record_is_whole(path: str) -> None:
    assert faults(pages()[path], definitions()) == []


def test_numbers_are_unique_and_indexed() -> None:
    numbers = [path[4:7] for path in RECORDS]
    assert len(set(numbers)) == len(numbers)
    assert pages()["adr/README.md"].links == [path.removeprefix("adr/") for path in RECORDS]


GOOD = """\
# 001 Doors

Status: accepted · 2026-11-23

## Context
Why.

## Decision
What.

## Options weighed
- **One door** (chosen): simple.
- **Two doors**: draughty.

## Consequences
- Good: warm.
- Bad: one way out.

## Confirmed by
`tests/test_door.py::test_it_shuts`
"""
TESTS = {"tests/test_door.py": "def test_it_shuts() -> None: ..."}


def test_a_whole_record_has_no_faults() -> None:
    assert faults(Page("adr/001-doors.md", GOOD), TESTS) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## Decision\nWhat.\n\n", "", "no section Decision"),
        ("# 001", "# 002", "title does not begin with its number"),
        ("Status: accepted", "Status: perhaps", "no status and date"),
        ("- **Two doors**: draughty.\n", "", "fewer than two options with a reason"),
        ("- Bad: one way out.\n", "", "no consequence that begins with Bad: "),
        ("`tests/test_door.py::test_it_shuts`", "Trust.", "names no test"),
        ("test_it_shuts", "test_it_opens", "tests/test_door.py::test_it_opens does not exist"),
        ("tests/test_door.py", "tests/test_gate.py", "tests/test_gate.py::test_it_shuts does not exist"),
    ],
)
def test_a_faulty_record_is_found(old: str, new: str, fault: str) -> None:
    assert faults(Page("adr/001-doors.md", GOOD.replace(old, new)), TESTS) == [fault]
