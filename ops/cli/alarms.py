"""`lockgate alarms`: every alarm there is, and which of them ring on the local stack.

Elsewhere CloudWatch evaluates the same catalogue.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from pydantic import JsonValue
from rich.markup import escape

from ops.alarms.catalogue import Severity, catalogue
from ops.alarms.watch import AlarmState, AlarmUnknownError
from ops.cli.errors import ExitCode, complain, explained
from ops.cli.local import asked
from ops.cli.printing import Format, Output, drawn, items_text, print_items, table_of
from ops.cli.watching import Watch
from ops.cli.watching import show as again
from ops.devstack.control import Request
from tenancy.clock import SystemClock, pause

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


_COLUMNS: Final = {"alarm": "name", "severity": "severity", "runbook": "runbook", "says": "says"}
_STATES: Final = {
    "alarm": "name",
    "severity": "severity",
    "runbook": "runbook",
    "rings": "ringing",
    "found": "found",
    "says": "says",
}
Name = Annotated[str, typer.Argument(metavar="ALARM", help="An alarm's name.")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show every alarm with its severity, its runbook and when it rings.

    Example: lockgate alarms list
    """
    if output is not Format.TABLE:
        alarms: list[JsonValue] = [alarm.model_dump(mode="json", exclude_defaults=True) for alarm in catalogue()]
        print_items(alarms, _COLUMNS, output)
        return
    table = table_of(*_COLUMNS)
    for alarm in catalogue():
        table.add_row(alarm.name, f"[{_STYLE[alarm.severity]}]{alarm.severity}[/]", alarm.runbook, escape(alarm.says))
    typer.echo(drawn(table), nl=False)


@app.command()
def check(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that are silent, too.")] = False,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show which alarms ring now; exits with 1 where any does.

    Example: lockgate alarms check --all
    """
    states: tuple[AlarmState, ...] = ()

    def look() -> str:
        nonlocal states
        states = _states()
        return _text(states, [state for state in states if every or state.ringing], output)

    again(look, watch=watch)
    if any(state.ringing for state in states):
        raise typer.Exit(ExitCode.FAILED)


def _text(states: Sequence[AlarmState], shown: Sequence[AlarmState], output: Format) -> str:
    if output is not Format.TABLE:
        found: list[JsonValue] = [state.model_dump(mode="json") for state in shown]
        return items_text(found, _STATES, output)
    if not shown:
        return f"all {len(states)} alarms are silent\n"
    table = table_of("alarm", "severity", "runbook", "state", "found", "says")
    for state in shown:
        mark = f"[{_STYLE[state.severity]}]rings[/]" if state.ringing else "[green]silent[/]"
        said = escape("; ".join(state.found))
        table.add_row(state.name, state.severity, state.runbook, mark, said, escape(state.says))
    return drawn(table)


@app.command()
def wait(
    alarm: Name,
    silent: Annotated[bool, typer.Option("--silent", help="Until it is silent, instead of until it rings.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds.")] = 60.0,
) -> None:
    """Wait until an alarm rings; exits with 8 if it has not in time.

    Example: lockgate alarms wait jobs-dead --timeout 60
    """
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
        pause(_LOOK_S)


@app.command()
def seen(alarm: Name) -> None:
    """Let an alarm that counts begin anew: what it rang for is seen to.

    Example: lockgate alarms seen jobs-dead
    """
    typer.echo(asked(Request(verb="seen", alarm=alarm)).detail)


def _states() -> tuple[AlarmState, ...]:
    return asked(Request(verb="alarms")).alarms
