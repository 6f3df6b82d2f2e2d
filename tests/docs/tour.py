"""The README's tour: its commands, what it shows of their output, and a shell that runs them."""

import asyncio
import re
from pathlib import Path

from tests.docs.papers import Page

STEP = re.compile(r"^```sh\n(?P<script>.*?)^```$(?:\n```text\n(?P<shown>.*?)^```$)?", re.MULTILINE | re.DOTALL)
# What differs from run to run.
CHANCE = (
    (re.compile(r"\b(inv|ses|job|req)_[0-9a-z]+…?"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "…"),
)


def steps(page: Page, section: str) -> list[tuple[str, str]]:
    """Return each step's script and the output shown, empty where none is."""
    found = STEP.finditer(page.section(section) or "")
    return [(step["script"], step["shown"] or "") for step in found]


def settled(output: str) -> str:
    """Return an output without what differs from run to run."""
    for pattern, stand_in in CHANCE:
        output = pattern.sub(stand_in, output)
    return output.strip()


async def walk(scripts: list[str], folder: Path) -> list[str]:
    """Run the scripts one after the other in one shell; return each one's output."""
    mark = "--- next step ---"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", f"\necho; echo '{mark}'\n".join(scripts)),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode().split(f"\n{mark}\n")
