"""`lockgate top`: one screen of the running dev stack: health, load, queues, loud tenants, alarms."""

import asyncio
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ops.alarms.readings import Reading, read
from ops.cli.admin_api import LOCAL, AdminApi, connected
from ops.cli.environment import settings_of
from ops.cli.local import asked
from ops.cli.printing import Format
from ops.cli.status import status
from ops.devstack.control import Request
from ops.devstack.ports import HOST
from ops.look import Look, RegionLook, Sessions, TenantLook, looked
from ops.settings import OperatorSettings
from tenancy.clock import SystemClock, pause

_FIRST_S: Final = 1.0
_LOUD: Final = 5


class _Quota(BaseModel):
    sessions: int
    limit: int
    tenants: tuple[TenantLook, ...]


class _Region(BaseModel):
    serving: str
    home: str
    settled: bool
    advice: str


def top(
    every_s: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, as plain text, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Look once, as JSON, and end.")] = False,
) -> None:
    """Show one live screen of the running dev stack, or of what the Admin API tells elsewhere; Ctrl-C ends it.

    Example: lockgate top --once
    """
    if settings_of(OperatorSettings).environment != LOCAL:
        # The private ports are out of reach: what the Admin API tells is all there is.
        status(watch=not (once or as_json), output=Format.JSON if as_json else Format.TABLE)
        return
    api, console = connected(), Console(highlight=False)
    before = _read()
    if as_json or once or not console.is_terminal:
        look, _ = _look(api, before, _FIRST_S)
        if as_json:
            typer.echo(look.model_dump_json(indent=2))
        else:
            console.print(_screen(look))
        return
    with Live(Text("…"), console=console, screen=True, auto_refresh=False) as live:
        wait_s = _FIRST_S
        while True:
            look, before = _look(api, before, wait_s)
            live.update(_screen(look), refresh=True)
            wait_s = every_s


def _look(api: AdminApi, before: Reading, wait_s: float) -> tuple[Look, Reading]:
    pause(wait_s)
    now = _read()
    try:
        quota = _Quota.model_validate(api.call("GET", "/quota"))
        sessions = Sessions(used=quota.sessions, limit=quota.limit, loud=quota.tenants[:_LOUD])
    except (typer.Exit, ValidationError):
        # A gateway that is down is what this screen is looked at for.
        sessions = None
    return looked(before, now, sessions, asked(Request(verb="alarms")).alarms, _region(api)), now


def _region(api: AdminApi) -> RegionLook | None:
    try:
        region = _Region.model_validate(api.call("GET", "/region"))
    except (typer.Exit, ValidationError):
        return None
    return RegionLook.model_validate(region.model_dump())


def _read() -> Reading:
    """Read every process that the stack has now."""
    parts = {part.name: part for part in asked(Request(verb="status")).parts}
    ports = {name: parts[name].ports[-1] for name in ("gateway", "worker") if name in parts}
    urls: dict[str, str] = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    return asyncio.run(read(urls, SystemClock().monotonic()))


def _screen(look: Look) -> Group:
    return Group(_health(look), _where(look), Text(), _figures(look), Text(), _tenants(look), Text(), _alarms(look))


def _health(look: Look) -> Text:
    line = Text()
    for name, process in look.processes.items():
        style, said = ("green", "ready") if process.ready else ("red", "not ready")
        line.append(f"{name} ").append(said, style).append(f" {' '.join(process.wrong)}".rstrip() + "   ")
    return line


def _where(look: Look) -> Text:
    region = look.region
    if region is None:
        return Text("region: the gateway does not say", "red")
    line = Text("agents run in ").append(region.serving, "green" if region.serving == region.home else "yellow")
    if region.serving != region.home:
        line.append(f", failed over from {region.home}")
    if not region.settled:
        line.append(", not every process yet", "red")
    if region.advice != "stay":
        line.append(f", advice {region.advice}", "red")
    return line


def _figures(look: Look) -> Table:
    load, queues = look.load, look.queues
    rows = (
        ("requests/s", load.requests_per_s, "jobs queued", queues.jobs_queued),
        ("errors/s", load.errors_per_s, "jobs running", queues.jobs_running),
        ("invocations/s", load.invocations_per_s, "ticks owed", queues.ticks_owed),
        ("in flight", load.invocations_in_flight, "oldest overdue s", queues.oldest_overdue_s),
        ("connections", load.connections, "records held", queues.records_held),
        ("loop lag ms", load.loop_lag_ms, "webhook attempts/s", queues.webhook_attempts_per_s),
    )
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for left, one, right, other in rows:
        table.add_row(Text(left, "dim"), f"{one:g}", Text(right, "dim"), f"{other:g}")
    return table


def _tenants(look: Look) -> Table | Text:
    if look.sessions is None:
        return Text("sessions: the gateway does not say", "red")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(f"sessions {look.sessions.used} of {look.sessions.limit}", header_style="dim")
    table.add_column("")
    for tenant in look.sessions.loud:
        style = "red" if tenant.runaway else ""
        table.add_row(Text(tenant.tenant, style), f"{tenant.sessions} ({tenant.percent} %)")
    return table


def _alarms(look: Look) -> Table | Text:
    if not look.alarms:
        return Text("no alarm rings", "green")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    for alarm in look.alarms:
        table.add_row(Text(alarm.name, "red"), alarm.severity, f"runbook {alarm.runbook}", alarm.says)
    return table
