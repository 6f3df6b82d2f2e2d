"""`lockgate job`: a tenant's jobs."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act
from ops.cli.admin_api import connected
from ops.cli.arguments import Id, Most, Standing
from ops.cli.printing import Format, print_item
from ops.cli.watching import Watch, show_items

app = typer.Typer(
    name="job",
    help="A tenant's jobs: list, show, cancel, fail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "job": "jobId",
    "status": "status",
    "run": "run",
    "agent": "agent",
    "version": "agentVersion",
    "submitted": "createdAt",
    "error": "error.code",
}
Job = Annotated[str, typer.Argument(metavar="JOB", help="Its id, job_…")]


@app.command("list")
def list_(
    tenant: Id,
    *,
    status: Standing = None,
    limit: Most = 50,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show a tenant's jobs, the newest first.

    Example: lockgate job list globex --status running -o ndjson
    """
    query = {"status": status}
    show_items(f"/tenants/{quote(tenant)}/jobs", _COLUMNS, output, watch=watch, query=query, most=limit)


@app.command()
def show(tenant: Id, job: Job, *, output: Output = Format.TABLE) -> None:
    """Show one job, with its result where it has one.

    Example: lockgate job show globex job_01jd3k5m7p9q1r3s5t7v9w1x3y -o json
    """
    print_item(connected().call("GET", path_of(tenant, job)), output)


@app.command()
def cancel(tenant: Id, job: Job, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Cancel a job; one that runs is told to stop.

    Example: lockgate job cancel globex job_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "asked for by the tenant"
    """
    act("POST", path_of(tenant, job, "cancel"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def fail(tenant: Id, job: Job, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Give up a job that has not begun.

    Example: lockgate job fail globex job_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "submitted by mistake"
    """
    act("POST", path_of(tenant, job, "fail"), {"reason": reason}, output, dry_run=dry_run)


def path_of(tenant: str, job: str, *more: str) -> str:
    """Return where a job is."""
    return "/".join(["/tenants", quote(tenant), "jobs", quote(job, safe=""), *more])
