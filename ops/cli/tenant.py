"""`lockgate tenant`: who is served, how much, and who speaks for whom, over the Admin API."""

from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import orjson
import typer
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.cli import ending
from ops.cli.acting import DryRun, Reason, asked, delete
from ops.cli.admin_api import connected
from ops.cli.arguments import Id as Id
from ops.cli.errors import ExitCode, complain
from ops.cli.printing import Columns, Format, Output, print_item, print_items, print_json
from tenancy.tiers import Tier

app = typer.Typer(
    name="tenant",
    help="Tenants: list, show, create, update, suspend, reinstate, bind, unbind, delete, restore, erase, certificate.",
    epilog="ENV=local, the default, acts on the running dev stack as its operator. Elsewhere LOCKGATE_GATEWAY and "
    "LOCKGATE_TOKEN say where and as whom.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class _Pattern(BaseModel):
    name: str
    pattern: str


class Redaction(StrEnum):
    """What happens to personal data in answers."""

    OFF = "off"
    REDACT = "redact"
    BLOCK = "block"


class _Shown(BaseModel):
    """What the table shows of a tenant; the rest of the answer is for `-o json`."""

    model_config = ConfigDict(alias_generator=to_camel)

    id: str
    name: str
    tier: str
    status: str
    status_reason: str | None
    limits: dict[str, int | None]
    monthly_budget_microusd: int | None
    redaction: str
    redaction_patterns: tuple[_Pattern, ...]
    contacts: dict[str, str | None]
    region: str
    version: int
    updated_at: str


# As the API calls them; a test holds them to its schema, which takes a second to import.
LIMIT_NAMES: Final = (
    "burstRequests",
    "concurrentStreams",
    "invocationsPerDay",
    "replaySeconds",
    "requestsPerSecond",
    "runningJobs",
)


def _number_or_none(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor `none`") from None


_COLUMNS: Final[Columns] = {
    "tenant": "id",
    "tier": "tier",
    "status": "status",
    "req/s": "limits.requestsPerSecond",
    "streams": "limits.concurrentStreams",
    "name": "name",
}
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME=NUMBER", help="Such as concurrentStreams=10; =none is the tier's own again."),
]
Budget = Annotated[
    str | None, typer.Option("--budget-microusd", metavar="NUMBER", help="A month's ceiling; none takes it away.")
]
Patterns = Annotated[
    list[str] | None,
    typer.Option(
        "--redaction-pattern", metavar="NAME=PATTERN", help="Found in answers too; all of them, or none to drop them."
    ),
]
Contacts = Annotated[
    list[str] | None,
    typer.Option("--contact", metavar="KIND=EMAIL", help="technical, billing or security; =none takes one away."),
]
Region = Annotated[str | None, typer.Option(help="Where its data is; only the platform's home so far.")]
Issuer = Annotated[str, typer.Option(help="The tokens' `iss`.")]
Directory = Annotated[str, typer.Option(help="The tokens' `tid`.")]
Client = Annotated[str, typer.Option("--client-id", help="The tokens' `azp` or `appid`.")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show every tenant, by id.

    Example: lockgate tenant list
    """
    print_items(connected().items("/tenants"), _COLUMNS, output)


@app.command()
def show(tenant: Id, output: Output = Format.TABLE) -> None:
    """Show one tenant with its limits and bindings.

    Example: lockgate tenant show globex
    """
    api = connected()
    found = api.call("GET", f"/tenants/{quote(tenant)}")
    bound = api.call("GET", f"/tenants/{quote(tenant)}/bindings")
    if output is not Format.TABLE and isinstance(found, dict) and isinstance(bound, dict):
        print_item(found | {"bindings": bound["items"]}, output)
        return
    _print(found, Format.TABLE)
    match bound:
        case {"items": [*items]}:
            for one in items:
                Console().print(f"bound to  {escape(orjson.dumps(one).decode())}", soft_wrap=True)


@app.command()
def create(
    tenant: Id,
    *,
    name: Annotated[str, typer.Option(help="What people call it.")],
    tier: Annotated[Tier, typer.Option(help="What it may use.")],
    limit: Limits = None,
    budget: Budget = None,
    redaction: Annotated[Redaction, typer.Option(help="Personal data in answers.")] = Redaction.OFF,
    pattern: Patterns = None,
    contact: Contacts = None,
    region: Region = None,
    issuer: Annotated[str | None, typer.Option(help="The tokens' `iss` of an application to bind.")] = None,
    directory: Annotated[str | None, typer.Option(help="Its `tid`.")] = None,
    client_id: Annotated[str | None, typer.Option(help="Its `azp` or `appid`.")] = None,
    reason: Reason = "created",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Create a tenant and, where all three of its parts are given, bind an application to it.

    Example: lockgate tenant create initech --name Initech --tier basic
    """
    parts = (issuer, directory, client_id)
    if any(parts) and not all(parts):
        complain("--issuer, --directory and --client-id go together")
        raise typer.Exit(ExitCode.USAGE)
    body: dict[str, JsonValue] = {
        "id": tenant,
        "name": name,
        "tier": tier.value,
        "limits": _limits(limit),
        "redaction": redaction.value,
        "redactionPatterns": _patterns(pattern),
        "contacts": _contacts(contact),
        "bindings": [{"issuer": issuer, "directory": directory, "clientId": client_id}] if all(parts) else [],
        "reason": reason,
    }
    if budget is not None:
        body["monthlyBudgetMicrousd"] = _number_or_none(budget)
    if region is not None:
        body["region"] = region
    _act("POST", "/tenants", body, output, dry_run=dry_run)


@app.command()
def update(
    tenant: Id,
    *,
    reason: Reason,
    tier: Annotated[Tier | None, typer.Option(help="What it may use.")] = None,
    limit: Limits = None,
    budget: Budget = None,
    redaction: Annotated[Redaction | None, typer.Option(help="Personal data in answers.")] = None,
    pattern: Patterns = None,
    contact: Contacts = None,
    region: Region = None,
    version: Annotated[
        int | None, typer.Option("--if-version", help="Change it only if it still has this version.")
    ] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Change a tenant's tier, limits, budget, redaction or contacts; what is not named stays as it is.

    Example: lockgate tenant update globex --tier standard --limit runningJobs=3 --reason upgrade
    """
    body: dict[str, JsonValue] = {"reason": reason}
    if tier is not None:
        body["tier"] = tier.value
    if limit:
        body["limits"] = _limits(limit)
    if budget is not None:
        body["monthlyBudgetMicrousd"] = _number_or_none(budget)
    if redaction is not None:
        body["redaction"] = redaction.value
    if pattern:
        body["redactionPatterns"] = _patterns(pattern)
    if contact:
        body["contacts"] = _contacts(contact)
    if region is not None:
        body["region"] = region
    if version is not None:
        body["version"] = version
    _act("PATCH", f"/tenants/{quote(tenant)}", body, output, dry_run=dry_run)


@app.command()
def suspend(tenant: Id, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Refuse a tenant from now on, and end what runs for it.

    Example: lockgate tenant suspend globex --reason unpaid
    """
    _act("POST", f"/tenants/{quote(tenant)}/suspend", {"reason": reason}, output, dry_run=dry_run)


@app.command()
def reinstate(tenant: Id, *, reason: Reason, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Serve a suspended tenant again.

    Example: lockgate tenant reinstate globex --reason paid
    """
    _act("POST", f"/tenants/{quote(tenant)}/reinstate", {"reason": reason}, output, dry_run=dry_run)


@app.command()
def bind(
    tenant: Id,
    *,
    issuer: Issuer,
    directory: Directory,
    client_id: Client,
    reason: Reason,
    dry_run: DryRun = False,
) -> None:
    """Let an application's tokens speak for a tenant.

    Example: lockgate tenant bind globex --issuer https://idp.example/910be000-0000-4000-8000-000000000002/v2.0
      --directory 910be000-0000-4000-8000-000000000002 --client-id back-office --reason "a second application"
    """
    body: dict[str, JsonValue] = {
        "issuer": issuer,
        "directory": directory,
        "clientId": client_id,
        "reason": reason,
    }
    path = f"/tenants/{quote(tenant)}/bindings"
    if dry_run:
        print_json(asked("POST", path, body))
        return
    connected().call("POST", path, body=body)
    typer.echo(f"{client_id} speaks for {tenant}")


@app.command()
def unbind(
    tenant: Id,
    *,
    issuer: Issuer,
    directory: Directory,
    client_id: Client,
    reason: Reason,
    dry_run: DryRun = False,
) -> None:
    """Refuse an application's tokens from now on.

    Example: lockgate tenant unbind globex --issuer https://idp.example/910be000-0000-4000-8000-000000000002/v2.0
      --directory 910be000-0000-4000-8000-000000000002 --client-id back-office --reason retired
    """
    query = {"issuer": issuer, "directory": directory, "clientId": client_id, "reason": reason}
    said = f"{client_id} speaks for {tenant} no more"
    delete(f"/tenants/{quote(tenant)}/bindings", query, said, dry_run=dry_run)


def _limits(said: list[str] | None) -> dict[str, JsonValue]:
    limits: dict[str, JsonValue] = {}
    for one in said or ():
        name, equals, number = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one!r} is not NAME=NUMBER", param_hint="--limit")
        if name not in LIMIT_NAMES:
            known = ", ".join(LIMIT_NAMES)
            raise typer.BadParameter(f"no limit is called {name!r}; there are: {known}", param_hint="--limit")
        limits[name] = _number_or_none(number)
    return limits


def _patterns(said: list[str] | None) -> list[JsonValue]:
    if said == ["none"]:
        return []
    patterns: list[JsonValue] = []
    for one in said or ():
        name, equals, pattern = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one!r} is not NAME=PATTERN", param_hint="--redaction-pattern")
        patterns.append({"name": name, "pattern": pattern})
    return patterns


def _act(method: str, path: str, body: dict[str, JsonValue], output: Format, *, dry_run: bool) -> None:
    if dry_run:
        print_json(asked(method, path, body))
        return
    _print(connected().call(method, path, body=body), output)


def _contacts(said: list[str] | None) -> dict[str, JsonValue]:
    contacts: dict[str, JsonValue] = {}
    for one in said or ():
        kind, equals, address = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one!r} is not KIND=EMAIL", param_hint="--contact")
        contacts[kind] = None if address == "none" else address
    return contacts


def _print(answer: JsonValue, output: Format) -> None:
    if output is not Format.TABLE:
        print_item(answer, output)
        return
    tenant = _Shown.model_validate(answer)
    reason = "" if tenant.status_reason is None else f"  ({escape(tenant.status_reason)})"
    budget = "none" if tenant.monthly_budget_microusd is None else f"{tenant.monthly_budget_microusd} microusd a month"
    limits = "  ".join(f"{name} {_UNLIMITED if value is None else value}" for name, value in tenant.limits.items())
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for label, text in (
        ("tenant", f"{tenant.id}  {escape(tenant.name)}"),
        ("status", _status(tenant.status) + reason),
        ("tier", tenant.tier),
        ("limits", limits),
        ("budget", budget),
        ("redaction", tenant.redaction),
        *(("", escape(f"{own.name}  {own.pattern}")) for own in tenant.redaction_patterns),
        ("contacts", "  ".join(f"{kind} {escape(at)}" for kind, at in tenant.contacts.items() if at) or "none"),
        ("region", tenant.region),
        ("version", f"{tenant.version}, of {tenant.updated_at}"),
    ):
        table.add_row(f"[dim]{label}[/]", text)
    Console().print(table)


_UNLIMITED: Final = "unlimited"


def _status(status: str) -> str:
    return f"[{'green' if status == 'active' else 'red'}]{status}[/]"


ending.mount(app)
