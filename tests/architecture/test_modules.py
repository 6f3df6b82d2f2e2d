from typing import NamedTuple

import pytest

from tests.architecture import module_rules as rules
from tests.architecture.module_rules import EXCEPTIONS, RULES, Rule, findings
from tests.architecture.tree import Module, modules


class Sample(NamedTuple):
    rule: Rule
    text: str
    path: str = "gateway/sample.py"


BROKEN = (
    Sample(rules.is_short, "x = 1\n" * 401),
    Sample(rules.is_short, "x = 1\n" * 601, "tests/test_x.py"),
    Sample(rules.has_short_functions, "def long():\n" + "    x = 1\n" * 60),
    Sample(rules.has_short_functions, "async def long():\n" + "    x = 1\n" * 60),
    Sample(rules.says_its_purpose, "x = 1\n"),
    Sample(rules.leaves_the_environment_alone, "import os\nhome = os.environ['HOME']\n"),
    Sample(rules.leaves_the_environment_alone, "import os\nhome = os.getenv('HOME')\n", "ops/wiring.py"),
    Sample(rules.leaves_the_environment_alone, "from os import environ\n"),
    Sample(rules.leaves_the_clock_alone, "import time\nnow = time.time()\n"),
    Sample(rules.leaves_the_clock_alone, "from time import monotonic\n"),
    Sample(rules.leaves_the_clock_alone, "from datetime import UTC, datetime\nnow = datetime.now(UTC)\n"),
    Sample(rules.leaves_the_clock_alone, "import asyncio\nnow = asyncio.get_running_loop().time()\n"),
    Sample(rules.leaves_the_clock_alone, "import asyncio\nasync def f():\n    await asyncio.sleep(1)\n"),
    Sample(rules.catches_only_what_it_expects, "try:\n    f()\nexcept Exception:\n    pass\n"),
    Sample(rules.catches_only_what_it_expects, "try:\n    f()\nexcept:\n    pass\n"),
    Sample(rules.catches_only_what_it_expects, "try:\n    f()\nexcept (OSError, BaseException):\n    pass\n"),
    Sample(rules.catches_only_what_it_expects, "import contextlib\nwith contextlib.suppress(Exception):\n    f()\n"),
    Sample(rules.owns_its_tasks, "import asyncio\nasyncio.create_task(f())\n"),
    Sample(rules.owns_its_tasks, "import asyncio\n_ = asyncio.create_task(f())\n"),
    Sample(rules.owns_its_tasks, "import asyncio\nasyncio.get_running_loop().create_task(f())\n"),
    Sample(rules.serves_no_http, "from aiohttp import web\n", "jobs/sample.py"),
    Sample(rules.serves_no_http, "import aiohttp.web\n", "tenancy/sample.py"),
    Sample(rules.serves_no_http, "from aiohttp.web import Request\n", "agents/sample.py"),
    Sample(rules.serves_no_http, "from aiohttp.web_request import Request\n", "agents/sample.py"),
    Sample(rules.uses_only_the_pure_parts_of_boto3, "import boto3\n", "tenancy/sample.py"),
    Sample(rules.uses_only_the_pure_parts_of_boto3, "from boto3.dynamodb.types import TypeSerializer\n"),
    Sample(rules.silences_with_a_reason, "x = f()  # noqa\n"),
    Sample(rules.silences_with_a_reason, "x = f()  # type: ignore\n"),
    Sample(rules.runs_every_test, "import pytest\n@pytest.mark.skip\ndef test_x(): ...\n", "tests/test_x.py"),
    Sample(rules.runs_every_test, "import pytest\ndef test_x():\n    pytest.skip('later')\n", "tests/test_x.py"),
)

KEPT = (
    Sample(rules.is_short, "x = 1\n" * 400),
    Sample(rules.is_short, "x = 1\n" * 600, "tests/test_x.py"),
    Sample(rules.has_short_functions, "def short():\n" + "    x = 1\n" * 59),
    Sample(rules.says_its_purpose, '"""Says why."""\n'),
    Sample(rules.leaves_the_environment_alone, "import os\nhome = os.environ['HOME']\n", "ops/settings.py"),
    Sample(rules.leaves_the_clock_alone, "import time\nnow = time.time()\n", "tenancy/clock.py"),
    Sample(rules.catches_only_what_it_expects, "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
    Sample(rules.catches_only_what_it_expects, "try:\n    f()\nexcept OSError:\n    pass\n"),
    Sample(rules.owns_its_tasks, "group.create_task(f())\n"),
    Sample(rules.owns_its_tasks, "import asyncio\ntask = asyncio.create_task(f())\n"),
    Sample(rules.serves_no_http, "from aiohttp import web\n"),
    Sample(rules.serves_no_http, "from aiohttp import ClientSession\n", "agents/sample.py"),
    Sample(rules.uses_only_the_pure_parts_of_boto3, "from boto3.dynamodb.types import Binary\n", "tenancy/x.py"),
    Sample(rules.uses_only_the_pure_parts_of_boto3, "from boto3.dynamodb.conditions import Attr\n", "jobs/x.py"),
    Sample(rules.silences_with_a_reason, "x = f()  # noqa: S311 jitter is no secret\n"),
    Sample(rules.runs_every_test, "import pytest\n@pytest.mark.stack\ndef test_x(): ...\n", "tests/test_x.py"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module(rule: Rule) -> None:
    assert findings(rule, modules()) == []


@pytest.mark.parametrize("rule", EXCEPTIONS, ids=lambda rule: rule.__name__)
def test_every_exception_is_still_needed(rule: Rule) -> None:
    breaking = {module.path for module in modules() if any(rule(module))}
    assert EXCEPTIONS[rule].keys() - breaking == set()


@pytest.mark.parametrize("sample", BROKEN, ids=lambda sample: sample.rule.__name__)
def test_a_broken_rule_is_found(sample: Sample) -> None:
    found = findings(sample.rule, (Module(sample.path, sample.text),))
    assert [line.split(" ")[0].split(":")[0] for line in found] == [sample.path]


@pytest.mark.parametrize("sample", KEPT, ids=lambda sample: sample.rule.__name__)
def test_a_kept_rule_finds_nothing(sample: Sample) -> None:
    assert findings(sample.rule, (Module(sample.path, sample.text),)) == []


def test_every_rule_is_shown_to_be_able_to_fail() -> None:
    assert {sample.rule for sample in BROKEN} == set(RULES)
