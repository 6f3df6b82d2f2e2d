"""Tool tokens: what an agent shows at the tools' door in place of the caller's token, which it never sees.

A token names the tenant, for whom in it, the agent that acts, its invocation and the tools it may call; it opens one
door, for five minutes, and only while its invocation lives. It is signed with ES256 by the first of the deployment's
keys, all of which are published, so that a key can be replaced while tokens of the last one are about. A token is
known by its whole header: nothing of a token is read before its signature has been verified.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ConfigDict, ValidationError

from agents.behalf import OnBehalf
from gateway.errors import ToolTokenRefusedError
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, Tool
from tenancy.errors import LockgateError
from tenancy.ids import AgentName, InvocationId, JobId, TenantId

LIFETIME_S: Final = 300
# What a tool is shown is for the one call that is under way.
ASSERTION_S: Final = 60
DOOR: Final = "/v1/mcp"
TYPE: Final = "lockgate-tool+jwt"
ASSERTION_TYPE: Final = "lockgate-call+jwt"
_CURVE: Final = "P-256"
_ES256: Final = JWSRegistry(algorithms=["ES256"]).get_alg("ES256")
_TO_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/!!")


class ToolKeyError(LockgateError, ValueError):
    """A signing key of the settings is none; says which by its place, never what it holds."""

    code = "tool_key_invalid"


class Actor(BaseModel):
    """Who acts for somebody (RFC 8693): the agent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sub: AgentName


class ToolClaims(BaseModel):
    """What a verified tool token says; `iat` and `exp` are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iss: str
    aud: str
    sub: str
    act: Actor
    tenant: TenantId
    invocation: str
    tools: tuple[str, ...]
    iat: int
    exp: int

    @property
    def ref(self) -> InvocationId | JobId:
        """The invocation's or the job's id."""
        return JobId(self.invocation) if self.invocation.startswith("job_") else InvocationId(self.invocation)


@dataclass(frozen=True, slots=True)
class _Key:
    ec: ECKey
    kid: str

    def header(self, kind: str) -> str:
        return _encoded(orjson.dumps({"alg": "ES256", "kid": self.kid, "typ": kind}))


class ToolKeys:
    """The deployment's signing keys; the first one signs."""

    def __init__(self, keys: tuple[ECKey, ...]) -> None:
        self._keys = tuple(_Key(key, key.thumbprint()) for key in keys)
        self._by_header = {key.header(TYPE): key for key in self._keys}

    def __bool__(self) -> bool:
        """Whether there is a key to sign with."""
        return bool(self._keys)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read keys from a setting: PKCS#8 in DER as base64, one after the other, commas between; raises ToolKeyError.

        An empty text is no key at all: then agents are given no tokens.
        """
        return cls(
            tuple(_read_key(part.strip(), place) for place, part in enumerate(text.split(","), 1) if part.strip())
        )

    def sign(self, kind: str, claims: bytes) -> str:
        """Return a token of some kind with these claims."""
        key = self._keys[0]
        signed = f"{key.header(kind)}.{_encoded(claims)}"
        return f"{signed}.{_encoded(_ES256.sign(signed.encode(), key.ec))}"

    def knows(self, token: str) -> bool:
        """Tell whether this is a tool token of ours, good or not."""
        return token.partition(".")[0] in self._by_header

    def verified(self, token: str) -> bytes:
        """Return the claims of a tool token that one of the keys signed; raises ToolTokenRefusedError."""
        header, _, rest = token.partition(".")
        payload, _, signature = rest.partition(".")
        key = self._by_header.get(header)
        try:
            if key is None or not _ES256.verify(f"{header}.{payload}".encode(), _decoded(signature), key.ec):
                raise ToolTokenRefusedError
            return _decoded(payload)
        except ValueError:
            raise ToolTokenRefusedError from None

    def published(self) -> bytes:
        """Return the public keys as a JWK set (RFC 7517)."""
        keys = [{**key.ec.as_dict(private=False), "kid": key.kid, "use": "sig", "alg": "ES256"} for key in self._keys]
        return orjson.dumps({"keys": keys})


class ToolTokens:
    """Makes tool tokens and reads them; `url` is where this deployment is reached, without a trailing slash."""

    def __init__(self, keys: ToolKeys, url: str, *, clock: Clock) -> None:
        self.keys: Final = keys
        self._issuer: Final = url
        self._door: Final = url + DOOR
        self._now: Final = clock.now

    def mint(self, agent: AgentVersion, behalf: OnBehalf, ref: InvocationId | JobId) -> str | None:
        """Return a token for one invocation of an agent; None for an agent without tools."""
        if not agent.tools or not self.keys:
            return None
        issued_s = int(self._now().timestamp())
        return self._signed(
            ToolClaims(
                iss=self._issuer,
                aud=self._door,
                sub=behalf.principal,
                act=Actor(sub=agent.name),
                tenant=behalf.tenant_id,
                invocation=ref,
                tools=agent.tools,
                iat=issued_s,
                exp=issued_s + LIFETIME_S,
            )
        )

    def renew(self, claims: ToolClaims) -> tuple[str, datetime]:
        """Return a token that says the same for another five minutes, and when it expires."""
        now = self._now()
        issued_s = int(now.timestamp())
        renewed = claims.model_copy(update={"iat": issued_s, "exp": issued_s + LIFETIME_S})
        return self._signed(renewed), datetime.fromtimestamp(renewed.exp, now.tzinfo)

    def read(self, token: str) -> ToolClaims:
        """Return what a good token says; raises ToolTokenRefusedError."""
        try:
            claims = ToolClaims.model_validate_json(self.keys.verified(token))
        except ValidationError:
            raise ToolTokenRefusedError from None
        if claims.iss != self._issuer or claims.aud != self._door or claims.exp <= self._now().timestamp():
            raise ToolTokenRefusedError
        return claims

    def assertion(self, tool: Tool, tenant_id: TenantId, sub: str, claims: ToolClaims | None) -> str | None:
        """Return what a tool is shown of who calls it, good for its target alone; None without keys."""
        if not self.keys:
            return None
        issued_s = int(self._now().timestamp())
        said: dict[str, object] = {
            "iss": self._issuer,
            "aud": tool.target,
            "sub": sub,
            "tenant": tenant_id,
            "tool": tool.name,
            "iat": issued_s,
            "exp": issued_s + ASSERTION_S,
        }
        if claims is not None:
            said |= {"act": {"sub": claims.act.sub}, "invocation": claims.invocation}
        return self.keys.sign(ASSERTION_TYPE, orjson.dumps(said))

    def _signed(self, claims: ToolClaims) -> str:
        return self.keys.sign(TYPE, claims.model_dump_json().encode())


def new_key() -> str:
    """Return a new signing key as the setting takes it."""
    return base64.b64encode(ECKey.generate_key(_CURVE).as_der(private=True)).decode()


def _read_key(text: str, place: int) -> ECKey:
    try:
        key = ECKey.import_key(base64.b64decode(text, validate=True))
    except (JoseError, ValueError) as error:
        raise ToolKeyError(f"key {place} is not PKCS#8 in base64") from error
    if key.curve_name != _CURVE or not key.is_private:
        raise ToolKeyError(f"key {place} is not a private key on {_CURVE}")
    return key


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    raw = text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4)
    return binascii.a2b_base64(raw, strict_mode=True)
