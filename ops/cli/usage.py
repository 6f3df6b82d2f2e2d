"""`lockgate usage`: what a tenant used and what it cost, by the numbers the tenant sees itself."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import Output
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_items

app = typer.Typer(
    name="usage",
    help="What a tenant used: show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "day": "day",
    "agent": "agent",
    "mode": "mode",
    "records": "records",
    "tokens in": "inputTokens",
    "tokens out": "outputTokens",
    "cost": "costMicrousd",
}
First = Annotated[str | None, typer.Option("--from", help="The first day (UTC); the first of this month unless said.")]
Last = Annotated[str | None, typer.Option("--to", help="The last day (UTC); today unless said.")]
GroupBy = Annotated[str, typer.Option(help="What the sums are split by: day, agent, mode.")]


@app.callback()
def _noun() -> None:
    pass


@app.command()
def show(
    tenant: Id,
    *,
    first: First = None,
    last: Last = None,
    group_by: GroupBy = "day,agent,mode",
    output: Output = Format.TABLE,
) -> None:
    """Show what a tenant used and what it cost, in millionths of a US dollar.

    Example: lockgate usage show globex --from 2026-05-01 --to 2026-05-31 --group-by agent
    """
    query = {"groupBy": group_by, "from": first, "to": last}
    columns = {
        heading: place
        for heading, place in _COLUMNS.items()
        if place not in {"day", "agent", "mode"} or place in group_by.split(",")
    }
    print_items(connected().items(f"/tenants/{quote(tenant)}/usage", query), columns, output)
