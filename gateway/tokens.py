"""What an access token says and whether that is acceptable: strict parsing and the rules for Entra ID tokens.

Pure: no keys, no I/O, no clock of its own. Nothing is read from a payload before its signature has been verified,
and no text of a token reaches an error.
"""

import binascii
import json
import math
import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn, TypeAlias

from gateway.errors import (
    TokenClaimInvalidError,
    TokenExpiredError,
    TokenHeaderUnsupportedError,
    TokenLifetimeError,
    TokenMalformedError,
    TokenNotYetValidError,
    TokenTooLargeError,
    TokenUnsignedError,
    TokenWrongAlgorithmError,
    TokenWrongAudienceError,
    TokenWrongIssuerError,
    TokenWrongTypeError,
    TokenWrongVersionError,
)
from tenancy.context import Role

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

TOKEN_LIMIT_BYTES: Final = 8192
KID_LIMIT: Final = 64
LEEWAY_S: Final = 60
LIFETIME_LIMIT_S: Final = 24 * 3600
MICROSOFT: Final = "https://login.microsoftonline.com"

# Whatever else a header carries would have to be understood to be safe, so it is refused.
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
_TYPES: Final = frozenset({"jwt", "at+jwt"})
_ROLES: Final = {role.value: role for role in Role}

# The URL-safe alphabet as the standard one; what only the standard one has becomes what neither has.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_URL_SAFE: Final = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
# By a segment's length modulo 4, what may come last.
_LAST: Final = (frozenset(_URL_SAFE), frozenset[str](), frozenset(_URL_SAFE[::16]), frozenset(_URL_SAFE[::4]))
_DIRECTORY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


class Signed(NamedTuple):
    """A token taken apart; only the header has been read."""

    kid: str
    signing_input: bytes
    payload: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Whose tokens are accepted: `authority` without a trailing slash, and the one exact `audience`."""

    authority: str
    audience: str

    def issuer_of(self, directory: str, version: str) -> str | None:
        """Return the issuer of a directory's tokens of this version; None where the authority has none."""
        if version == "2.0":
            return f"{self.authority}/{directory}/v2.0"
        return f"https://sts.windows.net/{directory}/" if self.authority == MICROSOFT else None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `expires_at_s` is in seconds since the epoch."""

    issuer: str
    directory: str
    client_id: str
    subject: str
    roles: frozenset[Role]
    expires_at_s: int


def take_apart(token: str) -> Signed:
    """Split a compact JWS and check its header; raises a TokenRefusedError."""
    if len(token) > TOKEN_LIMIT_BYTES:
        raise TokenTooLargeError
    segments = token.split(".")
    if len(segments) != 3:  # noqa: PLR2004 header, payload, signature
        raise TokenMalformedError
    header, payload, signature = segments
    kid = _kid_of(header)
    if not signature:
        raise TokenUnsignedError
    return Signed(kid, f"{header}.{payload}".encode("ascii", "replace"), payload, _decode(signature))


def read_claims(payload: str, rules: TokenRules, now_s: float) -> Claims:
    """Read a verified payload and apply every rule to it; raises a TokenRefusedError."""
    claims = _read_object(payload)
    directory = _text(claims, "tid", _DIRECTORY)
    version = claims.get("ver")
    if not isinstance(version, str) or version not in {"1.0", "2.0"}:
        raise TokenWrongVersionError
    issuer = rules.issuer_of(directory, version)
    if issuer is None or claims.get("iss") != issuer:
        raise TokenWrongIssuerError
    if claims.get("aud") not in (rules.audience, [rules.audience]):
        raise TokenWrongAudienceError
    return Claims(
        issuer=issuer,
        directory=directory,
        client_id=_text(claims, "azp" if version == "2.0" else "appid", _CLIENT),
        # Never email or preferred_username: a directory's owner can set those to anything.
        subject=_text(claims, "oid" if "oid" in claims else "sub", _SUBJECT),
        roles=_roles(claims),
        expires_at_s=_expiry(claims, now_s),
    )


@lru_cache(maxsize=256)  # all tokens of a key have the same header
def _kid_of(segment: str) -> str:
    header = _read_object(segment)
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        raise TokenMalformedError
    if algorithm.lower() == "none":
        raise TokenUnsignedError
    if algorithm != "RS256":
        raise TokenWrongAlgorithmError
    if not header.keys() <= _HEADER_MEMBERS:
        raise TokenHeaderUnsupportedError
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenWrongTypeError
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT:
        raise TokenMalformedError
    return kid


def _expiry(claims: dict[str, Json], now_s: float) -> int:
    expires_at_s = _seconds(claims, "exp")
    if expires_at_s <= now_s:
        raise TokenExpiredError
    if expires_at_s > now_s + LIFETIME_LIMIT_S:
        raise TokenLifetimeError
    for name in ("nbf", "iat"):
        if name in claims and _seconds(claims, name) > now_s + LEEWAY_S:
            raise TokenNotYetValidError
    return expires_at_s


def _roles(claims: dict[str, Json]) -> frozenset[Role]:
    names = claims.get("roles", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TokenClaimInvalidError
    return frozenset(_ROLES[name] for name in names if isinstance(name, str) and name in _ROLES)


def _text(claims: dict[str, Json], name: str, shape: re.Pattern[str]) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise TokenClaimInvalidError
    return value


def _seconds(claims: dict[str, Json], name: str) -> int:
    value = claims.get(name)
    # A bool is an int to Python, but not a time to anybody.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TokenClaimInvalidError
    return value


def _decode(segment: str) -> bytes:
    """Decode base64url; only its one canonical spelling, or a changed signature could still verify."""
    # Characters whose unused bits are not zero would spell the same bytes as another one.
    if segment[-1:] not in _LAST[len(segment) % 4]:
        raise TokenMalformedError
    try:
        raw = segment.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(segment) % 4)
        return binascii.a2b_base64(raw, strict_mode=True)
    except ValueError as error:
        raise TokenMalformedError from error


def _read_object(segment: str) -> dict[str, Json]:
    try:
        read: Json = _DECODER.decode(_decode(segment).decode())
    except (ValueError, RecursionError) as error:
        raise TokenMalformedError from error
    if not isinstance(read, dict):
        raise TokenMalformedError
    return read


def _unique(members: list[tuple[str, Json]]) -> dict[str, Json]:
    read = dict(members)
    if len(read) != len(members):
        raise ValueError("a name twice")
    return read


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("no JSON number")


# The standard library's parser, for it alone can refuse a name that comes twice.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)
