"""`lockgate audit`: what operators did, and whether the log of it is whole."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from pydantic import JsonValue

from ops.cli.admin_api import connected
from ops.cli.arguments import Most
from ops.cli.errors import ExitCode, complain
from ops.cli.printing import Format, Output, print_items, print_json

app = typer.Typer(
    name="audit",
    help="What operators did: list, refusals, export, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "at": "at",
    "chain": "targetTenant",
    "operation": "operation",
    "target": "target",
    "outcome": "outcome",
    "actor": "actor",
    "reason": "reason",
}
Whose = Annotated[str | None, typer.Option("--tenant", help="To whom it was done: a tenant's id, or `platform`.")]
Actor = Annotated[str | None, typer.Option(help="Who did it.")]
What = Annotated[str | None, typer.Option("--operation", help="What was done, as tenant.suspend.")]
From = Annotated[str | None, typer.Option("--from", help="The first moment, as 2025-06-01T00:00:00Z.")]
To = Annotated[str | None, typer.Option(help="The first moment that is not of it.")]
File = Annotated[
    Path | None, typer.Option("--file", dir_okay=False, help="An export made before, instead of the log as it is now.")
]


@app.command("list")
def list_(
    *,
    tenant: Whose = None,
    actor: Actor = None,
    operation: What = None,
    from_: From = None,
    to: To = None,
    limit: Most = 50,
    output: Output = Format.TABLE,
) -> None:
    """Show what operators did, the newest first.

    Example: lockgate audit list --tenant globex --operation tenant.suspend
    """
    query = {"tenant": tenant, "actor": actor, "operation": operation, "from": from_, "to": to}
    print_items(connected().items("/audit", query, most=limit), _COLUMNS, output)


@app.command()
def refusals(
    *,
    tenant: Whose = None,
    actor: Actor = None,
    operation: What = None,
    from_: From = None,
    to: To = None,
    limit: Most = 50,
    output: Output = Format.TABLE,
) -> None:
    """Show security events, the newest first: what was refused, to whom and why.

    Example: lockgate audit refusals --tenant globex -o ndjson
    """
    query = {"tenant": tenant, "actor": actor, "operation": operation, "from": from_, "to": to}
    print_items(connected().items("/security-events", query, most=limit), _COLUMNS, output)


@app.command()
def export(
    *,
    tenant: Whose = None,
    file: Annotated[Path | None, typer.Option("--file", dir_okay=False, help="Where to, instead of stdout.")] = None,
) -> None:
    """Take the whole log away, as NDJSON.

    Example: lockgate audit export --file audit.ndjson
    """
    query = {"tenant": tenant}
    if file is None:
        connected().download("/audit/export", sys.stdout.buffer.write, query)
        return
    with file.open("wb") as out:
        connected().download("/audit/export", out.write, query)


@app.command()
def verify(*, tenant: Whose = None, file: File = None, output: Output = Format.TABLE) -> None:
    """Recompute the hashes of every chain; name the first event of each that does not fit.

    Example: lockgate audit verify
    """
    # What knows the chain takes a second to import.
    from tenancy.chain import proven  # noqa: PLC0415

    held = bytearray()
    if file is None:
        connected().download("/audit/export", held.extend, {"tenant": tenant})
    else:
        held += file.read_bytes()
    proof = proven(_lines(bytes(held)))
    for broken in proof.breaks:
        complain(f"chain {broken.chain} is broken at event {broken.seq}: {broken.fault}")
    if output is Format.TABLE:
        state = f"{len(proof.breaks)} broken" if proof.breaks else "all whole"
        typer.echo(f"{sum(proof.lengths.values())} events in {len(proof.lengths)} chains verified, {state}")
    else:
        breaks: list[JsonValue] = [{"chain": one.chain, "seq": one.seq, "fault": one.fault} for one in proof.breaks]
        print_json({"chains": dict(proof.lengths), "breaks": breaks})
    if proof.breaks:
        raise typer.Exit(ExitCode.UNVERIFIED)


def _lines(held: bytes) -> Iterator[dict[str, JsonValue]]:
    for number, line in enumerate(held.splitlines(), 1):
        try:
            loaded = orjson.loads(line)
        except orjson.JSONDecodeError:
            loaded = None
        if not isinstance(loaded, dict):
            complain(f"line {number} is no JSON object: this is no whole export")
            raise typer.Exit(ExitCode.UNVERIFIED)
        yield loaded
