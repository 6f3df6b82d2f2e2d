"""As whom a command acts: a token given, an application's own, a sign-in that is kept, or the dev stack's operator."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import typer
from pydantic import SecretStr

from ops.cli.errors import ExitCode, complain, explained
from ops.cli.logins import Application, Login, Logins
from ops.settings import OperatorSettings
from tenancy.clock import Clock, SystemClock

# A token that ends so soon may end on its way.
_EARLY: Final = timedelta(seconds=60)
_AGAIN: Final = "`lockgate auth login` signs you in again"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, and what to do where it is refused."""

    token: SecretStr
    advice: str


def credentials_of(settings: OperatorSettings, gateway: str, *, local: SecretStr | None) -> Credentials:
    """Return as whom to act on a gateway; ends the command with exit code 4 where nobody is known.

    `local` is the token of the dev stack's operator, where that stack is meant.
    """
    if settings.token is not None:
        return Credentials(settings.token, "Look at LOCKGATE_TOKEN.")
    with explained(ExitCode.AUTH):
        if settings.client_secret is not None:
            return Credentials(_own(settings, settings.client_secret), "Look at LOCKGATE_CLIENT_ID's roles.")
        login = Logins.below(settings.state_home).find(gateway)
        if login is not None:
            return Credentials(_current(login, settings, gateway, SystemClock()).access_token, f"Or {_AGAIN}.")
    if local is not None:
        return Credentials(local, "")
    complain(f"nobody is signed in to {gateway}: `lockgate auth login`, or set LOCKGATE_TOKEN")
    raise typer.Exit(ExitCode.AUTH)


def application_of(settings: OperatorSettings) -> Application | None:
    """Return the application that the environment names, None where it does not."""
    if settings.directory is None or settings.client_id is None:
        return None
    return Application(
        authority=settings.authority,
        directory=settings.directory,
        client_id=settings.client_id,
        audience=settings.audience,
    )


def _own(settings: OperatorSettings, secret: SecretStr) -> SecretStr:
    from ops.cli.token_endpoint import TokenEndpoint  # noqa: PLC0415 - what speaks OAuth takes half a second

    application = application_of(settings)
    if application is None:
        complain("LOCKGATE_CLIENT_SECRET needs LOCKGATE_DIRECTORY and LOCKGATE_CLIENT_ID beside it")
        raise typer.Exit(ExitCode.USAGE)
    with TokenEndpoint(application, SystemClock(), secret=secret) as endpoint:
        return endpoint.for_itself()


def _current(login: Login, settings: OperatorSettings, gateway: str, clock: Clock) -> Login:
    """Return a sign-in whose token is good for a while: renewed, where it was not."""
    if login.expires_at - clock.now() > _EARLY:
        return login
    with Logins.below(settings.state_home).changing() as logins:
        # Another command may have renewed it meanwhile.
        login = logins.get(gateway, login)
        if login.expires_at - clock.now() > _EARLY:
            return login
        if login.refresh_token is None:
            complain(f"the sign-in to {gateway} is over; {_AGAIN}")
            raise typer.Exit(ExitCode.AUTH)
        from ops.cli.token_endpoint import SignInRefusedError, TokenEndpoint  # noqa: PLC0415 - as above

        with TokenEndpoint(login.application, clock) as endpoint:
            try:
                logins[gateway] = endpoint.renew(login, login.refresh_token)
            except SignInRefusedError as error:
                complain(f"the sign-in to {gateway} is over ({error}); {_AGAIN}")
                raise typer.Exit(ExitCode.AUTH) from error
        return logins[gateway]
