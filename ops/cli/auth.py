"""`lockgate auth`: signing in as oneself, by a code that a browser anywhere approves (RFC 8628).

Neither a password nor a token is typed, shown or passed as an argument. What is kept is below XDG_STATE_HOME, for its
owner alone, and used by every verb that calls the Admin API of that gateway.
"""

import asyncio
import base64
import binascii
import sys
from typing import Annotated

import orjson
import typer
from pydantic import JsonValue

from ops.cli.admin_api import LOCAL, place_of
from ops.cli.credentials import application_of
from ops.cli.environment import settings_of
from ops.cli.errors import ExitCode, complain, explained
from ops.cli.logins import Application, Login, Logins
from ops.cli.printing import Format, Output, print_item
from ops.devstack.dev_files import read_dev_file
from ops.devstack.layout import CHECKOUT, Layout
from ops.settings import OperatorSettings
from tenancy.clock import SystemClock

app = typer.Typer(
    name="auth",
    help="Who you are: login, status, logout.",
    epilog="LOCKGATE_TOKEN, or LOCKGATE_CLIENT_SECRET for a pipeline, goes before a sign-in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def login(
    *,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it as well: on the dev stack, where this account may.")
    ] = False,
) -> None:
    """Sign in to the gateway that the environment names; a browser on any machine approves the code that is shown.

    Example: lockgate auth login
    """
    settings = settings_of(OperatorSettings)
    gateway, _ = place_of(settings)
    layout = Layout((settings.state or CHECKOUT / ".lockgate").absolute())
    if approve and settings.environment != LOCAL:
        complain("--approve is for the dev stack; elsewhere the browser is where a sign-in is approved")
        raise typer.Exit(ExitCode.USAGE)
    application = application_of(settings) or (_of_stack(layout) if settings.environment == LOCAL else None)
    if application is None:
        complain("say with what to sign in: LOCKGATE_DIRECTORY and LOCKGATE_CLIENT_ID")
        raise typer.Exit(ExitCode.USAGE)
    # What speaks OAuth takes half a second to import.
    from ops.cli.token_endpoint import SignInTooLateError, TokenEndpoint  # noqa: PLC0415

    clock = SystemClock()
    with explained(ExitCode.AUTH), TokenEndpoint(application, clock) as endpoint:
        device = endpoint.begin()
        sys.stderr.write(f"Open {device.verification_uri} and enter the code {device.user_code}\n")
        if approve:
            _approve(layout, device.user_code)
        try:
            made = asyncio.run(endpoint.wait(device))
        except SignInTooLateError as error:
            complain(str(error))
            raise typer.Exit(ExitCode.TIMED_OUT) from error
        with Logins.below(settings.state_home).changing() as logins:
            logins[gateway] = made
    typer.echo(f"signed in to {gateway}")


@app.command()
def status(output: Output = Format.TABLE) -> None:
    """Show who is signed in to the gateway that the environment names; exits with 4 where nobody is.

    Example: lockgate auth status -o json
    """
    settings = settings_of(OperatorSettings)
    gateway, _ = place_of(settings)
    with explained():
        found = Logins.below(settings.state_home).find(gateway)
    if found is None:
        complain(f"nobody is signed in to {gateway}: `lockgate auth login`")
        raise typer.Exit(ExitCode.AUTH)
    over = found.refresh_token is None and found.expires_at <= SystemClock().now()
    print_item(_shown(gateway, found, over=over), output)
    if over:
        complain("the sign-in is over: `lockgate auth login`")
        raise typer.Exit(ExitCode.AUTH)


@app.command()
def logout() -> None:
    """Forget the sign-in to the gateway that the environment names.

    Example: lockgate auth logout
    """
    settings = settings_of(OperatorSettings)
    gateway, _ = place_of(settings)
    with explained(), Logins.below(settings.state_home).changing() as logins:
        known = logins.pop(gateway, None) is not None
    typer.echo(f"signed out of {gateway}" if known else f"nobody was signed in to {gateway}")


def _shown(gateway: str, found: Login, *, over: bool) -> dict[str, JsonValue]:
    claims = _claims(found.access_token.get_secret_value())
    return {
        "gateway": gateway,
        "subject": claims.get("oid", claims.get("sub")),
        "roles": claims.get("roles", []),
        "directory": found.application.directory,
        "clientId": found.application.client_id,
        "signedInAt": found.signed_in_at.isoformat(timespec="seconds"),
        "tokenExpiresAt": found.expires_at.isoformat(timespec="seconds"),
        "renewed": "over" if over else "by itself" if found.refresh_token else "not",
    }


def _claims(token: str) -> dict[str, JsonValue]:
    """Read what a token says, for its owner to look at: nothing is decided by it."""
    _, _, payload = token.rpartition(".")[0].partition(".")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _of_stack(layout: Layout) -> Application | None:
    # It knows every seeded application, and takes a second to import.
    from ops.devstack.people import OPERATOR  # noqa: PLC0415

    stack = read_dev_file(layout)
    if stack is None:
        return None
    return Application(
        authority=stack.issuer, directory=OPERATOR.directory, client_id=OPERATOR.client_id, audience="api://lockgate"
    )


def _approve(layout: Layout, user_code: str) -> None:
    from ops.devstack.device_grant import decide  # noqa: PLC0415 - of the dev stack alone

    decide(layout.data("issuer"), user_code, approved=True)
