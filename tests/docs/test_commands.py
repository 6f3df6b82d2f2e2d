"""Every `lockgate …` a page names is a command that exists."""

import re

import pytest
import typer

from ops.cli.main import _NOUNS, _load
from tests.docs.papers import Page, pages

COMMAND = re.compile(r"(?:^|[;&|] *|\$ |[A-Z_]+=\S+ |\.venv/bin/)lockgate(?: +([a-z][a-z-]*))?(?: +([a-z][a-z-]*))?")


def verbs() -> dict[str, set[str]]:
    """Return every noun with its verbs; a noun that takes no verb has none."""
    return {
        noun: set(getattr(typer.main.get_command(_load(noun, module)), "commands", ())) for noun, module, _ in _NOUNS
    }


def unknown(page: Page, known: dict[str, set[str]]) -> list[str]:
    """Return the commands a page names that do not exist."""
    named = {found.groups() for line in page.code for found in COMMAND.finditer(line)}
    return sorted(
        f"{noun} {verb or ''}".strip()
        for noun, verb in named
        if noun and (noun not in known or (verb and known[noun] and verb not in known[noun]))
    )


@pytest.mark.parametrize("path", pages())
def test_every_command_named_exists(path: str) -> None:
    assert unknown(pages()[path], verbs()) == []


def test_every_command_is_on_some_page() -> None:
    code = [line for page in pages().values() for line in page.code]
    assert [noun for noun in verbs() if not any(re.search(rf"\blockgate {noun}\b", line) for line in code)] == []


def test_an_unknown_command_is_found() -> None:
    page = Page(
        "a.md", "`lockgate dev up`, `lockgate fly`, `.venv/bin/lockgate dev soar --x`, `lockgate serve now`, `lockgate`"
    )
    assert unknown(page, {"dev": {"up"}, "serve": set()}) == ["dev soar", "fly"]
