"""`lockgate …` on a running stack as an operator types it, in this process: starting one costs half a second."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import orjson
from typer.testing import CliRunner

from ops.cli.main import app
from ops.devstack.stack import Stack


class Ran(NamedTuple):
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


Run: TypeAlias = Callable[..., Ran]


def commands(stack: Stack) -> Run:
    """Return what runs a command beside the stack, with nobody at the terminal; keywords are variables."""
    runner = CliRunner(env={"LOCKGATE_DEV_STATE": str(stack.layout.state), "NO_COLOR": "1", "COLUMNS": "200"})

    def run(*arguments: str, **variables: str) -> Ran:
        ran = runner.invoke(app, arguments, env=variables, catch_exceptions=False, prog_name="lockgate")
        return Ran(ran.exit_code, ran.stdout, ran.stderr)

    return run


def shown(run: Run, *arguments: str) -> dict[str, Any]:
    """Run a command that does what it is asked; return the JSON it shows."""
    ran = run(*arguments, "-o", "json")
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    loaded: dict[str, Any] = orjson.loads(ran.stdout)
    return loaded
