"""docs/ERRORS.md lists every stable code, and nothing else."""

import importlib
import re
from collections import Counter

from gateway.errors import TokenRefusedError
from gateway.problems import _HTTP, _TABLE
from gateway.routes.mcp import _KNOWN_WITH_200
from gateway.tools.errors import RpcError, ToolRateError
from tenancy.errors import LimitError, LockgateError
from tests.architecture.tree import modules
from tests.docs.papers import Page, pages

PAGE = "docs/ERRORS.md"
# How a record's ending is written where no error was raised.
ENDING = re.compile(r"(?:Failure\(code=|_failed\()\"(\w+)\"")
# A name of the public contract.
NAMED_OTHERWISE = {"TenantAccessViolation"}


def error_classes() -> list[type[LockgateError]]:
    """Import every module that defines errors; return the whole tree, the root included."""
    for module in modules():
        if module.in_wheel and re.search(r"class \w+\(\w*Error", module.text):
            importlib.import_module(module.path.removesuffix(".py").replace("/", "."))
    found, todo = [], [LockgateError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += [child for child in kind.__subclasses__() if not child.__module__.startswith("tests.")]
    return found


def listed(page: Page) -> list[str]:
    """Return the codes of the page's table, in its order."""
    return [row[0].strip("`") for row in page.rows()]


def test_every_code_is_documented() -> None:
    answers = {kind.code for kind in error_classes()} | {code for code, _, _ in _HTTP.values()}
    endings = {code for module in modules() if module.in_wheel for code in ENDING.findall(module.text)}
    assert "job_expired" in endings
    assert (answers | endings) - set(listed(pages()[PAGE])) == set()


def test_every_documented_code_is_one_the_code_can_answer_with() -> None:
    product = "\n".join(module.text for module in modules() if module.in_wheel)
    assert [code for code in listed(pages()[PAGE]) if f'"{code}"' not in product] == []


def test_a_code_is_documented_once_and_says_what_to_do() -> None:
    rows = pages()[PAGE].rows()
    assert [code for code, times in Counter(listed(pages()[PAGE])).items() if times > 1] == []
    assert [row[0] for row in rows if len(row) != 4 or not all(row)] == []


def test_the_status_on_the_page_is_the_one_answered() -> None:
    shown = {row[0].strip("`"): row[1] for row in pages()[PAGE].rows()}
    answered = {kind.code: str(row.status) for kind, row in _TABLE.items() if issubclass(kind, LockgateError)}
    answered |= {
        kind.code: "401" for kind in error_classes() if issubclass(kind, TokenRefusedError) and "code" in vars(kind)
    }
    assert {code: shown.get(code) for code in answered} == answered


def test_a_status_of_the_tools_door_is_the_one_answered() -> None:
    told = {row[0].strip("`"): row[1] for row in pages()[PAGE].rows()}
    lenient = {kind.code for kind in _KNOWN_WITH_200}
    expected = {
        kind.code: f"{kind.status}; 200 to clients of the 2025 versions" if kind.code in lenient else str(kind.status)
        for kind in error_classes()
        if issubclass(kind, RpcError)
    }
    assert {code: told[code] for code in expected} == expected


def test_where_waiting_is_told_the_page_says_to_wait() -> None:
    waits = {
        kind.code
        for kind, row in _TABLE.items()
        if issubclass(kind, LimitError) or (issubclass(kind, LockgateError) and "Retry-After" in row.headers)
    }
    # A JSON-RPC error, so in no table of problems.
    waits.add(ToolRateError.code)
    assert {row[0].strip("`") for row in pages()[PAGE].rows() if "`Retry-After`" in row[3]} == waits


def test_errors_that_share_a_code_are_answered_alike() -> None:
    statuses: dict[str, set[int]] = {}
    for kind, row in _TABLE.items():
        if issubclass(kind, LockgateError):
            statuses.setdefault(kind.code, set()).add(row.status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}


def test_errors_are_named_errors() -> None:
    names = {kind.__name__ for kind in error_classes()}
    assert {name for name in names if not name.endswith("Error")} == NAMED_OTHERWISE


def test_codes_are_lower_case_words() -> None:
    assert [kind.code for kind in error_classes() if not re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)] == []


def test_an_undocumented_code_would_be_found() -> None:
    page = Page(
        PAGE, "| code | HTTP | means | do |\n|---|---|---|---|\n| `body_malformed` | 400 | not JSON | mend it |\n"
    )
    assert listed(page) == ["body_malformed"]
    assert {"body_malformed", "not_found"} - set(listed(page)) == {"not_found"}
