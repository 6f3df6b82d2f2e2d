"""`lockgate invocation`: what runs and ran for a tenant over a connection."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act
from ops.cli.admin_api import connected
from ops.cli.arguments import Id, Most, Standing
from ops.cli.printing import Format, print_item
from ops.cli.watching import Watch, show_items

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
    status: Standing = None,
    limit: Most = 50,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show a tenant's invocations, the newest first.

    Example: lockgate invocation list globex --status running
    """
    query = {"status": status}
    show_items(f"/tenants/{quote(tenant)}/invocations", _COLUMNS, output, watch=watch, query=query, most=limit)


@app.command()
def show(tenant: Id, invocation: Invocation, *, output: Output = Format.TABLE) -> None:
    """Show one invocation.

    Example: lockgate invocation show globex inv_01jd3k5m7p9q1r3s5t7v9w1x3y
    """
    print_item(connected().call("GET", _path(tenant, invocation)), output)


@app.command()
def stop(
    tenant: Id, invocation: Invocation, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Stop an invocation, whichever process serves it.

    Example: lockgate invocation stop globex inv_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "runs away"
    """
    act("POST", _path(tenant, invocation) + "/cancel", {"reason": reason}, output, dry_run=dry_run)


def _path(tenant: str, invocation: str) -> str:
    return f"/tenants/{quote(tenant)}/invocations/{quote(invocation, safe='')}"
