"""`lockgate quota`: how near the runtime sessions in use are to AgentCore's quota, over the Admin API."""

from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from ops.cli.acting import DryRun, Reason, Yes, agreed, asked
from ops.cli.admin_api import connected
from ops.cli.errors import ExitCode
from ops.cli.printing import Format, Output, drawn, item_text, items_text, print_json, table_of
from ops.cli.watching import Watch
from ops.cli.watching import show as again

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
def show(*, watch: Watch = False, output: Output = Format.TABLE) -> None:
    """Show the sessions in use, of how many, and the tenants that have the most.

    Example: lockgate quota show
    """
    api = connected()
    again(lambda: _text(api.call("GET", "/quota"), output), watch=watch)


def _text(found: JsonValue, output: Format) -> str:
    quota = _Quota.model_validate(found)
    if output is Format.CSV:
        tenants: list[JsonValue] = [one.model_dump() for one in quota.tenants]
        return items_text(tenants, {name: name for name in _Tenant.model_fields}, output)
    if output is not Format.TABLE:
        return item_text(found, output)
    table = table_of("tenant", "sessions", "of those in use", "")
    for tenant in quota.tenants:
        row = (tenant.tenant, str(tenant.sessions), f"{tenant.percent} %", "[red]runaway[/]" if tenant.runaway else "")
        table.add_row(*row)
    return (
        f"sessions {quota.sessions} of {quota.limit} ({quota.percent} %), headroom {quota.headroom}\n"
        f"new sessions begin in {quota.region}\n"
        + (f"mark {quota.mark} %\n" if quota.mark else "below every mark\n")
        + drawn(table)
    )


@app.command()
def request(
    *,
    region: Annotated[str, typer.Option(help="The runtime's region.")] = "eu-west-1",
    growth: Annotated[int, typer.Option(min=0, help="Expected growth in a month, in percent.")] = 25,
) -> None:
    """Write the request for a higher quota, as AWS wants it; nothing is sent. Exits with 1 where none is needed yet.

    Example: lockgate quota request --growth 25
    """
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
    dry_run: DryRun = False,
) -> None:
    """End every runtime session a tenant has in use, and what runs in it.

    Example: lockgate quota stop-sessions globex --reason "runaway, suspended" --yes
    """
    path, body = f"/tenants/{quote(tenant)}/stop-sessions", {"reason": reason}
    if dry_run:
        print_json(asked("POST", path, {**body}))
        return
    agreed(f"everything that {tenant} runs ends", tenant, yes=yes)
    ended = connected().call("POST", path, body={**body})
    if isinstance(ended, dict):
        typer.echo(f"{ended['stopped']} sessions ended, {ended['failed']} not")
        if ended["failed"]:
            raise typer.Exit(ExitCode.FAILED)


def wanted_limit(used: int, limit: int, growth: int) -> int:
    """Return the quota that leaves a third free after the months ahead, in steps of 500; never less than there is."""
    then = used * (1 + growth / 100) ** _MONTHS_AHEAD
    return max(limit, -(-int(then * 3 / 2) // 500) * 500)
