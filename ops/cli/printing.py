"""How operators' commands print lists and single things: as a table for people, as JSON, NDJSON or CSV for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, TypeAlias, assert_never

import orjson
import typer
from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDEST: Final = 1_000


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
Columns: TypeAlias = Mapping[str, str]
"""Heading -> where its value is in an item, as `failure.code`."""


def print_items(items: Sequence[JsonValue], columns: Columns, output: Format) -> None:
    """Print a list; the columns are the table's and the CSV's, JSON has all there is."""
    typer.echo(items_text(items, columns, output), nl=False)


def print_item(item: JsonValue, output: Format) -> None:
    """Print one thing; people see a line for each of its members."""
    typer.echo(item_text(item, output), nl=False)


def items_text(items: Sequence[JsonValue], columns: Columns, output: Format) -> str:
    """Return a list as `print_items` prints it."""
    match output:
        case Format.JSON:
            return _json(list(items))
        case Format.NDJSON:
            return "".join(f"{orjson.dumps(item).decode()}\n" for item in items)
        case Format.CSV:
            sink = io.StringIO()
            writer = csv.writer(sink, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_shown(item, place) for place in columns.values()] for item in items)
            return sink.getvalue()
        case Format.TABLE:
            table = table_of(*columns)
            for item in items:
                table.add_row(*(escape(_shown(item, place)) for place in columns.values()))
            return drawn(table)
        case _:
            assert_never(output)


def item_text(item: JsonValue, output: Format) -> str:
    """Return one thing as `print_item` prints it."""
    members = dict.fromkeys(item) if isinstance(item, dict) else {}
    if output is Format.JSON:
        return _json(item)
    if output is not Format.TABLE:
        return items_text([item], {name: name for name in members}, output)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for name in members:
        table.add_row(f"[dim]{name}[/]", escape(_shown(item, name)))
    return drawn(table)


def table_of(*headings: str) -> Table:
    """Return a table without rows, as all of them look."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in headings:
        table.add_column(heading, header_style="dim", no_wrap=True)
    return table


def drawn(table: Table) -> str:
    """Return a table as the terminal shows it, or as a file keeps it."""
    # As wide as it is: an id cut short is of no use, and a terminal wraps by itself.
    console = Console(width=_WIDEST)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def print_json(value: JsonValue) -> None:
    """Print JSON for reading."""
    typer.echo(_json(value), nl=False)


def _json(value: JsonValue) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _shown(item: JsonValue, place: str) -> str:
    value = item
    for name in place.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    match value:
        case None | []:
            return "-"
        case str():
            return value
        case [*words] if words and all(isinstance(word, str) for word in words):
            return ", ".join(map(str, words))
        case _:
            return orjson.dumps(value).decode()
