"""What operators' acts have in common on the command line: a look before, and a question where one is due."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import JsonValue

from ops.cli.admin_api import connected
from ops.cli.errors import ExitCode, complain
from ops.cli.printing import Format, Output, print_item, print_json

Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be asked of the API, and ask nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking back.")]

__all__ = ["DryRun", "Output", "Reason", "Yes", "act", "agreed", "asked", "delete", "told_in"]


def agreed(what: str, name: str, *, yes: bool) -> None:
    """Ask for the name of what a severe act is done to; ends the command unless it is typed."""
    if yes:
        return
    if not sys.stdin.isatty():
        complain(f"{what}: say --yes to do it without being asked")
        raise typer.Exit(ExitCode.DECLINED)
    if typer.prompt(f"{what}. Type {name} to go on", err=True) != name:
        complain("that is another name; nothing was done")
        raise typer.Exit(ExitCode.DECLINED)


def act(method: str, path: str, body: dict[str, JsonValue], output: Format, *, dry_run: bool) -> None:
    """Ask for an act and print its answer, or only show what would be asked."""
    if dry_run:
        print_json(asked(method, path, body))
        return
    print_item(connected().call(method, path, body=body), output)


def told_in(file: Path) -> dict[str, JsonValue]:
    """Return the JSON object a file holds; ends the command where it holds none."""
    try:
        told = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        complain(f"{file} is no JSON: {error}")
        raise typer.Exit(ExitCode.USAGE) from None
    if not isinstance(told, dict):
        complain(f"{file} holds no JSON object")
        raise typer.Exit(ExitCode.USAGE)
    return told


def asked(method: str, path: str, body: Mapping[str, JsonValue]) -> JsonValue:
    """Return what a dry run shows: what would be asked of the API."""
    return {"method": method, "path": "/v1/admin" + path, "body": dict(body)}


def delete(path: str, query: Mapping[str, str], said: str, *, dry_run: bool) -> None:
    """Ask for a deletion and say that it was done, or only show what would be asked."""
    if dry_run:
        print_json({"method": "DELETE", "path": "/v1/admin" + path, "query": dict(query)})
        return
    connected().call("DELETE", path, query=query)
    typer.echo(said)
