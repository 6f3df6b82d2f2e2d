"""The signing keys of the configured authority, from a local copy.

Keys come from the authority's own origin and nowhere else; a token can name a key but never where to find it. A copy
is renewed in the background after an hour and used for at most a day. A key that is not in it costs at most one
renewal in five minutes, however many ask; unknown names are not remembered, so they cannot fill memory.
"""

import asyncio
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp
import orjson
import structlog
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int
from pydantic import BaseModel, Field, ValidationError
from yarl import URL

from gateway.errors import IdentityUnavailableError, TokenUnknownKeyError
from gateway.tokens import KID_LIMIT
from tenancy.clock import Clock

FRESH_S: Final = 3600.0
USABLE_S: Final = 24 * 3600.0
UNKNOWN_KEY_PAUSE_S: Final = 300.0
RETRY_S: Final = 5.0
TIMEOUT_S: Final = 5.0
DOCUMENT_LIMIT_BYTES: Final = 512 * 1024
KEYS_LIMIT: Final = 100
MODULUS_BITS: Final = range(2048, 8192 + 1)

_RS256: Final = JWSRegistry(algorithms=["RS256"]).get_alg("RS256")

_log = structlog.stdlib.get_logger(__name__)


class AuthorityFaultError(Exception):
    """The authority answered, but not with what it should; the reason is a fixed sentence."""


class _Jwk(BaseModel):
    """What matters of a published key (RFC 7517); `issuer` is Entra's: whom the key may sign for."""

    kty: Literal["RSA"]
    kid: str = Field(min_length=1, max_length=KID_LIMIT)
    n: str
    e: str
    use: Literal["sig"] = "sig"
    alg: Literal["RS256"] = "RS256"
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key of at least 2048 bits, and whom it may sign for (None: any directory of the authority)."""

    rsa: RSAKey
    issuer: str | None

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Tell whether this is the key's RS256 signature over these bytes."""
        return _RS256.verify(signing_input, signature, self.rsa)

    def signs_for(self, directory: str, issuer: str) -> bool:
        """Tell whether the key may sign tokens of a directory, whose (v2.0) issuer is given."""
        return self.issuer is None or self.issuer.replace("{tenantid}", directory) == issuer


class KeySet:
    """The authority's keys by name. `failures` counts renewals that came to nothing; `aclose` ends one under way."""

    def __init__(self, http: aiohttp.ClientSession, *, authority: str, directory: str, clock: Clock) -> None:
        self._http = http
        self._authority = authority
        self._directory = directory
        self._monotonic = clock.monotonic
        self._keys: dict[str, SigningKey] = {}
        self._fresh_until = self._usable_until = self._retry_at = self._unknown_key_at = float("-inf")
        self._renewal: asyncio.Task[None] | None = None
        self.failures = 0

    async def ready(self) -> None:
        """Raise IdentityUnavailableError where there are no keys to check a token with, and none can be read."""
        now = self._monotonic()
        if now >= self._usable_until:
            await self._load_first(now)

    async def find(self, kid: str) -> SigningKey:
        """Return the key of this name; raises TokenUnknownKeyError, or IdentityUnavailableError without any keys."""
        now = self._monotonic()
        if now >= self._usable_until:
            await self._load_first(now)
        elif now >= self._fresh_until and now >= self._retry_at:
            self._renewing()
        key = self._keys.get(kid)
        if key is None and now >= self._unknown_key_at:
            self._unknown_key_at = now + UNKNOWN_KEY_PAUSE_S
            await asyncio.shield(self._renewing())
            key = self._keys.get(kid)
        elif key is None and self._renewal is not None:
            await asyncio.shield(self._renewal)
            key = self._keys.get(kid)
        if key is None:
            raise TokenUnknownKeyError
        return key

    async def aclose(self) -> None:
        """End the renewal under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def _load_first(self, now: float) -> None:
        if self._renewal is not None or now >= self._retry_at:
            await asyncio.shield(self._renewing())
        if self._monotonic() >= self._usable_until:
            raise IdentityUnavailableError

    def _renewing(self) -> asyncio.Task[None]:
        if self._renewal is None:
            # Shared by all who wait, so it runs in nobody's context.
            self._renewal = asyncio.get_running_loop().create_task(self._renew(), context=Context())
            self._renewal.add_done_callback(self._end_renewal)
        return self._renewal

    def _end_renewal(self, _: asyncio.Task[None]) -> None:
        self._renewal = None

    async def _renew(self) -> None:
        try:
            keys = await self._read_keys()
        except (aiohttp.ClientError, TimeoutError, OSError, AuthorityFaultError) as error:
            self.failures += 1
            self._retry_at = self._monotonic() + RETRY_S
            _log.warning("authority_keys_not_renewed", error=type(error).__name__, keys=len(self._keys))
            return
        now = self._monotonic()
        self._keys = keys
        self._fresh_until = now + FRESH_S
        self._usable_until = now + USABLE_S

    async def _read_keys(self) -> dict[str, SigningKey]:
        issuer = f"{self._authority}/{self._directory}/v2.0"
        metadata = OpenIDProviderMetadata(await self._read(get_well_known_url(issuer, external=True)))
        # A directory like `common` issues for all of them, and says so by a placeholder.
        if metadata.get("issuer") not in (issuer, f"{self._authority}/{{tenantid}}/v2.0"):
            raise AuthorityFaultError("the metadata are another issuer's")
        document = await self._read(self._key_url(metadata))
        published = document.get("keys")
        if not isinstance(published, list):
            raise AuthorityFaultError("no list of keys")
        keys = dict(_usable(published[:KEYS_LIMIT]))
        if not keys:
            raise AuthorityFaultError("no usable key")
        return keys

    def _key_url(self, metadata: OpenIDProviderMetadata) -> str:
        url = metadata.get("jwks_uri")
        if not isinstance(url, str):
            raise AuthorityFaultError("no address of keys")
        try:
            metadata.validate_jwks_uri()
            own = URL(url).origin() == URL(self._authority).origin()
        except ValueError as error:
            raise AuthorityFaultError("the keys' address is not acceptable") from error
        if not own:
            raise AuthorityFaultError("the keys' address is not the authority's own")
        return url

    async def _read(self, url: str) -> dict[str, object]:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with self._http.get(url, allow_redirects=False, timeout=timeout) as answer:
            if answer.status != 200:  # noqa: PLR2004 the only status with a document
                raise AuthorityFaultError("not a document")
            body = await _read_limited(answer.content)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise AuthorityFaultError("not JSON") from error
        if not isinstance(document, dict):
            raise AuthorityFaultError("not an object")
        return document


async def _read_limited(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > DOCUMENT_LIMIT_BYTES:
            raise AuthorityFaultError("a document too large")
    return bytes(body)


def _usable(published: list[object]) -> Iterator[tuple[str, SigningKey]]:
    """Pick the keys that RS256 tokens may be signed with; what an authority publishes besides is none of ours."""
    for candidate in published:
        try:
            jwk = _Jwk.model_validate(candidate)
            if base64_to_int(jwk.n).bit_length() not in MODULUS_BITS:
                continue
            rsa = RSAKey.import_key({"kty": "RSA", "n": jwk.n, "e": jwk.e})
        except (ValidationError, JoseError, ValueError):
            continue
        yield jwk.kid, SigningKey(rsa, jwk.issuer)
