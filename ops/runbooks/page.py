"""A runbook as it is read from its page: what it is for, and its steps.

    ### Suspend the tenant
    ```sh
    lockgate tenant suspend "$TENANT" --reason "budget spent"
    ```
    ```text
    status … suspended …
    ```
    Within 10 s. Undo: `lockgate tenant reinstate "$TENANT" --reason "…"`

A step says what to type, what must be seen (`…` stands for anything), how long that may take and how it is undone.
`Within 20 s, again until seen.` has it repeated; `Exit code 6.` after that says how it ends.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenancy.errors import LockgateError


class RunbookInvalidError(LockgateError):
    """A runbook's page is not one; says where."""

    code = "runbook_invalid"


class RunbookUnknownError(LockgateError):
    """There is no such runbook."""

    code = "runbook_unknown"


class Section(StrEnum):
    """The sections of a page, in their order."""

    TRIGGER = "Trigger"
    IMPACT = "Impact"
    REHEARSAL = "Rehearsal"
    FIRST = "First five minutes"
    STEPS = "Steps"
    VERIFICATION = "Verification"
    TIDYING = "After a rehearsal"
    ROLLBACK = "Rollback"
    ESCALATION = "Escalation"
    EVIDENCE = "Evidence"


# A routine has no fault to rehearse.
OPTIONAL: Final = frozenset({Section.REHEARSAL, Section.TIDYING})
REHEARSED: Final = frozenset({Section.REHEARSAL, Section.TIDYING})
RUN: Final = (Section.REHEARSAL, Section.FIRST, Section.STEPS, Section.VERIFICATION, Section.TIDYING)

_FRONT: Final = re.compile(r"\A---\n(?P<fields>.*?)^---\n", re.MULTILINE | re.DOTALL)
_TITLE: Final = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
_SECTION: Final = re.compile(r"^## (?P<title>.+?) *\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_STEP: Final = re.compile(r"^### (?P<title>.+?) *\n(?P<text>.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
_FENCE: Final = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TERMS: Final = re.compile(
    r"^Within (?P<within>\d+) s(?P<again>, again until seen)?\."
    r"(?: Exit code (?P<exit>\d+)\.)? Undo: (?P<undo>.+)$",
    re.MULTILINE,
)
_WILD: Final = "…"


class Front(BaseModel):
    """The page's front matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^\d{3}$")
    owner: str
    severity: str = Field(pattern=r"^(page|ticket|routine)$")
    alarms: tuple[str, ...] = ()
    blast_radius: str
    last_validated: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\d$")
    # What has to be known before the first step: names of shell variables.
    needs: tuple[str, ...] = ()
    # Where its steps can be run as they stand.
    runs: str = Field("local", pattern=r"^(local|by hand)$")


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a script, and the lines that must be seen in this order."""

    section: Section
    title: str
    script: str
    expected: tuple[str, ...]
    within_s: int
    again: bool
    exit_code: int
    undo: str

    def missing(self, output: str) -> str | None:
        """Return the first expected line that the output does not show, None where it shows all."""
        lines = iter([" ".join(line.split()) for line in output.splitlines()])
        for line in self.expected:
            wanted = re.compile(".*".join(map(re.escape, " ".join(line.split()).split(_WILD))))
            if not any(wanted.fullmatch(shown) for shown in lines):
                return line
        return None


@dataclass(frozen=True, slots=True)
class Runbook:
    """One runbook."""

    path: Path
    front: Front
    title: str
    text: str
    sections: tuple[Section, ...]
    steps: tuple[Step, ...]


def read(path: Path) -> Runbook:
    """Return the runbook of a page; raises RunbookInvalidError."""
    return parsed(path, path.read_text())


def parsed(path: Path, text: str) -> Runbook:
    """Return the runbook a text is; raises RunbookInvalidError."""
    front, title = _front(path, text), _TITLE.search(text)
    if title is None:
        raise RunbookInvalidError(f"{path.name} has no title")
    found: list[Section] = []
    steps: list[Step] = []
    for section in _SECTION.finditer(text):
        try:
            kind = Section(section["title"])
        except ValueError:
            raise RunbookInvalidError(f"{path.name} has a section {section['title']!r}, which no runbook has") from None
        found.append(kind)
        steps += [_step(path, kind, step["title"], step["text"]) for step in _STEP.finditer(section["text"])]
    return Runbook(path, front, title["title"], text, tuple(found), tuple(steps))


def find(folder: Path, number: str) -> Runbook:
    """Return a runbook by its number, `6` as well as `006`; raises RunbookUnknownError, RunbookInvalidError."""
    path = folder / f"RUNBOOK-{number.zfill(3)}.md"
    if not path.is_file():
        raise RunbookUnknownError(f"there is no runbook {number}; `lockgate runbook list` shows all")
    return read(path)


def every(folder: Path) -> tuple[Runbook, ...]:
    """Return every runbook, by number; raises RunbookInvalidError."""
    return tuple(map(read, sorted(folder.glob("RUNBOOK-*.md"))))


def _front(path: Path, text: str) -> Front:
    matter = _FRONT.match(text)
    if matter is None:
        raise RunbookInvalidError(f"{path.name} does not begin with front matter")
    fields: dict[str, object] = {}
    for line in matter["fields"].splitlines():
        name, _, value = line.partition(": ")
        listed = value.startswith("[") and value.endswith("]")
        fields[name] = [one.strip() for one in value[1:-1].split(",") if one.strip()] if listed else value.strip('"')
    try:
        return Front.model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RunbookInvalidError(f"{path.name}: {faults}") from error


def _step(path: Path, section: Section, title: str, text: str) -> Step:
    fences = {fence["kind"]: fence["text"] for fence in _FENCE.finditer(text)}
    terms = _TERMS.search(_FENCE.sub("", text))
    expected = tuple(line for line in fences.get("text", "").splitlines() if line.strip())
    for fault in (
        "no command" if not fences.get("sh", "").strip() else None,
        "no expected output" if not expected else None,
        "no line `Within … s. Undo: …`" if terms is None else None,
    ):
        if fault is not None:
            raise RunbookInvalidError(f"{path.name}: step {title!r} has {fault}")
    assert terms is not None  # noqa: S101 - said above
    return Step(
        section=section,
        title=title,
        script=fences["sh"],
        expected=expected,
        within_s=int(terms["within"]),
        again=terms["again"] is not None,
        exit_code=int(terms["exit"] or 0),
        undo=terms["undo"],
    )
