"""`lockgate`: the operator's command.

A noun's module is imported when the noun is used or completed, so that help is instant and a broken part breaks only
itself.
"""

import importlib
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer
import typer.main
from typer._click.core import Command, Context
from typer._completion_classes import completion_init
from typer.core import TyperGroup

from ops.cli.errors import ExitCode, complain

# Noun, the module with its `app` or its function of that name, and its line in the help.
_NOUNS: Final = (
    ("auth", "ops.cli.auth", "Who you are: login, status, logout."),
    ("dev", "ops.cli.dev", "The local stack: up, start, stop, status, reset."),
    ("agent", "ops.cli.agent", "Agents: list, versions, show, register, state, promote, roll-back, disable."),
    ("key", "ops.cli.key", "A tenant's API keys: list, show, create, rotate, revoke."),
    ("invocation", "ops.cli.invocation", "A tenant's invocations: list, show, stop."),
    ("session", "ops.cli.session", "A tenant's sessions: list, stop."),
    ("job", "ops.cli.job", "A tenant's jobs: list, show, cancel, fail."),
    ("deadletter", "ops.cli.deadletter", "Dead letters of all tenants: list, redrive, purge."),
    ("webhook", "ops.cli.webhook", "A tenant's webhooks: list, show, deliveries, disable, redeliver."),
    ("region", "ops.cli.region", "The region agents run in: show, fail-over, fail-back."),
    ("lock", "ops.cli.lock", "Operators' locks: list, show, acquire, release, steal."),
    ("audit", "ops.cli.audit", "What operators did: list, refusals, export, verify."),
    ("serve", "ops.cli.serve", "Run a gateway."),
    ("work", "ops.cli.work", "Run a worker that drives jobs."),
    (
        "tenant",
        "ops.cli.tenant",
        "Tenants: list, show, create, update, suspend, reinstate, bind, unbind, delete, restore, export, erase.",
    ),
    ("status", "ops.cli.status", "How the platform is: every figure with its age."),
    ("billing", "ops.cli.billing", "Tenants' months against their budgets: list, show."),
    ("usage", "ops.cli.usage", "What a tenant used: show."),
    ("quota", "ops.cli.quota", "AgentCore's quota: show, request, stop-sessions."),
    ("top", "ops.cli.top", "One screen: health, load, queues, loud tenants, alarms."),
    ("alarms", "ops.cli.alarms", "Alarms: list, check, wait, seen."),
    ("runbook", "ops.cli.runbook", "Runbooks: list, show, run."),
    ("tool", "ops.cli.tool", "Tools: list, show, register, allow, deny, reset."),
    ("runtime", "ops.cli.runtime", "Run the local AgentCore by itself."),
    ("completion", "ops.cli.completion", "Completion of this command line for bash, zsh or fish."),
)


# What they run is no call of the Admin API: nothing of theirs waits for its answer.
_WITHOUT_API: Final = frozenset({"auth", "dev", "serve", "work", "alarms", "runbook", "runtime", "completion"})


class Nouns(TyperGroup):
    """The command line; a noun stands for itself in the help, and is loaded where its verbs are asked for."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Return the noun that the arguments begin with, loaded, and what follows it."""
        noun, command, rest = super().resolve_command(ctx, args)
        module = next((module for name, module, _ in _NOUNS if name == noun), None)
        return noun, command if noun is None or module is None else _command(noun, module), rest


app = typer.Typer(
    name="lockgate",
    cls=Nouns,
    help="Lockgate: agents as a service for many tenants.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 declined, 4 not allowed, 5 not found, 6 conflict, "
    "7 not verified, 8 timed out, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    completion_init()
    app(prog_name="lockgate")


def load_all() -> None:
    """Import every noun's module: what runs many commands pays for it once."""
    for noun, module, _ in _NOUNS:
        _load(noun, module)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lockgate {version('lockgate')}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _mount(noun: str, summary: str) -> None:
    @app.command(noun, help=summary)
    def _stands_for_it() -> None:
        pass


def _command(noun: str, module: str) -> Command:
    """Return a noun's command with its verbs, or the one that has none."""
    return typer.main.get_command(_load(noun, module))


def _load(noun: str, module: str) -> typer.Typer:
    try:
        room = importlib.import_module(module)
    except ImportError as error:
        complain(f"`{noun}` cannot be loaded: {error}; `make install` brings what is missing")
        sys.exit(ExitCode.FAILED)
    mounted = getattr(room, "app", None)
    if not isinstance(mounted, typer.Typer):
        mounted = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        mounted.command(noun)(getattr(room, noun))
    if noun not in _WITHOUT_API:
        from ops.cli.patience import patient  # noqa: PLC0415 - help needs none of it

        for verb in mounted.registered_commands:
            if verb.callback is not None:
                verb.callback = patient(verb.callback)
    return mounted


for _noun, _, _summary in _NOUNS:
    _mount(_noun, _summary)


if __name__ == "__main__":
    main()
