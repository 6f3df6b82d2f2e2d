"""`lockgate alarms`: every alarm there is, and which of them ring on the local stack.

Elsewhere CloudWatch evaluates the same catalogue.
"""

import asyncio
from enum import StrEnum
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.alarms.catalogue import Severity, catalogue
from ops.alarms.watch import AlarmState, AlarmUnknownError
from ops.cli.errors import ExitCode, complain, explained
from ops.cli.local import asked
from ops.devstack.control import Request
from tenancy.clock import SystemClock

app = typer.Typer(
    name="alarms",
    help="Alarms: list, check, wait, seen.",
    epilog="What rings is evaluated by the running dev stack; elsewhere CloudWatch evaluates the same catalogue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_LOOK_S: Final = 0.5
_STYLE: Final = {Severity.PAGE: "red", Severity.TICKET: "yellow"}


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
Name = Annotated[str, typer.Argument(metavar="ALARM", help="An alarm's name.")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show every alarm with its severity, its runbook and when it rings."""
    if output is Format.JSON:
        _print_json([alarm.model_dump(mode="json", exclude_defaults=True) for alarm in catalogue()])
        return
    table = _table("alarm", "severity", "runbook", "says")
    for alarm in catalogue():
        table.add_row(alarm.name, f"[{_STYLE[alarm.severity]}]{alarm.severity}[/]", alarm.runbook, escape(alarm.says))
    Console(soft_wrap=True).print(table)


@app.command()
def check(
    output: Output = Format.TABLE,
    every: Annotated[bool, typer.Option("--all", help="Those that are silent, too.")] = False,
) -> None:
    """Show which alarms ring now; exits with 1 where any does."""
    states = _states()
    shown = [state for state in states if every or state.ringing]
    if output is Format.JSON:
        _print_json([state.model_dump(mode="json") for state in shown])
    elif shown:
        table = _table("alarm", "severity", "runbook", "state", "found", "says")
        for state in shown:
            mark = f"[{_STYLE[state.severity]}]rings[/]" if state.ringing else "[green]silent[/]"
            found = escape("; ".join(state.found))
            table.add_row(state.name, state.severity, state.runbook, mark, found, escape(state.says))
        Console(soft_wrap=True).print(table)
    else:
        typer.echo(f"all {len(states)} alarms are silent")
    if any(state.ringing for state in states):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def wait(
    alarm: Name,
    silent: Annotated[bool, typer.Option("--silent", help="Until it is silent, instead of until it rings.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds.")] = 60.0,
) -> None:
    """Wait until an alarm rings; exits with 8 if it has not in time."""
    clock = SystemClock()
    until_s = clock.monotonic() + timeout_s
    while True:
        state = next((state for state in _states() if state.name == alarm), None)
        with explained():
            if state is None:
                raise AlarmUnknownError(f"no alarm is called {alarm!r}; `lockgate alarms list` shows all")
        if state.ringing is not silent:
            typer.echo(f"{alarm} {'rings' if state.ringing else 'is silent'}: {'; '.join(state.found)}")
            typer.echo(f"{state.says} Runbook {state.runbook}.")
            return
        if clock.monotonic() >= until_s:
            complain(f"{alarm} {'still rings' if silent else 'is still silent'} after {timeout_s:g} s")
            raise typer.Exit(ExitCode.TIMED_OUT)
        asyncio.run(clock.sleep(_LOOK_S))


@app.command()
def seen(alarm: Name) -> None:
    """Let an alarm that counts begin anew: what it rang for is seen to."""
    typer.echo(asked(Request(verb="seen", alarm=alarm)).detail)


def _states() -> tuple[AlarmState, ...]:
    return asked(Request(verb="alarms")).alarms


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in headings:
        table.add_column(heading, header_style="dim", no_wrap=True)
    return table


def _print_json(value: object) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
