"""The end of a tenant on the command line: `lockgate tenant delete` and `restore`."""

from urllib.parse import quote

import typer

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_item, print_json


def delete(
    tenant: Id, *, reason: Reason, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Refuse a tenant from now on; its data is kept for 30 days, in which it can be restored.

    Example: lockgate tenant delete initech --reason "contract ended" --yes
    """
    path = f"/tenants/{quote(tenant)}"
    if dry_run:
        print_json({"method": "DELETE", "path": "/v1/admin" + path, "query": {"reason": reason}})
        return
    agreed(f"{tenant} will be refused, and what runs for it is ended", tenant, yes=yes)
    print_item(connected().call("DELETE", path, query={"reason": reason}), output)


def restore(tenant: Id, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Make a deleted tenant what it was before.

    Example: lockgate tenant restore initech --reason "contract renewed"
    """
    act("POST", f"/tenants/{quote(tenant)}/restore", {"reason": reason}, output, dry_run=dry_run)


def mount(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    app.command()(delete)
    app.command()(restore)
