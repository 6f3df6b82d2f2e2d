"""The routine verbs by make alone, on a running stack."""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
import pytest

from ops.devstack.stack import Stack
from tests.architecture.tree import ROOT
from tests.flows.commands import commands, shown
from tests.flows.conftest import ECHO, Caller

pytestmark = pytest.mark.stack

MAKE = shutil.which("make") or "make"
Make: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(stack: Stack) -> Make:
    """Return what runs a target beside the stack; what is installed is not installed again."""

    def run(target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MAKE, "--no-print-directory", "-o", ".venv/.installed", target],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "LOCKGATE_DEV_STATE": str(stack.layout.state), **variables},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


async def test_a_tenant_is_suspended_and_reinstated_by_make_alone(make: Make, globex: Caller) -> None:
    assert "suspended  (unpaid)" in make("ops-suspend-tenant", TENANT="globex", REASON="unpaid").stdout
    answer, problem = await globex.post(ECHO, globex.echo())
    assert (answer.status, problem["code"]) == (403, "tenant_suspended")
    assert make("ops-reinstate-tenant", TENANT="globex", REASON="paid").returncode == 0
    answer, _ = await globex.post(ECHO, globex.echo())
    assert answer.status == 200
    told = make("ops-audit", TENANT="globex").stdout
    assert ("tenant.suspend" in told, "tenant.reinstate" in told) == (True, True)


def test_a_budget_is_raised_by_make_alone(make: Make, stack: Stack) -> None:
    assert make("ops-tenant-budget", TENANT="globex", MICROUSD="7000000", REASON="asked").returncode == 0
    tenant: dict[str, Any] = shown(commands(stack), "tenant", "show", "globex")
    assert tenant["monthlyBudgetMicrousd"] == 7_000_000
    assert make("ops-tenant-budget", TENANT="globex", MICROUSD="none", REASON="back").returncode == 0


def test_a_target_says_what_it_needs_and_fails_as_its_verb_does(make: Make) -> None:
    silent = make("ops-suspend-tenant", TENANT="globex")
    assert (silent.returncode, "say REASON=…" in silent.stderr) == (2, True)
    unknown = make("ops-suspend-tenant", TENANT="nobody-here", REASON="x")
    assert (unknown.returncode, "not_found" in unknown.stderr) == (2, True)


def test_the_platforms_health_is_shown_with_every_figures_age(stack: Stack) -> None:
    run = commands(stack)
    shown_table = run("status").stdout.splitlines()
    assert shown_table[0].split() == ["figure", "ok", "value", "of", "age", "s", "says"]
    figures = [orjson.loads(line) for line in run("status", "-o", "ndjson").stdout.splitlines()]
    assert {"dynamodb", "queue.jobs", "sweeper", "agentcore.eu-west-1"} <= {one["name"] for one in figures}
    remote = {"ENV": "prod", "LOCKGATE_GATEWAY": stack.gateway, "LOCKGATE_TOKEN": stack.operator.token}
    top = orjson.loads(run("top", "--json", **remote).stdout)
    assert {one["name"] for one in top["figures"]} == {one["name"] for one in figures}
