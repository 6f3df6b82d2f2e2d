"""What is true of every verb: a help that shows it at work, and calls that the Admin API's own table takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import pytest
import typer
from pydantic import BaseModel
from typer._click.core import Command, Context, Parameter
from typer.core import TyperGroup, TyperOption
from typer.testing import CliRunner, Result

from gateway.admin.table import ADMIN_ROUTES
from gateway.operations import Operation
from ops.cli.main import _NOUNS, _WITHOUT_API, _load, app
from tests.architecture.tree import ROOT
from tests.cli.admin_stand_in import StandIn, body_example, stand_in

# They name what is secret, and hold none.
NAMES_ONLY: Final = {"runtime --secret-key-file"}
SECRETIVE: Final = re.compile(r"token|secret|password|passphrase|credential|private-key|api-key", re.IGNORECASE)
SHOWING: Final = {"list", "show", "status", "versions", "deliveries", "refusals", "check"}
# Of one screen of the dev stack's own processes.
LOCAL: Final = {"top"}


class Verb(NamedTuple):
    """A verb with its noun, as it is typed."""

    name: str
    command: Command

    @property
    def example(self) -> list[str]:
        """The command line that its help shows, without `lockgate`."""
        _, _, shown = (self.command.help or "").partition("Example: lockgate ")
        return shlex.split(shown)


def _verbs() -> Iterator[Verb]:
    for noun, module, _ in _NOUNS:
        command = typer.main.get_command(_load(noun, module))
        if isinstance(command, TyperGroup):
            yield from (Verb(f"{noun} {name}", verb) for name, verb in command.commands.items())
        else:
            yield Verb(noun, command)


VERBS: Final = tuple(_verbs())
REMOTE: Final = tuple(verb for verb in VERBS if verb.name.split()[0] not in _WITHOUT_API | LOCAL)


def option(verb: Verb, name: str) -> Parameter | None:
    return next((one for one in verb.command.params if isinstance(one, TyperOption) and name in one.opts), None)


def parsed(verb: Verb, *more: str) -> Context:
    """Read the example as the verb does, and run nothing."""
    return verb.command.make_context(verb.name, [*verb.example[len(verb.name.split()) :], *more])


@pytest.fixture(scope="module")
def api() -> Iterator[StandIn]:
    with stand_in() as standing:
        yield standing


def files_of(verb: Verb, folder: Path) -> None:
    """Write the files that an example names: the body of the operation that it ends in."""
    for named in verb.example:
        if named.endswith(".json"):
            wanted = "registerAgentVersion" if verb.name.startswith("agent") else "putTool"
            found = [one.operation for one in ADMIN_ROUTES if one.operation.id == wanted]
            told = orjson.loads(body_example(found[0]))
            told.pop("reason", None)
            told.pop("version", None) if wanted == "putTool" else None
            (folder / named).write_bytes(orjson.dumps(told))


def run(verb: Verb, api: StandIn, folder: Path, *more: str) -> Result:
    api.asked.clear()
    files_of(verb, folder)
    variables = {"ENV": "prod", "LOCKGATE_GATEWAY": api.url, "LOCKGATE_TOKEN": "a-token", "COLUMNS": "200"}
    return CliRunner().invoke(app, [*verb.example, *more], env=variables, catch_exceptions=False, prog_name="lockgate")


def test_every_verb_has_a_help_with_an_example_of_itself() -> None:
    assert [verb.name for verb in VERBS if verb.example[: len(verb.name.split())] != verb.name.split()] == []


def test_an_example_that_is_not_run_is_taken_by_its_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for verb in set(VERBS) - set(REMOTE):
        assert parsed(verb) is not None


@pytest.mark.parametrize("verb", REMOTE, ids=lambda verb: verb.name)
def test_every_example_asks_what_the_api_takes(
    verb: Verb, api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(verb, api, tmp_path)
    assert (ran.exit_code, bool(api.asked)) == (0, True), ran.output
    assert "a-token" not in ran.output
    for asked in api.asked:
        if asked.operation.body is not None:
            taken = next(iter(asked.operation.body.examples.values()))
            assert isinstance(taken, BaseModel)
            type(taken).model_validate_json(asked.body)


def reason_of(operation: Operation) -> str | None:
    """Return where an operation takes its reason; None where it takes none."""
    if b'"reason"' in body_example(operation):
        return "body"
    return "query" if any(one.name == "reason" for one in operation.parameters) else None


def test_every_route_has_a_verb_and_every_reason_arrives(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reached, silent = set[str](), set[str]()
    for verb in REMOTE:
        run(verb, api, tmp_path)
        reached |= {asked.operation.id for asked in api.asked}
        for asked in api.asked:
            place = reason_of(asked.operation)
            told = asked.query if place == "query" else orjson.loads(asked.body) if place else {"reason": "none"}
            if not told.get("reason"):
                silent.add(f"{verb.name}: {asked.operation.id}")
    assert {route.operation.id for route in ADMIN_ROUTES} - reached == NOT_BY_EXAMPLES
    assert silent == set()


# Of all tenants, where no --tenant is said; while a switch of regions takes longer than a part of its lock's lease.
# What an erasure would remove is what its dry run shows.
NOT_BY_EXAMPLES: Final = {"listTools", "renewLock", "planErasure"}


def test_what_shows_something_shows_it_in_every_format() -> None:
    shown = [verb for verb in VERBS if verb.name.split()[-1] in SHOWING and verb.name != "runbook show"]
    assert len(shown) > len(SHOWING)
    for verb in shown:
        for output in ("table", "json", "ndjson", "csv"):
            assert parsed(verb, "-o", output).params["output"] == output


def test_no_secret_is_an_argument() -> None:
    named = {
        f"{verb.name} {name}"
        for verb in VERBS
        for one in verb.command.params
        for name in (*one.opts, one.metavar or "")
        if SECRETIVE.search(name)
    }
    assert named == NAMES_ONLY


def test_what_changes_something_can_be_looked_at_before() -> None:
    changing = [verb for verb in REMOTE if option(verb, "--reason") is not None]
    assert [verb.name for verb in changing if option(verb, "--dry-run") is None] == []


def test_whoever_waits_says_for_how_long() -> None:
    assert [verb.name for verb in REMOTE if option(verb, "--timeout") is None] == []


@pytest.mark.parametrize("verb", [one for one in REMOTE if "--yes" in one.example], ids=lambda verb: verb.name)
def test_a_severe_act_is_done_only_where_somebody_agrees(verb: Verb, api: StandIn, tmp_path: Path) -> None:
    unasked = Verb(verb.name, verb.command)
    api.asked.clear()
    variables = {"ENV": "prod", "LOCKGATE_GATEWAY": api.url, "LOCKGATE_TOKEN": "a-token"}
    arguments = [one for one in unasked.example if one != "--yes"]
    ran = CliRunner().invoke(app, arguments, env=variables, catch_exceptions=False, prog_name="lockgate")
    assert (ran.exit_code, "--yes" in ran.stderr) == (3, True), ran.output
    assert [asked for asked in api.asked if asked.operation.method != "GET"] == []
    dry = run(verb, api, tmp_path, "--dry-run")
    assert (dry.exit_code, dry.output.startswith("{")) == (0, True)
    assert [asked for asked in api.asked if asked.operation.method != "GET"] == []


def test_an_id_is_never_cut_short(api: StandIn) -> None:
    variables = {"ENV": "prod", "LOCKGATE_GATEWAY": api.url, "LOCKGATE_TOKEN": "a-token", "COLUMNS": "20"}
    ran = CliRunner().invoke(app, ["job", "list", "globex"], env=variables, prog_name="lockgate")
    assert ("job_01jd3k5m7p9q1r3s5t7v9w1x3y" in ran.stdout, "…" in ran.stdout) == (True, False)
