"""Markdown pages as the checks read them: headings, links, code, tables."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from tests.architecture.tree import ROOT, files

FENCE = re.compile(r"^(```+)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """One Markdown file; `path` is relative to the repository."""

    path: str
    text: str

    @property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return FENCE.sub("", self.text)

    @property
    def code(self) -> list[str]:
        """Every code span and every line of every fenced block."""
        fenced = [line for block in FENCE.finditer(self.text) for line in block.group(2).splitlines()]
        return SPAN.findall(self.prose) + fenced

    @property
    def spans(self) -> list[str]:
        """Every inline code span."""
        return SPAN.findall(self.prose)

    @property
    def links(self) -> list[str]:
        """Every link's target outside code."""
        return LINK.findall(SPAN.sub("", self.prose))

    @property
    def anchors(self) -> set[str]:
        """The fragments its headings answer to."""
        return {slug(heading) for heading in re.findall(r"^#+ +(.+?) *$", self.prose, re.MULTILINE)}

    def section(self, title: str) -> str | None:
        """Return what stands under a second-level heading; None where there is none."""
        found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", self.text, re.MULTILINE | re.DOTALL)
        return found.group(1).strip() if found else None

    def rows(self) -> list[list[str]]:
        """Return the cells of every table row whose first cell is code."""
        lines = [line for line in self.text.splitlines() if line.startswith("| `")]
        return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def slug(heading: str) -> str:
    """Return the fragment of a heading, as code hosts form it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


@cache
def pages() -> dict[str, Page]:
    """Every Markdown page by its path."""
    return {path: Page(path, (ROOT / path).read_text()) for path in files() if path.endswith(".md")}


def broken_links(page: Page, known: dict[str, Page], existing: set[str]) -> list[str]:
    """Return the links of a page that lead nowhere in the repository."""
    broken = []
    for link in page.links:
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        target, _, fragment = link.partition("#")
        path = _join(page.path, target) if target else page.path
        anchored = known.get(path, page if path == page.path else None)
        if path not in existing or (fragment and (anchored is None or fragment not in anchored.anchors)):
            broken.append(link)
    return broken


def existing_paths() -> set[str]:
    """Every file and folder of the repository."""
    return {*files(), *(str(parent) for path in files() for parent in PurePosixPath(path).parents)}


def _join(page: str, target: str) -> str:
    parts: list[str] = []
    for part in (*PurePosixPath(page).parent.parts, *PurePosixPath(target).parts):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."
