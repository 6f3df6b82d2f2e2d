"""Who calls: the place (account and region) a request speaks for, and whether its signature holds.

The configured key is checked as AWS checks it. Other keys and unsigned requests are let in, unless `require_auth`
says otherwise: a laptop has no account to protect. A 12-digit access key is taken as the account's number.
"""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ops.devstack.runtime import signatures
from ops.devstack.runtime.arn import ACCOUNT, Place
from ops.devstack.runtime.errors import MissingTokenError, UnknownAccessKeyError
from tenancy.clock import Clock

LOCAL_ACCOUNT: Final = "000000000000"
_BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's origin; `bearer` is its token, not yet checked, `signed` tells of a SigV4 header."""

    place: Place
    signed: bool = False
    bearer: str | None = None


@dataclass(frozen=True, slots=True)
class DevKey:
    """The access key whose signatures are verified."""

    access_key: str
    secret_key: str


class Callers:
    """Recognises the caller of a request."""

    def __init__(self, key: DevKey | None, *, region: str, require_auth: bool, clock: Clock) -> None:
        self._key = key
        self._region = region
        self._require_auth = require_auth
        self._clock = clock

    def recognise(self, request: web.BaseRequest, body: bytes) -> Caller:
        """Return who calls; raises AccessDeniedError for a signature that does not hold."""
        header = request.headers.get("Authorization", "")
        if header.startswith(_BEARER):
            return Caller(Place(LOCAL_ACCOUNT, self._region), bearer=header.removeprefix(_BEARER).strip())
        signed = signatures.Signed.parse(header)
        if signed is None:
            if self._require_auth:
                raise MissingTokenError
            return Caller(Place(LOCAL_ACCOUNT, self._region))
        if self._key is not None and signed.access_key == self._key.access_key:
            signatures.verify(request, body, signed, self._key.secret_key, self._clock.now())
        elif self._require_auth:
            raise UnknownAccessKeyError("The security token included in the request is invalid.")
        account = signed.access_key if ACCOUNT.fullmatch(signed.access_key) else LOCAL_ACCOUNT
        return Caller(Place(account, signed.region), signed=True)
