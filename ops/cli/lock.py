"""`lockgate lock`: what operators take before they act, so that two of them do not."""

from typing import Annotated, Final
from urllib.parse import quote

import typer
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from ops.cli.acting import DryRun, Output, Reason, Yes, act, agreed
from ops.cli.admin_api import AdminApi, connected
from ops.cli.printing import Format, print_item
from ops.cli.watching import Watch, show_items

app = typer.Typer(
    name="lock",
    help="Locks: list, show, acquire, release, steal.",
    epilog="Exit code 6: somebody else holds the lock, or it is not held under that fence any more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_COLUMNS: Final = {
    "lock": "name",
    "holder": "holder",
    "fence": "fence",
    "free in s": "freeInSeconds",
    "reason": "reason",
}
Name = Annotated[str, typer.Argument(metavar="LOCK", help="The lock's name, as failover.")]


class Held(BaseModel):
    """What commands need of a lock."""

    model_config = ConfigDict(alias_generator=to_camel)

    fence: int
    lease_seconds: int


def held(answer: JsonValue) -> Held:
    """Read what the API says of a lock."""
    return Held.model_validate(answer)


def path(name: str, verb: str = "") -> str:
    """Return a lock's path."""
    return "/".join(["/locks", quote(name, safe=""), *([verb] if verb else [])])


@app.command("list")
def list_(watch: Watch = False, output: Output = Format.TABLE) -> None:
    """Show every lock and who holds it.

    Example: lockgate lock list
    """
    show_items("/locks", _COLUMNS, output, watch=watch)


@app.command()
def show(lock: Name, output: Output = Format.TABLE) -> None:
    """Show one lock.

    Example: lockgate lock show failover
    """
    print_item(connected().call("GET", path(lock)), output)


@app.command()
def acquire(lock: Name, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Take a lock that is free, or whose holder was silent for a whole lease; hold it for half a minute.

    Example: lockgate lock acquire failover --reason "Dublin does not answer"
    """
    act("POST", path(lock, "acquire"), {"reason": reason}, output, dry_run=dry_run)


@app.command()
def release(
    lock: Name,
    *,
    reason: Reason,
    fence: Annotated[int | None, typer.Option(help="Its fence; the lock's own where it is left out.")] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Give a lock back.

    Example: lockgate lock release failover --fence 5 --reason switched
    """
    api = connected()
    act("POST", path(lock, "release"), {"reason": reason, "fence": fence or _fence(api, lock)}, output, dry_run=dry_run)


@app.command()
def steal(
    lock: Name, *, reason: Reason, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Take a lock from a holder that is known to be gone; nothing that one still does is accepted.

    Example: lockgate lock steal failover --reason "her laptop is gone" --yes
    """
    agreed(f"whoever holds {lock} is shut out", lock, yes=yes or dry_run)
    act("POST", path(lock, "steal"), {"reason": reason}, output, dry_run=dry_run)


def _fence(api: AdminApi, lock: str) -> int:
    return max(1, held(api.call("GET", path(lock))).fence)
