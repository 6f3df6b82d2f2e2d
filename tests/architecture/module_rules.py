"""Rules about single modules, each a function from a module to its findings (line and sentence)."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from tests.architecture.tree import Module

Finding: TypeAlias = tuple[int, str]
Rule: TypeAlias = Callable[[Module], Iterator[Finding]]
Scope: TypeAlias = Callable[[Module], bool]

MODULE_LINES = 400
# A table of cases is longer than the rule it tries.
TEST_LINES = 600
FUNCTION_LINES = 60

ENVIRONMENT_READER = "ops/settings.py"
CLOCK = "tenancy/clock.py"
SERVERLESS_FLOORS = ("tenancy/", "jobs/", "agents/", "webhooks/")
# The doors take conditions from any floor; how items are encoded is the lowest floor's own affair.
BOTO3_CONDITIONS = "boto3.dynamodb.conditions"
BOTO3_TYPES = "boto3.dynamodb.types"


def is_short(module: Module) -> Iterator[Finding]:
    count = len(module.text.splitlines())
    limit = TEST_LINES if module.in_tests else MODULE_LINES
    if count > limit:
        yield count, f"has {count} lines; more than {limit} is more than one clear job"


def has_short_functions(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {count} lines and does not fit on a screen"


def says_its_purpose(module: Module) -> Iterator[Finding]:
    if not ast.get_docstring(module.tree):
        yield 1, "has no module docstring"


def leaves_the_environment_alone(module: Module) -> Iterator[Finding]:
    readers = {"environ", "environb", "getenv", "getenvb"}
    for line, name in _dotted(module):
        if name in {f"os.{reader}" for reader in readers}:
            yield line, f"{name}: only {ENVIRONMENT_READER} reads the environment"
    for line, origin, name in _imported_names(module):
        if origin == "os" and name in readers:
            yield line, f"from os import {name}: only {ENVIRONMENT_READER} reads the environment"


def leaves_the_clock_alone(module: Module) -> Iterator[Finding]:
    time_readers = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
    banned = {f"time.{name}" for name in time_readers} | {
        "time.sleep",
        "asyncio.sleep",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "loop.time",
    }
    for line, name in _dotted(module):
        if name in banned or name.endswith("get_running_loop().time"):
            yield line, f"{name}: take a tenancy.clock.Clock"
    for line, origin, name in _imported_names(module):
        if (origin == "time" and name in {*time_readers, "sleep"}) or (origin == "asyncio" and name == "sleep"):
            yield line, f"from {origin} import {name}: take a tenancy.clock.Clock"


def catches_only_what_it_expects(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not isinstance(node.body[-1], ast.Raise):
            yield node.lineno, "catches everything outside the named boundaries"
        if isinstance(node, ast.Call) and _name(node.func).endswith("suppress") and any(map(_is_broad, node.args)):
            yield node.lineno, "suppresses everything"


def owns_its_tasks(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        match node:
            case ast.Expr(value=ast.Call(func=func)):
                dropped = True
            case ast.Assign(targets=[ast.Name(id="_")], value=ast.Call(func=func)):
                dropped = True
            case _:
                continue
        name = _name(func)
        loops = ("asyncio.", "loop.", "get_running_loop().", "get_event_loop().")
        if dropped and name.endswith((".create_task", ".ensure_future")) and name.startswith(loops):
            yield node.lineno, f"drops the task of {name}: give it an owner"


def serves_no_http(module: Module) -> Iterator[Finding]:
    if not module.path.startswith(SERVERLESS_FLOORS):
        return
    for line, name in _imported_modules(module):
        if _within(name, "aiohttp.web") or name.startswith("aiohttp.web_"):
            yield line, f"imports {name}: HTTP is served by the gateway"


def uses_only_the_pure_parts_of_boto3(module: Module) -> Iterator[Finding]:
    for line, name in _imported_modules(module):
        if name.split(".")[0] != "boto3":
            continue
        encodes = module.path.startswith("tenancy/") and _within(name, BOTO3_TYPES)
        if not (encodes or _within(name, BOTO3_CONDITIONS)):
            yield line, f"imports {name}: AWS is reached through the doors, asynchronously"


def silences_with_a_reason(module: Module) -> Iterator[Finding]:
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"#\s*noqa(?!:\s*[A-Z]+[0-9]+)", line) or re.search(r"#\s*type:\s*ignore(?!\[)", line):
            yield number, "silences a check without naming which"


def runs_every_test(module: Module) -> Iterator[Finding]:
    escapes = {"pytest.skip", "pytest.xfail", "pytest.importorskip"}
    marks = {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}
    for line, name in _dotted(module):
        if name in escapes | marks:
            yield line, f"{name}: a test runs or is not there"


RULES: dict[Rule, Scope] = {
    is_short: lambda _: True,
    has_short_functions: lambda module: module.in_product,
    says_its_purpose: lambda module: module.in_product,
    leaves_the_environment_alone: lambda module: module.in_wheel,
    leaves_the_clock_alone: lambda module: module.in_wheel,
    catches_only_what_it_expects: lambda module: module.in_wheel,
    owns_its_tasks: lambda _: True,
    serves_no_http: lambda module: module.in_wheel,
    uses_only_the_pure_parts_of_boto3: lambda module: module.in_wheel,
    silences_with_a_reason: lambda module: module.path != "tests/architecture/test_modules.py",
    runs_every_test: lambda module: module.in_tests,
}


# Each is needed still, or a test says so.
EXCEPTIONS: dict[Rule, dict[str, str]] = {
    is_short: {"tenancy/data_models.py": "declarations only: the stored items of every table, side by side"},
    leaves_the_environment_alone: {
        ENVIRONMENT_READER: "the one reader",
        "ops/devstack/runtime/zygote.py": "writes a forked agent's environment before the agent runs",
        "ops/cli/warm.py": "writes a forked command's environment before the command runs",
    },
    leaves_the_clock_alone: {
        CLOCK: "the one clock",
        "ops/devstack/toolserver.py": "runs in an environment of its own, where nothing of ours is",
        "gateway/live.py": "an asyncio deadline stands on the event loop's own clock",
    },
    catches_only_what_it_expects: {
        "agents/region_watch.py": "what fails of one look is told; without a next one the process would never switch",
        "gateway/middleware.py": "an unforeseen fault becomes a 500 problem",
        "gateway/invoke.py": "after the first byte any failure becomes the stream's terminal event",
        "gateway/journal.py": "a batch that can never be stored is told to those who wait, and must not stop the lane",
        "gateway/orphans.py": "what fails of a look, or of one orphan, is told; the others are carried on",
        "gateway/processes.py": "what fails of one renewal is told; without a next one the process would write no more",
        "gateway/takeover.py": "whatever ends an invocation becomes its record's end and its stream's terminal event",
        "jobs/sweep.py": "a sweep that fails is told, and the next one comes",
        "ops/private.py": "readiness names the part that fails, whatever its library raises",
    },
}


def findings(rule: Rule, modules: tuple[Module, ...]) -> list[str]:
    """Return what one rule finds in the modules it applies to, as `path:line sentence`."""
    applies, excepted = RULES[rule], EXCEPTIONS.get(rule, {})
    return [
        f"{module.path}:{line} {sentence}"
        for module in modules
        if applies(module) and module.path not in excepted
        for line, sentence in rule(module)
    ]


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_name(value)}.{attr}"
        case ast.Call(func=func):
            return f"{_name(func)}()"
        case _:
            return ""


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def _dotted(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            yield node.lineno, _name(node)


def _imported_names(module: Module) -> Iterator[tuple[int, str, str]]:
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, node.module, alias.name


def _imported_modules(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
    for line, origin, name in _imported_names(module):
        yield line, f"{origin}.{name}"


def _is_broad(caught: ast.AST | None) -> bool:
    match caught:
        case None:
            return True
        case ast.Name(id=name):
            return name in {"Exception", "BaseException"}
        case ast.Tuple(elts=members):
            return any(map(_is_broad, members))
        case _:
            return False
