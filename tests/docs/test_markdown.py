import re
from collections.abc import Mapping

import pytest

from tests.architecture.tree import modules, text_of
from tests.docs.papers import Page, broken_links, existing_paths, pages

MAKE = re.compile(r"(?:^|[;&|] *|\$ |[A-Z_]+=\S+ )make((?: +[\w=.-]+)*)")
# A path is checked where its first folder is one of ours.
REPOSITORY_PATH = re.compile(r"(?:adr|agents|docs|gateway|jobs|ops|requirements|tenancy|tests|webhooks)/[\w./-]*\w/?")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", text_of("Makefile"), re.MULTILINE))


def unknown_targets(page: Page, known: set[str]) -> list[str]:
    """Return the make targets a page names that the Makefile does not have."""
    named = [word for line in page.code for words in MAKE.findall(line) for word in words.split()]
    return [word for word in named if re.fullmatch(r"[a-z][a-z-]*", word) and word not in known]


def missing_paths(page: Page, existing: set[str]) -> list[str]:
    """Return the repository paths a page names in code spans that do not exist."""
    named = [span.split("::")[0].rstrip("/") for span in page.spans if REPOSITORY_PATH.fullmatch(span.split("::")[0])]
    return [path for path in named if path not in existing]


def missing_tests(page: Page, texts: Mapping[str, str]) -> list[str]:
    """Return the tests a page names that do not exist."""
    named = [(span, *span.split("::")) for span in page.spans if re.fullmatch(r"tests/[\w/]+\.py::\w+", span)]
    return [span for span, path, name in named if f"def {name}(" not in texts.get(path, "")]


@pytest.mark.parametrize("path", pages())
def test_every_link_resolves(path: str) -> None:
    assert broken_links(pages()[path], pages(), existing_paths()) == []


@pytest.mark.parametrize("path", pages())
def test_every_make_target_named_exists(path: str) -> None:
    assert unknown_targets(pages()[path], make_targets()) == []


@pytest.mark.parametrize("path", pages())
def test_every_file_named_exists(path: str) -> None:
    assert missing_paths(pages()[path], existing_paths()) == []


@pytest.mark.parametrize("path", pages())
def test_every_test_named_exists(path: str) -> None:
    assert missing_tests(pages()[path], {module.path: module.text for module in modules()}) == []


def test_a_missing_test_is_found() -> None:
    page = Page("a.md", "`tests/x.py::test_a` `tests/x.py::test_b` `tests/y.py::test_a` `tests/x.py`")
    assert missing_tests(page, {"tests/x.py": "def test_a() -> None: ..."}) == [
        "tests/x.py::test_b",
        "tests/y.py::test_a",
    ]


def test_a_broken_link_is_found() -> None:
    page = Page(
        "docs/a.md", "# One Two\n[ok](b.md) [up](../README.md#top) [here](#one-two) [x](c.md) [y](#three) `[z](q)`"
    )
    known = {"docs/a.md": page, "README.md": Page("README.md", "# Top\n")}
    assert broken_links(page, known, {"docs/a.md", "docs/b.md", "README.md"}) == ["c.md", "#three"]


def test_an_unknown_make_target_is_found() -> None:
    page = Page(
        "a.md", "Run `make lint fly`, then:\n```sh\n$ PORT_OFFSET=100 make dev && make soar\n```\nwe make sense\n"
    )
    assert unknown_targets(page, {"lint", "dev"}) == ["fly", "soar"]


def test_a_missing_file_is_found() -> None:
    page = Page("a.md", "`tenancy/ids.py`, `tests/x.py::test_y`, `tenancy/nowhere.py`, `a/b.py`")
    assert missing_paths(page, {"tenancy/ids.py"}) == ["tests/x.py", "tenancy/nowhere.py"]
