"""`lockgate invocation`: what runs and ran for a tenant over a connection."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_item, print_items

app = typer.Typer(
    name="invocation",
    help="A tenant's invocations: list, show, stop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "invocation": "invocationId",
    "status": "status",
    "mode": "mode",
    "agent": "agent",
    "version": "agentVersion",
    "began": "createdAt",
    "error": "error.code",
}
Invocation = Annotated[str, typer.Argument(metavar="INVOCATION", help="Its id, inv_…")]


@app.command("list")
def list_(
    tenant: Id,
    *,
    status: Annotated[str | None, typer.Option(help="Only those that stand so, as running.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    output: Output = Format.TABLE,
) -> None:
    """Show a tenant's invocations, the newest first."""
    query = {} if status is None else {"status": status}
    print_items(connected().items(f"/tenants/{quote(tenant)}/invocations", query, most=limit), _COLUMNS, output)


@app.command()
def show(tenant: Id, invocation: Invocation, *, output: Output = Format.TABLE) -> None:
    """Show one invocation."""
    print_item(connected().call("GET", _path(tenant, invocation)), output)


@app.command()
def stop(
    tenant: Id, invocation: Invocation, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Stop an invocation, whichever process serves it."""
    act("POST", _path(tenant, invocation) + "/cancel", {"reason": reason}, output, dry_run=dry_run)


def _path(tenant: str, invocation: str) -> str:
    return f"/tenants/{quote(tenant)}/invocations/{quote(invocation, safe='')}"
