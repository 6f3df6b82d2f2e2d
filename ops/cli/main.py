"""`lockgate`: the operator's command.

A noun's module is imported when the noun is used, so that help is instant and a broken part breaks only itself.
"""

import importlib
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from ops.cli.errors import ExitCode, complain

app = typer.Typer(
    name="lockgate",
    help="Lockgate: agents as a service for many tenants.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 declined, 4 not allowed, 5 not found, 6 conflict, "
    "7 not verified, 8 timed out, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Noun, the module with its `app` or its function of that name, and its line in the help.
_NOUNS: Final = (
    ("dev", "ops.cli.dev", "The local stack: up, start, stop, status, reset."),
    ("agent", "ops.cli.agent", "Agents: list, versions, show, register, state, promote, roll-back, disable."),
    ("key", "ops.cli.key", "A tenant's API keys: list, show, create, rotate, revoke."),
    ("invocation", "ops.cli.invocation", "A tenant's invocations: list, show, stop."),
    ("session", "ops.cli.session", "A tenant's sessions: list, stop."),
    ("job", "ops.cli.job", "A tenant's jobs: list, show, cancel, fail."),
    ("deadletter", "ops.cli.deadletter", "Dead letters of all tenants: list, redrive, purge."),
    ("webhook", "ops.cli.webhook", "A tenant's webhooks: list, deliveries, disable, redeliver."),
    ("region", "ops.cli.region", "The region agents run in: show, fail-over, fail-back."),
    ("lock", "ops.cli.lock", "Operators' locks: list, show, acquire, release, steal."),
    ("audit", "ops.cli.audit", "What operators did: list, refusals, export, verify."),
    ("serve", "ops.cli.serve", "Run a gateway."),
    ("work", "ops.cli.work", "Run a worker that drives jobs."),
    ("tenant", "ops.cli.tenant", "Tenants: list, show, create, update, suspend, reinstate, bind, unbind."),
    ("quota", "ops.cli.quota", "AgentCore's quota: show, request, stop-sessions."),
    ("top", "ops.cli.top", "One screen: health, load, queues, loud tenants, alarms."),
    ("alarms", "ops.cli.alarms", "Alarms: list, check, wait, seen."),
    ("runbook", "ops.cli.runbook", "Runbooks: list, show, run."),
    ("tool", "ops.cli.tool", "Tools: list, show, register, allow, deny, reset."),
    ("runtime", "ops.cli.runtime", "Run the local AgentCore by itself."),
)


def main() -> None:
    """Run the command line."""
    app()


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


def _mount(noun: str, module: str, summary: str) -> None:
    @app.command(
        noun,
        help=summary,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    def _run(context: typer.Context) -> None:
        _load(noun, module)(args=context.args, prog_name=f"lockgate {noun}")


def _load(noun: str, module: str) -> typer.Typer:
    try:
        room = importlib.import_module(module)
    except ImportError as error:
        complain(f"`{noun}` cannot be loaded: {error}; `make install` brings what is missing")
        sys.exit(ExitCode.FAILED)
    mounted = getattr(room, "app", None)
    if isinstance(mounted, typer.Typer):
        return mounted
    mounted = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    mounted.command(noun)(getattr(room, noun))
    return mounted


for _noun in _NOUNS:
    _mount(*_noun)


if __name__ == "__main__":
    main()
