"""Looking again and again: what a verb shows, shown whenever it changes, until Ctrl-C."""

from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Console

from ops.cli.admin_api import Query, connected
from ops.cli.printing import Columns, Format, items_text
from tenancy.clock import pause

LOOK_S: Final = 2.0
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again whenever it changes, until Ctrl-C.")]


def show(look: Callable[[], str], *, watch: bool) -> None:
    """Show what a look finds; with `watch` each time that is something else, in place where there is a terminal."""
    found = look()
    typer.echo(found, nl=False)
    if not watch:
        return
    console = Console()
    while True:
        pause(LOOK_S)
        found, before = look(), found
        if found != before:
            # Does nothing where there is no terminal.
            console.clear()
            typer.echo(found, nl=False)


def show_items(
    path: str,
    columns: Columns,
    output: Format,
    *,
    watch: bool,
    query: Query | None = None,
    most: int | None = None,
) -> None:
    """Show a list of the Admin API; with `watch` whenever it changes."""
    api = connected()
    show(lambda: items_text(api.items(path, query, most=most), columns, output), watch=watch)
