"""Looking again and again: what a verb shows, shown whenever it changes, until Ctrl-C."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Console

from ops.cli.admin_api import Query, connected
from ops.cli.printing import Columns, Format, items_text
from tenancy.clock import SystemClock

LOOK_S: Final = 2.0
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again whenever it changes, until Ctrl-C.")]


def show(look: Callable[[], str], *, watch: bool) -> None:
    """Show what a look finds; with `watch` each time that is something else, in place where there is a terminal."""
    found = look()
    if not watch:
        typer.echo(found, nl=False)
        return
    clock, console = SystemClock(), Console()
    with asyncio.Runner() as runner:
        # Made before anything is shown: Ctrl-C in the midst of it would leave half a loop.
        runner.get_loop()
        typer.echo(found, nl=False)
        while True:
            runner.run(clock.sleep(LOOK_S))
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
