"""The repository as the rules see it: the files git knows or would add, and the modules among them."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("agents", "gateway", "jobs", "ops", "tenancy", "webhooks")
# Distributions and environments of their own: the house's import and time rules end at their door.
OUTSIDE_THE_WHEEL = ("agents/kit/", "agents/echo-agent/", "agents/tool-agent/")


@dataclass(frozen=True)
class Module:
    """One Python file; `path` is relative to the repository, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree: walked once, for many rules ask for them."""
        return tuple(ast.walk(self.tree))

    @property
    def in_wheel(self) -> bool:
        return self.path.split("/")[0] in PACKAGES and not self.path.startswith(OUTSIDE_THE_WHEEL)

    @property
    def in_product(self) -> bool:
        return self.path.split("/")[0] in PACKAGES

    @property
    def in_tests(self) -> bool:
        return self.path.startswith("tests/")


@cache
def files() -> tuple[str, ...]:
    """Paths of all tracked files and of new ones that git does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(sorted(path for path in set(listing.split("\0")) if path and (ROOT / path).is_file()))


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the repository."""
    return tuple(Module(path, (ROOT / path).read_text()) for path in files() if path.endswith(".py"))


def text_of(path: str) -> str:
    """Return a file's text."""
    return (ROOT / path).read_text()
