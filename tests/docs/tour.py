"""A page's tour: its steps, what it shows of their output, and an interpreter that runs them."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.papers import Page

MARK = "--- next step ---"
# What differs from run to run.
CHANCE = (
    (re.compile(r"\b(inv|ses|job|req)_[0-9a-z]+…?"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "…"),
)


@dataclass(frozen=True, slots=True)
class Language:
    """What steps are written in: the name on their fences, what runs a program, and how it prints a line."""

    fence: str
    command: tuple[str, ...]
    print: str

    @property
    def between(self) -> str:
        """The statement that marks where one step ends."""
        return f"\n{self.print % ''}\n{self.print % MARK}\n"


SHELL = Language("sh", ("bash", "-eu", "-o", "pipefail", "-c"), "echo '%s'")
PYTHON = Language("python", (sys.executable, "-c"), "print('%s')")
JAVASCRIPT = Language("js", ("node", "--input-type=module", "-e"), "console.log('%s')")


def steps(page: Page, section: str, language: Language = SHELL) -> list[tuple[str, str]]:
    """Return each step's script and the output shown, empty where none is."""
    step = rf"^```{language.fence}\n(?P<script>.*?)^```$(?:\n```text\n(?P<shown>.*?)^```$)?"
    found = re.finditer(step, page.section(section) or "", re.MULTILINE | re.DOTALL)
    return [(match["script"], match["shown"] or "") for match in found]


def settled(output: str) -> str:
    """Return an output without what differs from run to run."""
    for pattern, stand_in in CHANCE:
        output = pattern.sub(stand_in, output)
    return output.strip()


async def walk(
    scripts: list[str], folder: Path, language: Language = SHELL, variables: Mapping[str, str] | None = None
) -> list[str]:
    """Run the scripts one after the other in one process; return each one's output."""
    process = await asyncio.create_subprocess_exec(
        *language.command,
        language.between.join(scripts),
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | dict(variables or {}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode().split(f"\n{MARK}\n")
