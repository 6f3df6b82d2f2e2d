"""`lockgate deadletter`: jobs that were given up on, of all tenants."""

from typing import Annotated, Final

import typer

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.job import Job, path_of
from ops.cli.printing import Format, print_items

app = typer.Typer(
    name="deadletter",
    help="Dead letters of all tenants: list, redrive, purge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "at": "at",
    "tenant": "tenant",
    "job": "job.jobId",
    "agent": "job.agent",
    "version": "job.agentVersion",
    "runs": "job.run",
    "error": "job.error.code",
}


@app.command("list")
def list_(
    *, limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100, output: Output = Format.TABLE
) -> None:
    """Show dead letters, the newest first."""
    print_items(connected().items("/dead-letters", most=limit), _COLUMNS, output)


@app.command()
def redrive(tenant: Id, job: Job, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Submit a dead letter as a new job with the same input, once."""
    act("POST", path_of(tenant, job, "redrive"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def purge(
    tenant: Id, job: Job, *, reason: Reason, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Lay a dead letter aside: nobody is shown it any more."""
    if not dry_run:
        agreed(f"{tenant}'s {job} will not be redriven any more", tenant, yes=yes)
    act("POST", path_of(tenant, job, "purge"), {"reason": reason}, output, dry_run=dry_run)
