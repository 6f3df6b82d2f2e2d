"""`lockgate session`: a tenant's conversations."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act
from ops.cli.arguments import Id
from ops.cli.printing import Format
from ops.cli.watching import Watch, show_items

app = typer.Typer(
    name="session",
    help="A tenant's sessions: list, stop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "session": "id",
    "agent": "agent",
    "version": "agentVersion",
    "began": "createdAt",
    "last used": "lastUsedAt",
}


@app.command("list")
def list_(
    tenant: Id,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the sessions that a tenant used within a day.

    Example: lockgate session list globex
    """
    show_items(f"/tenants/{quote(tenant)}/sessions", _COLUMNS, output, watch=watch, most=limit)


@app.command()
def stop(
    tenant: Id,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")],
    *,
    reason: Reason,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """End a session's microVM with all that runs in it.

    Example: lockgate session stop globex ses_0123456789abcdef0123456789abcdef0123456789abcdef --reason "runs away"
    """
    path = f"/tenants/{quote(tenant)}/sessions/{quote(session, safe='')}/stop"
    act("POST", path, {"reason": reason}, output, dry_run=dry_run)
