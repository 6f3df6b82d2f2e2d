"""Who is calling: a token or a key becomes a Principal, by the server's own record and by nothing the caller says.

A token seen before costs a hash and two look-ups. What is cached is bounded, refused tokens cannot push out accepted
ones, and a token's expiry and its directory's binding are looked at anew on every request.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar

from multidict import MultiMapping

from gateway.apikeys import ApiKeys
from gateway.errors import (
    DirectoryUnboundError,
    RoleMissingError,
    TenantMismatchError,
    TokenBadSignatureError,
    TokenMalformedError,
    TokenMissingError,
    TokenNotYetValidError,
    TokenRefusedError,
    TokenTooLargeError,
    TokenWrongIssuerError,
)
from gateway.keyset import KeySet
from gateway.tokens import TOKEN_LIMIT_BYTES, Claims, TokenRules, read_claims, take_apart
from tenancy.api_keys import is_key
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import TENANT_ROLES, Principal, Role
from tenancy.data_models import IdentityBinding
from tenancy.errors import InvalidIdError
from tenancy.ids import TenantId, parse_tenant_id
from tenancy.snapshots import Snapshots

ACCEPTED: Final = 10_000
ACCEPTED_S: Final = 300
REFUSED: Final = 10_000
REFUSED_S: Final = 10
BINDINGS: Final = 10_000
BINDING_FRESH_S: Final = 30.0
# How long a binding that may have been removed holds while neither word of changes nor the store comes through.
BINDING_STALE_S: Final = 60.0
BINDING_KIND: Final = "identity-binding"

T = TypeVar("T")
BindingKey: TypeAlias = tuple[str, str, str]
FindBinding: TypeAlias = Callable[[str, str, str], Awaitable[IdentityBinding | None]]


@dataclass(slots=True)
class _Accepted:
    """A verified token, and the principal it was last bound to."""

    claims: Claims
    key: BindingKey
    until_s: float
    binding: IdentityBinding
    principal: Principal


class Authenticator:
    """Turns an `Authorization` header into a Principal; `find_binding` is the platform door's verb."""

    def __init__(
        self,
        keys: KeySet,
        rules: TokenRules,
        find_binding: FindBinding,
        changes: ChangeFeed,
        *,
        api_keys: ApiKeys,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self.api_keys = api_keys
        self._rules = rules
        self._now = clock.now
        self._bindings: Snapshots[BindingKey, IdentityBinding] = Snapshots(
            lambda key: find_binding(*key),
            clock=clock,
            fresh_s=BINDING_FRESH_S,
            stale_s=BINDING_STALE_S,
            size=BINDINGS,
            sighted=lambda: changes.current,
        )
        self._accepted: OrderedDict[bytes, _Accepted] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[type[TokenRefusedError], float]] = OrderedDict()
        changes.on(BINDING_KIND, lambda _: self._bindings.clear())
        changes.on_gap(self._bindings.clear)

    @property
    def bindings(self) -> Snapshots[BindingKey, IdentityBinding]:
        """Its copies of bindings, for metrics."""
        return self._bindings

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return the caller.

        Raises a TokenRefusedError (401), DirectoryUnboundError (403), or IdentityUnavailableError and
        StoreUnavailableError (503) when the authority or the store is away and nothing is cached.
        """
        token = bearer_of(authorization)
        if is_key(token):
            return await self.api_keys.principal(token)
        digest = sha256(token.encode()).digest()
        accepted = self._accepted.get(digest)
        if accepted is None or self._now().timestamp() >= accepted.until_s:
            return await self._accept(digest, token)
        self._accepted.move_to_end(digest)
        binding = self._bindings.peek(accepted.key)
        if binding is None:
            binding = await self._binding(accepted.key)
        if binding is not accepted.binding:
            accepted.binding, accepted.principal = binding, _principal(accepted.claims, binding)
        return accepted.principal

    async def aclose(self) -> None:
        """End the reads under way."""
        await self._bindings.aclose()
        await self.api_keys.aclose()
        await self._keys.aclose()

    async def _accept(self, digest: bytes, token: str) -> Principal:
        claims = await self._verify(digest, token)
        key = (claims.issuer, claims.directory, claims.client_id)
        # Only tokens of bound directories are kept: anybody with a directory can make any number of others.
        binding = await self._binding(key)
        principal = _principal(claims, binding)
        until_s = min(claims.expires_at_s, self._now().timestamp() + ACCEPTED_S)
        _keep(self._accepted, digest, _Accepted(claims, key, until_s, binding, principal), ACCEPTED)
        return principal

    async def _binding(self, key: BindingKey) -> IdentityBinding:
        binding = await self._bindings.get(key)
        if binding is None:
            raise DirectoryUnboundError
        return binding

    async def _verify(self, digest: bytes, token: str) -> Claims:
        refused = self._refused.get(digest)
        if refused is not None and self._now().timestamp() < refused[1]:
            raise refused[0]
        signed = take_apart(token)
        key = await self._keys.find(signed.kid)
        try:
            if not key.verifies(signed.signing_input, signed.signature):
                raise TokenBadSignatureError
            claims = read_claims(signed.payload, self._rules, self._now().timestamp())
            if not key.signs_for(claims.directory, f"{self._rules.authority}/{claims.directory}/v2.0"):
                raise TokenWrongIssuerError
        except TokenNotYetValidError:
            raise
        except TokenRefusedError as error:
            _keep(self._refused, digest, (type(error), self._now().timestamp() + REFUSED_S), REFUSED)
            raise
        return claims


def authorization_of(headers: MultiMapping[str]) -> str | None:
    """Return the one `Authorization` header; several are refused, for another reader might pick the other one."""
    values = headers.getall("Authorization", ())
    if len(values) > 1:
        raise TokenMalformedError
    return values[0] if values else None


def bearer_of(authorization: str | None) -> str:
    """Return the bearer token of an `Authorization` header; raises a TokenRefusedError."""
    if authorization is None or authorization[:7].lower() != "bearer ":
        raise TokenMissingError
    token = authorization[7:].lstrip(" ")
    if len(token) > TOKEN_LIMIT_BYTES:
        raise TokenTooLargeError
    if not token.isascii():
        raise TokenMalformedError
    return token


def require_role(principal: Principal, role: Role) -> None:
    """Raise RoleMissingError unless the principal has the role."""
    if role not in principal.roles:
        raise RoleMissingError(role)


def check_tenant_header(principal: Principal, named: str) -> None:
    """Raise TenantMismatchError if an `X-Tenant-Id` names another tenant; the header never chooses one."""
    if named == principal.tenant_id:
        return
    raise TenantMismatchError(subject=principal.subject, tenant_id=principal.tenant_id, named=_tenant_or_none(named))


def _keep(cache: OrderedDict[bytes, T], digest: bytes, entry: T, size: int) -> None:
    cache[digest] = entry
    cache.move_to_end(digest)
    if len(cache) > size:
        cache.popitem(last=False)


def _principal(claims: Claims, binding: IdentityBinding) -> Principal:
    roles = claims.roles if binding.tenant_id is None else claims.roles & TENANT_ROLES
    return Principal(claims.subject, claims.client_id, roles, binding.tenant_id)


def _tenant_or_none(text: str) -> TenantId | None:
    try:
        return parse_tenant_id(text)
    except InvalidIdError:
        return None
