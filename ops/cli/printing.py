"""How operators' commands print lists and single things: as a table for people, as JSON, NDJSON or CSV for programs."""

import csv
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, TypeAlias, assert_never

import orjson
import typer
from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table


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
    match output:
        case Format.JSON:
            print_json(list(items))
        case Format.NDJSON:
            for item in items:
                typer.echo(orjson.dumps(item).decode())
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_shown(item, place) for place in columns.values()] for item in items)
        case Format.TABLE:
            _print_table(items, columns)
        case _:
            assert_never(output)


def print_item(item: JsonValue, output: Format) -> None:
    """Print one thing; people see a line for each of its members."""
    members = dict.fromkeys(item) if isinstance(item, dict) else {}
    if output is Format.JSON:
        print_json(item)
    elif output is not Format.TABLE:
        print_items([item], {name: name for name in members}, output)
    else:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
        for name in members:
            table.add_row(f"[dim]{name}[/]", escape(_shown(item, name)))
        Console(soft_wrap=True).print(table)


def print_json(value: JsonValue) -> None:
    """Print JSON for reading."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_table(items: Sequence[JsonValue], columns: Columns) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in columns:
        table.add_column(heading, header_style="dim", no_wrap=True)
    for item in items:
        table.add_row(*(escape(_shown(item, place)) for place in columns.values()))
    Console(soft_wrap=True).print(table)


def _shown(item: JsonValue, place: str) -> str:
    value = item
    for name in place.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    match value:
        case None:
            return "-"
        case str():
            return value
        case _:
            return orjson.dumps(value).decode()
