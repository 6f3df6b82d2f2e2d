"""`lockgate agent`: versions of agents, and which of them are invoked."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed, told_in
from ops.cli.admin_api import connected
from ops.cli.printing import Format, print_item, print_items

app = typer.Typer(
    name="agent",
    help="Agents: list, versions, show, register, state, promote, roll-back, disable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "agent": "name",
    "version": "version",
    "state": "state",
    "owner": "owner",
    "modes": "modes",
    "tier": "tierMinimum",
    "registered": "createdAt",
}
Name = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
Version = Annotated[str, typer.Argument(help="The version's number, as 1.2.0.")]


class Step(StrEnum):
    """How far a version is."""

    DEPLOYED = "deployed"
    VERIFIED = "verified"
    EVALUATED = "evaluated"
    APPROVED = "approved"
    FAILED = "failed"


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show every version of every agent.

    Example: lockgate agent list
    """
    print_items(connected().items("/agents"), _COLUMNS, output)


@app.command()
def versions(agent: Name, output: Output = Format.TABLE) -> None:
    """Show an agent's versions, the newest first.

    Example: lockgate agent versions echo-agent
    """
    print_items(connected().items(f"/agents/{quote(agent, safe='')}/versions"), _COLUMNS, output)


@app.command()
def show(agent: Name, version: Version, output: Output = Format.TABLE) -> None:
    """Show one version.

    Example: lockgate agent show echo-agent 1.1.0
    """
    print_item(connected().call("GET", _path(agent, version)), output)


@app.command()
def register(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The version as JSON; see /docs.")],
    *,
    reason: Reason,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Register a version, as built.

    Example: lockgate agent register echo-agent-1.1.0.json --reason "release of May"
    """
    act("POST", "/agents", told_in(file) | {"reason": reason}, output, dry_run=dry_run)


@app.command()
def state(
    agent: Name, version: Version, step: Step, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Say how far a version is on its way to being approved.

    Example: lockgate agent state echo-agent 1.1.0 deployed --reason "endpoint is up"
    """
    body = {"state": step.value, "reason": reason}
    act("POST", _path(agent, version, "state"), {**body}, output, dry_run=dry_run)


@app.command()
def promote(
    agent: Name, version: Version, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Give an approved version to new conversations.

    Example: lockgate agent promote echo-agent 1.1.0 --reason "release of May"
    """
    act("POST", _path(agent, version, "promote"), {"reason": reason}, output, dry_run=dry_run)


@app.command("roll-back")
def roll_back(
    agent: Name, version: Version, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Give new conversations the promoted version before it.

    Example: lockgate agent roll-back echo-agent 1.1.0 --reason "wrong answers"
    """
    act("POST", _path(agent, version, "roll-back"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def disable(
    agent: Name,
    version: Version,
    *,
    reason: Reason,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Have nobody invoke a version any more, for good.

    Example: lockgate agent disable echo-agent 1.0.0 --reason "leaks its prompt" --yes
    """
    agreed(f"{agent} {version} will be invoked by nobody any more, its conversations end", agent, yes=yes or dry_run)
    act("POST", _path(agent, version, "disable"), {"reason": reason}, output, dry_run=dry_run)


def _path(agent: str, version: str, *more: str) -> str:
    return "/".join(["/agents", quote(agent, safe=""), "versions", quote(version, safe=""), *more])
