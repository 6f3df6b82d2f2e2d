"""`lockgate billing`: how tenants' months stand against their budgets."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import Output
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_item, print_items

app = typer.Typer(
    name="billing",
    help="Tenants' months: list, show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "tenant": "tenant",
    "month": "month",
    "used": "usedMicrousd",
    "reserved": "reservedMicrousd",
    "budget": "budgetMicrousd",
    "percent": "percent",
    "state": "state",
    "as of": "asOf",
}
State = Annotated[str | None, typer.Option(help="Only those that are ok, warn or over.")]


@app.command("list")
def list_(*, state: State = None, output: Output = Format.TABLE) -> None:
    """Show how every tenant's month stands, in millionths of a US dollar.

    Example: lockgate billing list --state over
    """
    found = connected().items("/billing")
    shown = [one for one in found if state is None or (isinstance(one, dict) and one.get("state") == state)]
    print_items(shown, _COLUMNS, output)


@app.command()
def show(tenant: Id, *, output: Output = Format.TABLE) -> None:
    """Show how one tenant's month stands.

    Example: lockgate billing show globex -o json
    """
    print_item(connected().call("GET", f"/tenants/{quote(tenant)}/billing"), output)
