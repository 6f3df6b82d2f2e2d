"""The end of a tenant on the command line: `lockgate tenant delete`, `restore`, `erase`, `certificate`, `export`."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import JsonValue

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.admin_api import connected
from ops.cli.archive import ExportBrokenError, verified
from ops.cli.arguments import Id
from ops.cli.errors import ExitCode, complain
from ops.cli.printing import Format, print_item, print_items, print_json


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


def erase(
    tenant: Id,
    *,
    reason: Reason,
    confirm: Annotated[str | None, typer.Option(metavar="TENANT", help="The tenant's id once more.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also before its grace is over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what there is, and erase nothing.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Erase all a deleted tenant had, for good, and print the certificate of it. What was cut off goes on.

    Example: lockgate tenant erase initech --reason "contract ended" --confirm initech
    """
    api, path = connected(), f"/tenants/{quote(tenant)}"
    if dry_run:
        plan = api.call("GET", path + "/erasure")
        if output is not Format.TABLE or not isinstance(plan, dict):
            print_item(plan, output)
            return
        found = plan["found"]
        print_items(found if isinstance(found, list) else [], {"place": "place", "items": "items"}, output)
        complain(f"nothing was erased; {plan.get('obstacle') or 'nothing'} stands in the way of it")
        return
    if confirm is None:
        agreed(f"All that {tenant} has will be gone for good", tenant, yes=False)
        confirm = tenant
    body: JsonValue = {"confirm": confirm, "force": force, "reason": reason}
    while True:
        match api.call("POST", path + "/erase", body=body):
            case {"state": "erasing", "searched": searched, "places": places}:
                complain(f"{tenant}: {searched} of {places} places are empty of it")
            case _:
                break
    print_item(api.call("GET", path + "/deletion-certificate"), output)


def certificate(tenant: Id, *, output: Output = Format.TABLE) -> None:
    """Print the certificate of a tenant's deletion.

    Example: lockgate tenant certificate initech -o json
    """
    print_item(connected().call("GET", f"/tenants/{quote(tenant)}/deletion-certificate"), output)


def export(
    tenant: Id,
    *,
    file: Annotated[Path, typer.Option("--file", dir_okay=False, help="Where to put the archive.")],
    reason: Reason,
    dry_run: DryRun = False,
) -> None:
    """Take away all a tenant has as a ZIP archive, and see that it is whole; secrets are left out.

    Example: lockgate tenant export initech --file initech.zip --reason "asked for by the tenant"
    """
    path, query = f"/tenants/{quote(tenant)}/export", {"reason": reason}
    if dry_run:
        print_json({"method": "GET", "path": "/v1/admin" + path, "query": {**query}})
        return
    coming = file.with_name(file.name + ".part")
    with coming.open("wb") as sink:
        coming.chmod(0o600)
        connected().download(path, sink.write, query)
    try:
        manifest = verified(coming)
    except ExportBrokenError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.UNVERIFIED) from error
    coming.rename(file)
    records = sum(part.records for part in manifest.parts)
    typer.echo(f"{file}: {records} records in {len(manifest.parts)} parts, each as its SHA-256 says")


def mount(app: typer.Typer) -> None:
    """Add the verbs to the noun."""
    app.command()(delete)
    app.command()(restore)
    app.command()(erase)
    app.command()(certificate)
    app.command()(export)
