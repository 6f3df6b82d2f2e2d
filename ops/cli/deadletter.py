"""`lockgate deadletter`: jobs that were given up on, of all tenants."""

from typing import Annotated, Final

import typer

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.arguments import Id
from ops.cli.job import Job, path_of
from ops.cli.printing import Format
from ops.cli.watching import Watch, show_items

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
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show dead letters, the newest first.

    Example: lockgate deadletter list
    """
    show_items("/dead-letters", _COLUMNS, output, watch=watch, most=limit)


@app.command()
def redrive(tenant: Id, job: Job, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Submit a dead letter as a new job with the same input, once.

    Example: lockgate deadletter redrive globex job_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "the agent was mended"
    """
    act("POST", path_of(tenant, job, "redrive"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def purge(
    tenant: Id, job: Job, *, reason: Reason, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Lay a dead letter aside: nobody is shown it any more.

    Example: lockgate deadletter purge globex job_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "no longer wanted" --yes
    """
    agreed(f"{tenant}'s {job} will not be redriven any more", tenant, yes=yes or dry_run)
    act("POST", path_of(tenant, job, "purge"), {"reason": reason}, output, dry_run=dry_run)
