"""The operator's commands on a running stack: what they print, what they change, how they fail."""

import uuid
from functools import partial

import orjson
import pytest

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.commands import Run, commands, shown

pytestmark = pytest.mark.stack


@pytest.fixture
def run(stack: Stack) -> Run:
    """Return what runs `lockgate tenant …` beside the stack."""
    return partial(commands(stack), "tenant")


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def test_a_tenants_life_from_the_command_line(run: Run, stack: Stack, name: str) -> None:
    issuer, directory = f"{stack.ports.url('issuer')}/", str(uuid.uuid4())
    application = ("--issuer", f"{issuer}{directory}/v2.0", "--directory", directory, "--client-id", "back-office")
    made = shown(run, "create", name, "--name", "Initech", "--tier", "basic", "--limit", "runningJobs=3", *application)
    assert (made["status"], made["limits"]["runningJobs"], made["version"]) == ("active", 3, 0)
    assert [one["clientId"] for one in shown(run, "show", name)["bindings"]] == ["back-office"]
    changes = ("--tier", "standard", "--limit", "runningJobs=none", "--budget-microusd", "5000", "--redaction", "block")
    own = ("--redaction-pattern", "ticket=T=[0-9]{4}", "--redaction-pattern", "badge=B[0-9]{6}")
    changed = shown(run, "update", name, *changes, *own, "--if-version", "0", "--reason", "upgrade")
    assert changed["overrides"]["runningJobs"] is None
    assert (changed["tier"], changed["monthlyBudgetMicrousd"], changed["redaction"]) == ("standard", 5000, "block")
    patterns = [{"name": "ticket", "pattern": "T=[0-9]{4}"}, {"name": "badge", "pattern": "B[0-9]{6}"}]
    assert changed["redactionPatterns"] == patterns
    assert shown(run, "suspend", name, "--reason", "unpaid")["status"] == "suspended"
    assert shown(run, "reinstate", name, "--reason", "paid")["status"] == "active"
    assert run("unbind", name, *application, "--reason", "retired").stdout == f"back-office speaks for {name} no more\n"
    assert shown(run, "show", name)["bindings"] == []
    assert run("bind", name, *application, "--reason", "back").stdout == f"back-office speaks for {name}\n"


def test_people_read_tables(run: Run, name: str) -> None:
    run("create", name, "--name", "[red]Initech", "--tier", "basic")
    listed = run("list").stdout.splitlines()
    assert listed[0].split() == ["tenant", "tier", "status", "req/s", "streams", "name"]
    assert [name, "basic", "active", "10", "5", "[red]Initech"] in [line.split() for line in listed]
    page = run("suspend", name, "--reason", "unpaid").stdout
    assert "suspended  (unpaid)" in page
    assert "requestsPerSecond 10" in page


def test_every_tenant_is_listed_as_json(run: Run) -> None:
    ran = run("list", "-o", "json")
    assert {"acme", "globex"} <= {one["id"] for one in orjson.loads(ran.stdout)}


def test_each_failure_has_its_code_and_says_what_to_do(run: Run, stack: Stack, name: str) -> None:
    assert run("create", name, "--name", "Initech", "--tier", "basic").returncode == 0
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("create", name, "--name", "Impostor", "--tier", "basic"), {}, 6, "tenant_exists"),
        (("update", name, "--tier", "basic", "--if-version", "9", "--reason", "x"), {}, 6, "tenant_changed"),
        (("show", "nobody-here"), {}, 5, "not_found"),
        (("update", name, "--limit", "runningJobs=-1", "--reason", "x"), {}, 2, "/limits/runningJobs: "),
        (("update", name, "--limit", "streams=1", "--reason", "x"), {}, 2, "concurrentStreams, invocationsPerDay"),
        (("update", name, "--limit", "runningJobs", "--reason", "x"), {}, 2, "NAME=NUMBER"),
        (("update", name, "--reason", "x"), {}, 2, "fields_invalid"),
        (("suspend", name), {}, 2, "--reason"),
        (("show", "NOT ONE"), {}, 2, "not a valid tenant id"),
        (("create", name, "--name", "x", "--tier", "basic", "--issuer", "y"), {}, 2, "go together"),
        (("list",), {"LOCKGATE_TOKEN": stack.tenants[TenantId("acme")].token}, 4, "Platform.Operator"),
        (("list",), {"LOCKGATE_TOKEN": "no-token"}, 4, "token_malformed"),
        (("list",), {"LOCKGATE_GATEWAY": "http://127.0.0.1:1"}, 1, "does not answer"),
        (("list",), {"LOCKGATE_GATEWAY": stack.private}, 1, "no problem document"),
        (("list",), {"ENV": "prod"}, 2, "ENV=prod needs LOCKGATE_GATEWAY"),
        (("list",), {"LOCKGATE_DEV_STATE": "/nowhere"}, 1, "`make dev` starts one"),
    ]
    for arguments, variables, code, said in cases:
        ran = run(*arguments, **variables)
        assert (ran.returncode, ran.stdout) == (code, ""), ran
        assert said in ran.stderr


def test_elsewhere_the_environment_says_where_and_as_whom(run: Run, stack: Stack) -> None:
    token = stack.operator.token
    ran = run("show", "acme", ENV="prod", LOCKGATE_GATEWAY=stack.gateway + "/", LOCKGATE_TOKEN=token)
    assert ran.returncode == 0
    assert token not in ran.stdout + ran.stderr
