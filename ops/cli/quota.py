"""`lockgate quota`: how near the runtime sessions in use are to AgentCore's quota, over the Admin API."""

from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.table import Table

from ops.cli.acting import Reason, Yes, agreed
from ops.cli.admin_api import connected
from ops.cli.errors import ExitCode
from ops.cli.printing import Format, Output, print_json

app = typer.Typer(
    name="quota",
    help="AgentCore's quota: show, request, stop-sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# What AWS calls it: Service Quotas, service bedrock-agentcore.
_QUOTA_NAME = "Active session workloads per account"
_MONTHS_AHEAD = 2


class _Tenant(BaseModel):
    tenant: str
    sessions: int
    percent: int
    runaway: bool


class _Quota(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    counted_at: str
    sessions: int
    limit: int
    percent: int
    mark: int
    headroom: int
    region: str
    tenants: tuple[_Tenant, ...]


@app.command()
def show(output: Output = Format.TABLE) -> None:
    """Show the sessions in use, of how many, and the tenants that have the most."""
    found = connected().call("GET", "/quota")
    if output is not Format.TABLE:
        print_json(found)
        return
    quota = _Quota.model_validate(found)
    typer.echo(f"sessions {quota.sessions} of {quota.limit} ({quota.percent} %), headroom {quota.headroom}")
    typer.echo(f"new sessions begin in {quota.region}")
    typer.echo(f"mark {quota.mark} %" if quota.mark else "below every mark")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("tenant", "sessions", "of those in use", ""):
        table.add_column(heading, header_style="dim", no_wrap=True)
    for tenant in quota.tenants:
        row = (tenant.tenant, str(tenant.sessions), f"{tenant.percent} %", "[red]runaway[/]" if tenant.runaway else "")
        table.add_row(*row)
    Console(soft_wrap=True).print(table)


@app.command()
def request(
    *,
    region: Annotated[str, typer.Option(help="The runtime's region.")] = "eu-west-1",
    growth: Annotated[int, typer.Option(min=0, help="Expected growth in a month, in percent.")] = 25,
) -> None:
    """Write the request for a higher quota, as AWS wants it; nothing is sent. Exits with 1 where none is needed yet."""
    quota = _Quota.model_validate(connected().call("GET", "/quota"))
    wanted = wanted_limit(quota.sessions, quota.limit, growth)
    typer.echo(f"Service: Amazon Bedrock AgentCore  Region: {region}  Quota: {_QUOTA_NAME}")
    typer.echo(f"Current: {quota.limit}  In use: {quota.sessions} ({quota.percent} %)  Headroom: {quota.headroom}")
    if wanted <= quota.limit:
        typer.echo("No increase is needed yet.")
        raise typer.Exit(ExitCode.FAILED)
    typer.echo(f"Wanted: {wanted}")
    typer.echo(
        f"Reason: {quota.percent} % are in use at {quota.counted_at}; at {growth} % growth a month {wanted} keep a "
        f"third free for {_MONTHS_AHEAD} months. The largest tenant has "
        f"{max((tenant.sessions for tenant in quota.tenants), default=0)} of them."
    )


@app.command("stop-sessions")
def stop_sessions(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    *,
    reason: Reason,
    yes: Yes = False,
) -> None:
    """End every runtime session a tenant has in use, and what runs in it."""
    agreed(f"everything that {tenant} runs ends", tenant, yes=yes)
    ended = connected().call("POST", f"/tenants/{quote(tenant)}/stop-sessions", body={"reason": reason})
    if isinstance(ended, dict):
        typer.echo(f"{ended['stopped']} sessions ended, {ended['failed']} not")
        if ended["failed"]:
            raise typer.Exit(ExitCode.FAILED)


def wanted_limit(used: int, limit: int, growth: int) -> int:
    """Return the quota that leaves a third free after the months ahead, in steps of 500; never less than there is."""
    then = used * (1 + growth / 100) ** _MONTHS_AHEAD
    return max(limit, -(-int(then * 3 / 2) // 500) * 500)
