"""Inbound bearer tokens of runtimes with a customJWTAuthorizer, checked against their identity provider.

Keys are fetched from the discovery document and kept for a few minutes; a token of an unknown key fetches them again.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import aiohttp
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, ValidationError

from ops.devstack.runtime.errors import UnauthorizedError
from ops.devstack.runtime.registry import Runtime
from ops.devstack.runtime.spec import JwtAuthorizer
from tenancy.clock import Clock

_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
_FRESH_S: Final = 300.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class _Discovery(BaseModel):
    issuer: str
    jwks_uri: str


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")

    iss: str
    exp: float
    nbf: float = 0.0
    aud: str | list[str] = []
    client_id: str | None = None
    scope: str = ""


@dataclass(frozen=True, slots=True)
class _Provider:
    issuer: str
    keys: KeySet
    fetched_at: float


class BearerCheck:
    """Checks tokens; owns its HTTP client."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._http = aiohttp.ClientSession(timeout=_TIMEOUT)
        self._providers: dict[str, _Provider] = {}

    async def check(self, token: str | None, rules: JwtAuthorizer, runtime: Runtime, qualifier: str) -> None:
        """Return if the token may invoke the runtime; raises UnauthorizedError."""
        if token is None:
            raise _refused(runtime, qualifier, "Missing bearer token")
        try:
            provider = await self._provider(rules.discovery_url)
            claims = _Claims.model_validate(jwt.decode(token, provider.keys, algorithms=_ALGORITHMS).claims)
        except (JoseError, ValueError, ValidationError, aiohttp.ClientError, TimeoutError) as error:
            raise _refused(runtime, qualifier, "Invalid bearer token") from error
        if (reason := self._objection(claims, rules, provider.issuer)) is not None:
            raise _refused(runtime, qualifier, reason)

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._http.close()

    def _objection(self, claims: _Claims, rules: JwtAuthorizer, issuer: str) -> str | None:
        now = self._clock.now().timestamp()
        audiences = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if claims.iss != issuer or not claims.nbf <= now < claims.exp:
            return "Token of another issuer, or expired"
        if rules.allowed_audience is not None and audiences.isdisjoint(rules.allowed_audience):
            return "Claim 'aud' value mismatch with configuration."
        if rules.allowed_clients is not None and claims.client_id not in rules.allowed_clients:
            return "Claim 'client_id' value mismatch with configuration."
        if rules.allowed_scopes is not None and set(claims.scope.split()).isdisjoint(rules.allowed_scopes):
            return "Claim 'scope' value mismatch with configuration."
        return None

    async def _provider(self, discovery_url: str) -> _Provider:
        known = self._providers.get(discovery_url)
        now = self._clock.monotonic()
        if known is not None and now - known.fetched_at < _FRESH_S:
            return known
        discovery = _Discovery.model_validate_json(await self._fetch(discovery_url))
        keys = KeySet.import_key_set(orjson.loads(await self._fetch(discovery.jwks_uri)))
        provider = self._providers[discovery_url] = _Provider(discovery.issuer, keys, now)
        return provider

    async def _fetch(self, url: str) -> bytes:
        async with self._http.get(url, raise_for_status=True) as answer:
            return await answer.read()


def _refused(runtime: Runtime, qualifier: str, reason: str) -> UnauthorizedError:
    path = f"/runtimes/{quote(str(runtime.arn), safe='')}/invocations/.well-known/oauth-protected-resource"
    resource = f"https://bedrock-agentcore.{runtime.region}.amazonaws.com{path}?qualifier={quote(qualifier)}"
    return UnauthorizedError(reason, headers={"WWW-Authenticate": f'Bearer resource_metadata="{resource}"'})
