"""`lockgate key`: a tenant's API keys."""

from typing import Annotated, Final
from urllib.parse import quote

import typer
from pydantic import JsonValue

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.admin_api import connected
from ops.cli.arguments import Id
from ops.cli.printing import Format, print_item, print_items

app = typer.Typer(
    name="key",
    help="A tenant's API keys: list, show, create, rotate, revoke.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "key": "id",
    "status": "status",
    "prefix": "prefix",
    "roles": "roles",
    "last used": "lastUsedAt",
    "label": "label",
}
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_…")]


@app.command("list")
def list_(
    tenant: Id,
    *,
    prefix: Annotated[str | None, typer.Option(help="How its secret begins, as lg_live_4t8kq2zn.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show a tenant's keys, the newest first; never their secrets.

    Example: lockgate key list globex --prefix lg_live_4t8kq2zn
    """
    print_items(connected().items(_path(tenant), {"prefix": prefix}), _COLUMNS, output)


@app.command()
def show(tenant: Id, key: KeyId, *, output: Output = Format.TABLE) -> None:
    """Show one key.

    Example: lockgate key show globex key_01jd3k5m7p9q1r3s5t7v9w1x3y
    """
    print_item(connected().call("GET", _path(tenant, key)), output)


@app.command()
def create(
    tenant: Id,
    *,
    label: Annotated[str, typer.Option(help="What it is for.")],
    reason: Reason,
    role: Annotated[list[str] | None, typer.Option(help="Agent.Invoke (unless said) or Agent.Developer.")] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a key; its secret is printed this once.

    Example: lockgate key create globex --label import --reason "asked for by globex"
    """
    body: dict[str, JsonValue] = {"label": label, "reason": reason}
    if role:
        body["roles"] = [*role]
    act("POST", _path(tenant), body, output, dry_run=dry_run)


@app.command()
def rotate(
    tenant: Id,
    key: KeyId,
    *,
    reason: Reason,
    overlap_s: Annotated[int, typer.Option("--overlap-s", help="How long the former secret still works.")] = 86_400,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Give a key a new secret, which is printed this once.

    Example: lockgate key rotate globex key_01jd3k5m7p9q1r3s5t7v9w1x3y --overlap-s 600 --reason yearly
    """
    body: dict[str, JsonValue] = {"overlapSeconds": overlap_s, "reason": reason}
    act("POST", _path(tenant, key, "rotate"), body, output, dry_run=dry_run)


@app.command()
def revoke(
    tenant: Id, key: KeyId, *, reason: Reason, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Have a key open nothing from now on, for good.

    Example: lockgate key revoke globex key_01jd3k5m7p9q1r3s5t7v9w1x3y --reason leaked --yes
    """
    agreed(f"{tenant}'s key {key} will open nothing any more", tenant, yes=yes or dry_run)
    act("POST", _path(tenant, key, "revoke"), {"reason": reason}, output, dry_run=dry_run)


def _path(tenant: str, *more: str) -> str:
    return "/".join(["/tenants", quote(tenant), "api-keys", *(quote(part, safe="") for part in more)])
