from pathlib import Path

import pytest

from ops.runbooks.page import RunbookInvalidError, RunbookUnknownError, Section, every, find, parsed

PAGE = """\
---
id: "042"
owner: Platform.Operator
severity: page
alarms: [sky-falls, moon-falls]
blast_radius: everybody
---

# The sky

## Trigger
It falls.

## First five minutes

### Look up
Slowly.
```sh
look up
```
```text
sky  …  blue
birds
```
Within 5 s, again until seen. Exit code 6. Undo: look down

## Steps

### Hold it
```sh
hold sky
```
```text
held
```
Within 10 s. Undo: `drop sky`
"""


def test_a_page_is_read_whole() -> None:
    book = parsed(Path("RUNBOOK-042.md"), PAGE)
    assert (book.front.id, book.front.alarms, book.title) == ("042", ("sky-falls", "moon-falls"), "The sky")
    assert book.sections == (Section.TRIGGER, Section.FIRST, Section.STEPS)
    look, hold = book.steps
    assert (look.title, look.script, look.expected) == ("Look up", "look up\n", ("sky  …  blue", "birds"))
    assert (look.within_s, look.again, look.exit_code, look.undo) == (5, True, 6, "look down")
    assert (hold.within_s, hold.again, hold.exit_code, hold.undo) == (10, False, 0, "`drop sky`")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\nid", "id", "front matter"),
        ('"042"', "42", "id: "),
        ("severity: page", "severity: dire", "severity: "),
        ("owner: Platform.Operator\n", "", "owner: "),
        ("# The sky", "The sky", "no title"),
        ("## Steps", "## Stops", "'Stops', which no runbook has"),
        ("```sh\nhold sky\n```\n", "", "'Hold it' has no command"),
        ("```text\nheld\n```\n", "", "'Hold it' has no expected output"),
        ("Within 10 s. Undo: `drop sky`", "Undo: `drop sky`", "no line `Within"),
        ("Within 10 s. Undo: `drop sky`", "Within 10 s.", "no line `Within"),
    ],
)
def test_what_a_page_lacks_is_said(old: str, new: str, said: str) -> None:
    with pytest.raises(RunbookInvalidError, match=r"RUNBOOK-042\.md") as refused:
        parsed(Path("RUNBOOK-042.md"), PAGE.replace(old, new, 1))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ("sky is blue\nbirds", None),
        ("first\n  sky    is   blue  \nother\nbirds\nlast", None),
        ("birds\nsky is blue", "birds"),
        ("sky is grey\nbirds", "sky  …  blue"),
        ("the sky is blue\nbirds", "sky  …  blue"),
        ("", "sky  …  blue"),
    ],
)
def test_what_is_expected_must_be_seen_in_its_order(output: str, missing: str | None) -> None:
    look = parsed(Path("RUNBOOK-042.md"), PAGE).steps[0]
    assert look.missing(output) == missing


def test_runbooks_are_found_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "RUNBOOK-042.md").write_text(PAGE)
    assert find(tmp_path, "42") == find(tmp_path, "042") == every(tmp_path)[0]
    with pytest.raises(RunbookUnknownError, match="runbook list"):
        find(tmp_path, "041")
