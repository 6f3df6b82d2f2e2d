"""`lockgate dev`: the local stack in the foreground, and how another terminal steers it."""

import asyncio
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from ops.cli.environment import settings_of
from ops.cli.errors import ExitCode, explained
from ops.cli.local import asked, running
from ops.cli.local import layout as current_layout
from ops.cli.printing import Format, Output, drawn, items_text, table_of
from ops.cli.watching import Watch
from ops.cli.watching import show as again
from ops.devstack.control import PartReport, Request
from ops.devstack.device_grant import decide
from ops.devstack.layout import CHECKOUT, Layout
from ops.devstack.lock import only_stack
from ops.devstack.parts import State
from ops.settings import DevSettings
from tenancy.clock import SystemClock
from tenancy.errors import LockgateError
from tenancy.ids import TenantId, parse_tenant_id

app = typer.Typer(
    name="dev",
    help="The local stack: every part embedded, nothing else to install or run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_STATE_STYLE: Final = {State.READY: "green", State.DEAD: "red", State.FAILED: "red", State.STOPPED: "yellow"}
_COLUMNS: Final = {
    "part": "name",
    "state": "state",
    "pid": "pid",
    "ports": "ports",
    "healthy": "healthy",
    "log": "log",
}


class _NoSuchCheckoutError(LockgateError):
    code = "no_checkout"


@app.command()
def up() -> None:
    """Start everything, show the reference agent in its three modes, stay up until Ctrl-C.

    Example: lockgate dev up
    """
    settings = settings_of(DevSettings)
    with explained():
        if not (CHECKOUT / "Makefile").exists():
            raise _NoSuchCheckoutError("the local stack runs from a checkout of Lockgate; `make dev` there starts it")
        typer.echo("Lockgate is starting")
        sys.stdout.flush()
        # After the first line, because these take a second.
        from ops.devstack.foreground import Foreground  # noqa: PLC0415
        from ops.devstack.screen import Screen  # noqa: PLC0415

        layout, clock = current_layout(), SystemClock()
        screen = Screen(Console(highlight=False), layout, clock=clock, command=_command(settings))
        code = asyncio.run(Foreground(layout, settings, screen, clock).run())
    raise typer.Exit(code)


@app.command()
def start(
    part: Annotated[str, typer.Argument(help="redis, store, issuer, runtime, receiver, worker or gateway")],
) -> None:
    """Bring back a part of the running stack that died or was stopped.

    Example: lockgate dev start worker
    """
    typer.echo(asked(Request(verb="start", part=part)).detail)


@app.command()
def stop(
    part: Annotated[str, typer.Argument(help="redis, store, issuer, runtime, receiver, worker or gateway")],
) -> None:
    """Stop a part of the running stack; it stays down until started.

    Example: lockgate dev stop worker
    """
    typer.echo(asked(Request(verb="stop", part=part)).detail)


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the running stack's parts: state, pid, ports, health.

    Example: lockgate dev status -o json
    """
    parts: tuple[PartReport, ...] = ()

    def look() -> str:
        nonlocal parts
        reply = asked(Request(verb="status"))
        parts = reply.parts
        if as_json or output is Format.JSON:
            return reply.model_dump_json(include={"parts"}, indent=2) + "\n"
        if output is Format.TABLE:
            return drawn(_table(parts))
        return items_text([part.model_dump(mode="json") for part in parts], _COLUMNS, output)

    again(look, watch=watch)
    if any(part.pid is None or part.healthy is False for part in parts):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def reset() -> None:
    """Forget the stack's data, keys and logs; refuses while a stack runs.

    Example: lockgate dev reset
    """
    layout = current_layout()
    if not layout.state.exists():
        typer.echo(f"nothing to forget: {layout.state} does not exist")
        return
    with explained(), ExitStack() as held:
        # A second stack's state may be inside the first's.
        for pid_file in (layout.pid_file, *layout.state.glob("*/dev.pid")):
            held.enter_context(only_stack(Layout(pid_file.parent)))
        shutil.rmtree(layout.state)
    typer.echo(f"forgot {layout.state}")


@app.command()
def crowd(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", parser=parse_tenant_id, help="The tenant's id.")],
    count: Annotated[int, typer.Argument(min=1, help="How many.")],
) -> None:
    """Count runtime sessions that do not exist as a tenant's: a rehearsal of a full quota.

    Example: lockgate dev crowd globex 500
    """
    # It takes a second, and only here.
    from ops.devstack.crowd import crowd as fill  # noqa: PLC0415

    [redis] = [part for part in asked(Request(verb="status")).parts if part.name == "redis"]
    with explained():
        asyncio.run(fill(redis.ports[0], TenantId(tenant), count))
    typer.echo(f"{count} sessions more count as {tenant}'s, for a quarter of an hour or until they are stopped")


@app.command()
def approve(
    code: Annotated[str, typer.Argument(metavar="CODE", help="What the device shows, as WDJB-MJHT.")],
    deny: Annotated[bool, typer.Option("--deny", help="Say no instead.")] = False,
) -> None:
    """Approve a device that wants to sign in to the local identity provider as the operator.

    Example: lockgate dev approve WDJB-MJHT
    """
    running()
    with explained(ExitCode.USAGE):
        decide(current_layout().data("issuer"), code, approved=not deny)
    typer.echo(f"{code} is {'denied' if deny else 'approved'}")


def _command(settings: DevSettings) -> str:
    """Return `lockgate dev` as it has to be typed in another terminal, in this folder, to mean this stack."""
    called = Path(sys.argv[0])
    name = str(called) if called.name == "lockgate" else "lockgate"
    state = f"LOCKGATE_DEV_STATE={shlex.quote(str(settings.state.absolute()))} " if settings.state else ""
    return f"{state}{name} dev"


def _table(parts: tuple[PartReport, ...]) -> Table:
    table = table_of(*_COLUMNS)
    for part in parts:
        table.add_row(
            part.name,
            f"[{_STATE_STYLE.get(part.state, 'default')}]{part.state}[/]",
            str(part.pid or "-"),
            " ".join(map(str, part.ports)) or "-",
            {True: "yes", False: "[red]no[/]", None: "-"}[part.healthy],
            _short(Path(part.log)),
        )
    return table


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
