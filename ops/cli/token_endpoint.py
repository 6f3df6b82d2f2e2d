"""Tokens as the command line asks an authority for them: for a device (RFC 8628), anew, and for an application.

Only a command that signs in or renews imports this: what speaks OAuth takes half a second to import.
"""

from datetime import timedelta
from typing import Final, Self
from urllib.parse import urlencode

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from pydantic import BaseModel, SecretStr, ValidationError

from ops.cli.logins import Application, Login
from tenancy.clock import Clock
from tenancy.errors import LockgateError

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628, 3.5: by so much an authority that says slow_down wants to be asked less often.
_SLOWER_S: Final = 5
_TIMEOUT_S: Final = 15.0


class AuthorityError(LockgateError):
    """The authority refused, or did not answer as one does; its message never holds a token."""

    code = "authority_refused"


class SignInRefusedError(AuthorityError):
    """Somebody said no, or what was signed in with is good no more."""


class SignInTooLateError(AuthorityError):
    """Nobody approved the code in time."""


class DeviceCode(BaseModel):
    """What the authority answers a device: the code for a person, and the one for the device itself."""

    device_code: SecretStr
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int = 5


class _Tokens(BaseModel):
    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_in: int


class TokenEndpoint:
    """An authority's token endpoint, for one application; a secret makes it an application's own."""

    def __init__(self, application: Application, clock: Clock, *, secret: SecretStr | None = None) -> None:
        self._application = application
        self._clock = clock
        self._session = OAuth2Session(
            application.client_id,
            secret and secret.get_secret_value(),
            token_endpoint_auth_method="client_secret_post" if secret else "none",
        )
        # No credentials from a .netrc, and no proxy that a command of the Admin API would not use.
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def begin(self) -> DeviceCode:
        """Ask for a code that a person can approve; raises AuthorityError."""
        said = {"client_id": self._application.client_id, "scope": self._application.scope}
        try:
            answer = self._session.request(
                "POST",
                self._application.endpoint("devicecode"),
                data=urlencode(said),
                headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
                withhold_token=True,
                allow_redirects=False,
                timeout=_TIMEOUT_S,
            )
            told = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise self._silent(error) from error
        if isinstance(told, dict) and isinstance(told.get("error"), str):
            raise AuthorityError(_said(told["error"], str(told.get("error_description", ""))))
        try:
            return DeviceCode.model_validate(told)
        except ValidationError as error:
            raise self._silent(error) from error

    async def wait(self, device: DeviceCode) -> Login:
        """Ask until somebody has approved; raises SignInRefusedError and SignInTooLateError."""
        interval_s = device.interval
        until_s = self._clock.monotonic() + device.expires_in
        while self._clock.monotonic() < until_s:
            await self._clock.sleep(interval_s)
            try:
                return self._ask(DEVICE_GRANT, device_code=device.device_code.get_secret_value())
            except OAuthError as error:
                if error.error == "slow_down":
                    interval_s += _SLOWER_S
                elif error.error == "expired_token":
                    break
                elif error.error != "authorization_pending":
                    raise SignInRefusedError(_said(error.error, error.description)) from error
        raise SignInTooLateError("nobody approved the code in time; `lockgate auth login` gets another one")

    def renew(self, login: Login, refresh_token: SecretStr) -> Login:
        """Return a sign-in with a new access token; raises SignInRefusedError where it is over."""
        try:
            new = self._ask("refresh_token", refresh_token=refresh_token.get_secret_value())
        except OAuthError as error:
            raise SignInRefusedError(_said(error.error, error.description)) from error
        # An authority may keep the refresh token there was.
        kept = {"refresh_token": new.refresh_token or refresh_token, "signed_in_at": login.signed_in_at}
        return new.model_copy(update=kept)

    def for_itself(self) -> SecretStr:
        """Return a token of the application's own; raises SignInRefusedError."""
        try:
            return self._ask("client_credentials", scope=f"{self._application.audience}/.default").access_token
        except OAuthError as error:
            raise SignInRefusedError(_said(error.error, error.description)) from error

    def _ask(self, grant_type: str, **said: str) -> Login:
        scope = {} if "scope" in said else {"scope": self._application.scope}
        try:
            told = self._session.fetch_token(
                self._application.endpoint("token"),
                grant_type=grant_type,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                **scope,
                **said,
            )
            tokens = _Tokens.model_validate(dict(told))
        except OAuthError:
            raise
        except (requests.RequestException, ValueError) as error:
            raise self._silent(error) from error
        now = self._clock.now()
        return Login(
            application=self._application,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=now + timedelta(seconds=tokens.expires_in),
            signed_in_at=now,
        )

    def _silent(self, error: Exception) -> AuthorityError:
        # The error itself may hold what was sent.
        return AuthorityError(f"{self._application.authority} does not answer as an authority ({type(error).__name__})")


def _said(error: str, description: str | None) -> str:
    """Return what an authority said; Entra adds lines for its own support."""
    first = (description or "").strip().splitlines()
    return f"the authority says {error}" + (f": {first[0]}" if first else "")
