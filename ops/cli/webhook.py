"""`lockgate webhook`: tenants' webhooks and what they were sent."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, act
from ops.cli.admin_api import connected
from ops.cli.arguments import Id, Most
from ops.cli.printing import Format, print_item, print_items
from ops.cli.watching import Watch, show_items

app = typer.Typer(
    name="webhook",
    help="A tenant's webhooks: list, show, deliveries, disable, redeliver.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {"webhook": "id", "status": "status", "url": "url", "events": "events", "why": "disabledReason"}
_SENT: Final = {
    "delivery": "id",
    "status": "status",
    "event": "eventType",
    "created": "createdAt",
    "next": "nextAttemptAt",
}
Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, wh_…")]


@app.command("list")
def list_(tenant: Id, *, output: Output = Format.TABLE) -> None:
    """Show a tenant's webhooks; never their secrets.

    Example: lockgate webhook list globex
    """
    print_items(connected().items(f"/tenants/{quote(tenant)}/webhooks"), _COLUMNS, output)


@app.command()
def show(tenant: Id, webhook: Webhook, *, output: Output = Format.TABLE) -> None:
    """Show one webhook; never its secrets.

    Example: lockgate webhook show globex wh_01jd3k5m7p9q1r3s5t7v9w1x3y
    """
    print_item(connected().call("GET", _path(tenant, webhook)), output)


@app.command()
def deliveries(
    tenant: Id,
    webhook: Webhook,
    *,
    status: Annotated[str | None, typer.Option(help="Only those that stand so: pending, delivered, failed.")] = None,
    limit: Most = 50,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what a webhook was sent, the newest first.

    Example: lockgate webhook deliveries globex wh_01jd3k5m7p9q1r3s5t7v9w1x3y --status failed
    """
    query = {"status": status}
    show_items(_path(tenant, webhook, "deliveries"), _SENT, output, watch=watch, query=query, most=limit)


@app.command()
def disable(
    tenant: Id, webhook: Webhook, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Have nothing sent to a webhook until its tenant activates it again.

    Example: lockgate webhook disable globex wh_01jd3k5m7p9q1r3s5t7v9w1x3y --reason "its receiver asked for it"
    """
    act("POST", _path(tenant, webhook, "disable"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def redeliver(
    tenant: Id,
    webhook: Webhook,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, dlv_…")],
    *,
    reason: Reason,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Send a delivery again now.

    Example: lockgate webhook redeliver globex wh_01jd3k5m7p9q1r3s5t7v9w1x3y dlv_01jd3k5m7p9q1r3s5t7v9w1x3y
      --reason "receiver is back"
    """
    path = _path(tenant, webhook, "deliveries", quote(delivery, safe=""), "redeliver")
    act("POST", path, {"reason": reason}, output, dry_run=dry_run)


def _path(tenant: str, webhook: str, *more: str) -> str:
    return "/".join(["/tenants", quote(tenant), "webhooks", quote(webhook, safe=""), *more])
