"""What lies where: folder names, and what no tracked file may name."""

import re
import sys
from collections.abc import Iterable
from pathlib import PurePosixPath

from tests.architecture.tree import ROOT, files, text_of

NOUNLESS = {"base", "common", "core", "helpers", "misc", "shared", "utils", "util"}
# The single-page application has a layout of its own.
OTHER_LAYOUTS = ("spa/",)

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|work|farm|home|Users)/[\w.-]")
# Written so that the pattern does not find itself.
REGISTRY_HOST = re.compile(r"\b(?:p[y]thonhosted\.|p[y]pi\.org|registry\.n[p]mjs|deb\.d[e]bian)")

# The word the house uses instead of each.
OTHER_WORDS = {"customer": "tenant", "TODO": "a finished piece", "FIXME": "a finished piece"}


def nounless(paths: Iterable[str]) -> list[str]:
    """Return the paths with a part that names no noun."""
    return [
        path
        for path in paths
        if not path.startswith(OTHER_LAYOUTS)
        and NOUNLESS & {*PurePosixPath(path).parts[:-1], PurePosixPath(path).name.removesuffix(".py")}
    ]


def shadowing(paths: Iterable[str]) -> list[str]:
    """Return the paths whose top folder hides a standard module."""
    return [path for path in paths if "/" in path and path.split("/")[0] in sys.stdlib_module_names]


def naming_this_machine(text: str) -> list[str]:
    """Return the lines that hold a path of one machine or the host of a package registry."""
    return [line for line in text.splitlines() if MACHINE_PATH.search(line) or REGISTRY_HOST.search(line)]


def test_every_name_is_a_noun_of_the_house() -> None:
    assert nounless(files()) == []
    assert shadowing(files()) == []


def test_a_nounless_name_is_found() -> None:
    assert nounless(["gateway/utils.py", "tenancy/core/ids.py", "spa/src/shared/api.ts", "gateway/sse.py"]) == [
        "gateway/utils.py",
        "tenancy/core/ids.py",
    ]
    assert shadowing(["queue/x.py", "jobs/queue.py"]) == ["queue/x.py"]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {}
    for path in files():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content and (lines := naming_this_machine(content.decode())):
            found[path] = lines
    assert found == {}


def test_a_machine_path_and_a_registry_are_found() -> None:
    slash = "/"
    text = f"see {slash}root{slash}x\nindex https:{slash}{slash}py" + "pi.org/simple\nGET /v1/me\nthe /home page\n"
    assert len(naming_this_machine(text)) == 2


def other_words(text: str) -> list[str]:
    """Return the words of a text that the house has another word for."""
    return [word for word in OTHER_WORDS if re.search(rf"\b{word}s?\b", text)]


def test_every_word_is_the_house_s_word() -> None:
    exempt = {"CLAUDE.md", "tests/architecture/test_repository.py"}
    texts = {path: text_of(path) for path in files() if path.endswith((".py", ".md")) and path not in exempt}
    assert {path: found for path, text in texts.items() if (found := other_words(text))} == {}


def test_another_word_is_found() -> None:
    assert other_words("A customer of ours. Customary.") == ["customer"]
