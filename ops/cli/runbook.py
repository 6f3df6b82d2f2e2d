"""`lockgate runbook`: the pages an operator reads, and runs as they stand."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from ops.cli.errors import ExitCode, complain, explained
from ops.cli.local import layout, running
from ops.cli.printing import Format, Output, print_items
from ops.devstack.process import PartFailedError
from ops.runbooks import page
from ops.runbooks.commands import commands
from ops.runbooks.page import Runbook, Section
from ops.runbooks.rehearsal import FOLDER, LOCAL, Rehearsals, keep
from ops.runbooks.run import Evidence, Outcome, StepEvidence
from ops.settings import DevSettings
from tenancy.clock import SystemClock

app = typer.Typer(
    name="runbook",
    help="Runbooks: list, show, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "runbook": "id",
    "severity": "severity",
    "owner": "owner",
    "alarms": "alarms",
    "last run": "lastRun",
    "title": "title",
}
_MARKS: Final = {Outcome.SEEN: "[green]✓[/]"}
Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Such as 006.")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show every runbook, and when its last run on this checkout's stack was.

    Example: lockgate runbook list
    """
    with explained():
        books = page.every(FOLDER)
    shown: list[JsonValue] = [
        {**book.front.model_dump(mode="json"), "lastRun": _last_run(book.front.id), "title": book.title}
        for book in books
    ]
    print_items(shown, _COLUMNS, output)


@app.command()
def show(number: Number) -> None:
    """Show a runbook.

    Example: lockgate runbook show 006
    """
    with explained():
        book = page.find(FOLDER, number)
    console = Console()
    _, _, body = book.text.partition("\n---\n")
    console.print(Markdown(body) if console.is_terminal else body, markup=False, highlight=False, soft_wrap=True)


@app.command()
def run(
    number: Number,
    environment: Annotated[str, typer.Option("--env", help="Where: `local` injects the fault first.")] = LOCAL,
    record: Annotated[bool, typer.Option("--record", help="Keep the evidence.")] = False,
    given: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="What a step needs.")] = None,
) -> None:
    """Run a runbook on the local stack, its fault injected first; exits with 7 where a step shows something else.

    Example: lockgate runbook run 006 --env local --record
    """
    if environment != LOCAL:
        complain(f"runbooks run by themselves on the local stack only; `lockgate runbook show {number}` has the steps")
        raise typer.Exit(ExitCode.USAGE)
    with explained():
        book = page.find(FOLDER, number)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]{book.front.id} {escape(book.title)}[/]")
    evidence = asyncio.run(_rehearsed(book, dict(_pair(one) for one in given or ()), console))
    if record:
        console.print(f"evidence: {keep(evidence, layout())}")
    if evidence.outcome is not Outcome.SEEN:
        _undo(book, evidence, console)
        raise typer.Exit(ExitCode.UNVERIFIED)
    times = ("detected", evidence.detected_s), ("mitigated", evidence.mitigated_s), ("verified", evidence.verified_s)
    console.print(", ".join(f"{what} after {after} s" for what, after in times if after is not None))


async def _rehearsed(book: Runbook, variables: dict[str, str], console: Console) -> Evidence:
    dev, inherited = running(), DevSettings().inherited
    shown: list[Section] = []

    def told(step: StepEvidence) -> None:
        if step.section not in shown:
            shown.append(step.section)
            console.print(f"\n[bold]{step.section}[/]")
        console.print(f"  {_MARKS.get(step.outcome, '[red]✗[/]')} {escape(step.title)}  [dim]{step.took_s} s[/]")

    try:
        async with commands(inherited) as bin_folder:
            return await Rehearsals(dev, layout(), inherited, bin_folder, SystemClock())(book, told, variables)
    except PartFailedError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.FAILED) from error


def _undo(book: Runbook, evidence: Evidence, console: Console) -> None:
    """Say which step did not show what, and how those before it are undone."""
    last = evidence.steps[-1]
    console.print(f"\n[red]{escape(last.title)}: {last.outcome.replace('_', ' ')}[/]", last.exit_code)
    console.print(last.script, last.output, sep="\n", markup=False)
    if last.missing is not None:
        console.print(f"expected, and not seen: {last.missing}", markup=False)
    for step in reversed(book.steps[: len(evidence.steps)]):
        console.print(f"undo {step.title}: {step.undo}", markup=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    return name, value


def _last_run(number: str) -> str:
    kept: list[Path] = sorted((layout().state / "evidence").glob(f"{number}-*.json"))
    if not kept:
        return "-"
    found = Evidence.model_validate_json(kept[-1].read_bytes())
    return f"{found.started_at:%Y-%m-%d %H:%M} {found.outcome}"
