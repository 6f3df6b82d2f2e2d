"""`lockgate tool`: tools, and which tenants may call them."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act, delete, told_in
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_item, print_items

app = typer.Typer(
    name="tool",
    help="Tools: list, show, register, allow, deny, reset.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "tool": "name",
    "tier": "tierMinimum",
    "backend": "backend",
    "target": "target",
    "calls/s": "callsPerSecond",
    "version": "version",
}
_TENANTS_COLUMNS: Final = {
    "tool": "tool",
    "may": "allowed",
    "tier": "tierMinimum",
    "exception": "exception.allowed",
    "reason": "exception.reason",
}
Name = Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")]


@app.command("list")
def list_(
    *,
    tenant: Annotated[str | None, typer.Option(help="As this tenant may call them.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show every tool, or what one tenant may do with them.

    Example: lockgate tool list --tenant globex
    """
    if tenant is None:
        print_items(connected().items("/tools"), _COLUMNS, output)
    else:
        print_items(connected().items(_path(tenant)), _TENANTS_COLUMNS, output)


@app.command()
def show(tool: Name, output: Output = Format.TABLE) -> None:
    """Show one tool.

    Example: lockgate tool show search
    """
    print_item(connected().call("GET", f"/tools/{quote(tool, safe='')}"), output)


@app.command()
def register(
    tool: Name,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The tool as JSON; see /docs.")],
    *,
    reason: Reason,
    version: Annotated[
        int | None, typer.Option("--if-version", help="Change it only if it still has this version.")
    ] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Register a tool, or change it to what the file says.

    Example: lockgate tool register search search.json --reason "a new tool"
    """
    body = told_in(file) | {"reason": reason} | ({} if version is None else {"version": version})
    act("PUT", f"/tools/{quote(tool, safe='')}", body, output, dry_run=dry_run)


@app.command()
def allow(tenant: Id, tool: Name, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Let a tenant call a tool, whatever its tier.

    Example: lockgate tool allow globex search --reason "bought it"
    """
    act("PUT", _path(tenant, tool), {"allowed": True, "reason": reason}, output, dry_run=dry_run)


@app.command()
def deny(tenant: Id, tool: Name, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Let a tenant not call a tool, whatever its tier.

    Example: lockgate tool deny globex search --reason "misused it"
    """
    act("PUT", _path(tenant, tool), {"allowed": False, "reason": reason}, output, dry_run=dry_run)


@app.command()
def reset(tenant: Id, tool: Name, *, reason: Reason, dry_run: DryRun = False) -> None:
    """Leave a tool to the tenant's tier again.

    Example: lockgate tool reset globex search --reason "back to its tier"
    """
    delete(_path(tenant, tool), {"reason": reason}, f"the tier of {tenant} decides about {tool}", dry_run=dry_run)


def _path(tenant: str, *tool: str) -> str:
    return "/".join(["/tenants", quote(tenant), "tools", *(quote(part, safe="") for part in tool)])
