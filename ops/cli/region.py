"""`lockgate region`: where agents run, and having them run elsewhere.

A switch is made under the failover lock, which is renewed until every gateway process says that it serves the new
region, and given back in any case.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from ops.cli.acting import DryRun, Output, Reason, Yes, agreed
from ops.cli.admin_api import AdminApi, connected
from ops.cli.errors import ExitCode, complain
from ops.cli.lock import Held, held, path
from ops.cli.printing import Format, item_text, print_item, print_json
from ops.cli.watching import Watch
from ops.cli.watching import show as again
from tenancy.clock import Clock, SystemClock, pause

app = typer.Typer(
    name="region",
    help="The region agents run in: show, fail-over, fail-back.",
    epilog="Exit codes: 6 another operator holds the lock, 8 not every process followed in time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_LOOK_S: Final = 0.5
# The lock that switches are made under.
_LOCK: Final = "failover"
_RENEWALS: Final = 3
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait until every process serves the new region.")]


class _Process(BaseModel):
    process: str
    serving: str | None


class _Region(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    serving: str
    home: str
    failover: str
    settled: bool
    processes: tuple[_Process, ...]

    @property
    def following(self) -> str:
        """How many processes serve it."""
        return f"{sum(one.serving == self.serving for one in self.processes)} of {len(self.processes)}"


@app.command()
def show(*, watch: Watch = False, output: Output = Format.TABLE) -> None:
    """Show which region serves, why, and what each gateway process makes of it.

    Example: lockgate region show
    """
    api = connected()
    again(lambda: item_text(api.call("GET", "/region"), output), watch=watch)


@app.command("fail-over")
def fail_over(
    *, reason: Reason, yes: Yes = False, timeout: Timeout = 90, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Have agents run in the failover region from now on; what streams now ends.

    Example: lockgate region fail-over --reason "Dublin does not answer" --yes
    """
    _switch("fail-over", reason, timeout, output, yes=yes, dry_run=dry_run)


@app.command("fail-back")
def fail_back(
    *, reason: Reason, yes: Yes = False, timeout: Timeout = 90, dry_run: DryRun = False, output: Output = Format.TABLE
) -> None:
    """Have agents run in the home region again; what streams now ends.

    Example: lockgate region fail-back --reason "Dublin answers again" --yes
    """
    _switch("fail-back", reason, timeout, output, yes=yes, dry_run=dry_run)


def _switch(verb: str, reason: str, timeout_s: float, output: Format, *, yes: bool, dry_run: bool) -> None:
    body: dict[str, JsonValue] = {"reason": reason}
    if dry_run:
        print_json({"method": "POST", "path": f"/v1/admin/region/{verb}", "body": body})
        return
    api, clock = connected(), SystemClock()
    now = _Region.model_validate(api.call("GET", "/region"))
    target = now.failover if verb == "fail-over" else now.home
    agreed(f"agents will run in {target}, and what streams now ends", target, yes=yes)
    with _locked(api, reason) as lock:
        api.call("POST", f"/region/{verb}", body={**body, "fence": lock.fence})
        _say(f"switched to {target} under fence {lock.fence}")
        answer = _followed(api, clock, lock, timeout_s)
    print_item(answer, output)


@contextmanager
def _locked(api: AdminApi, reason: str) -> Iterator[Held]:
    """Hold the failover lock for the block; ends the command with exit code 6 where another one does."""
    lock = held(api.call("POST", path(_LOCK, "acquire"), body={"reason": reason}))
    try:
        yield lock
    finally:
        api.call("POST", path(_LOCK, "release"), body={"reason": reason, "fence": lock.fence})


def _followed(api: AdminApi, clock: Clock, lock: Held, timeout_s: float) -> JsonValue:
    """Return the region once every gateway process serves it; ends the command where that takes too long."""
    began_s = renewed_s = clock.monotonic()
    told = ""
    while True:
        answer = api.call("GET", "/region")
        region = _Region.model_validate(answer)
        if region.following != told:
            told = region.following
            _say(f"{told} gateway processes serve {region.serving}")
        now_s = clock.monotonic()
        if region.settled:
            _say(f"all serve {region.serving} after {now_s - began_s:.1f} s")
            return answer
        if now_s - began_s > timeout_s:
            complain(f"{told} gateway processes serve {region.serving} after {timeout_s:g} s; the switch stands")
            raise typer.Exit(ExitCode.TIMED_OUT)
        if now_s - renewed_s >= lock.lease_seconds / _RENEWALS:
            api.call("POST", path(_LOCK, "renew"), body={"fence": lock.fence})
            renewed_s = now_s
        pause(_LOOK_S)


def _say(what: str) -> None:
    """Tell progress, away from what is printed for programs."""
    sys.stderr.write(what + "\n")
