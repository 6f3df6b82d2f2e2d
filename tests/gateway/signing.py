"""What tests of identity sign with: keys made once, tokens with any part replaced, an authority that can misbehave."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "api://lockgate"
DIRECTORY = "11111111-2222-4333-8444-555555555555"
OTHER_DIRECTORY = "99999999-2222-4333-8444-555555555555"
CLIENT = "aaaaaaaa-0000-4000-8000-000000000001"
OBJECT = "0b0b0b0b-0000-4000-8000-000000000002"

RS256 = JWSRegistry(algorithms=["RS256"]).get_alg("RS256")


@cache
def rsa_key(kid: str) -> RSAKey:
    """Return this process's key of that name."""
    return RSAKey.import_key(RSAKey.generate_key(2048).raw_value, {"kid": kid})


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(segment: str) -> bytes:
    """Return what base64url without padding holds."""
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


@dataclass(frozen=True)
class Forge:
    """Makes tokens: good ones, and ones with any part replaced (None leaves it out)."""

    authority: str
    now: datetime

    @property
    def now_s(self) -> int:
        """The time tokens are made at."""
        return int(self.now.timestamp())

    def claims(self, **changes: object) -> dict[str, object]:
        """Return good claims with changes."""
        good: dict[str, object] = {
            "aud": AUDIENCE,
            "iss": f"{self.authority}/{DIRECTORY}/v2.0",
            "iat": self.now_s,
            "nbf": self.now_s,
            "exp": self.now_s + 3600,
            "azp": CLIENT,
            "oid": OBJECT,
            "roles": ["Agent.Invoke"],
            "sub": "pairwise-subject",
            "tid": DIRECTORY,
            "ver": "2.0",
            "uti": "x",
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def header(self, changes: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return a good header with changes."""
        good: dict[str, object] = {"typ": "JWT", "alg": "RS256", "kid": "key-1"}
        return {name: value for name, value in (good | dict(changes or {})).items() if value is not None}

    def token(self, header: Mapping[str, object] | None = None, **changes: object) -> str:
        """Return a token signed by the published key, whatever its header says."""
        return self.raw(orjson.dumps(self.header(header)), orjson.dumps(self.claims(**changes)))

    def raw(self, header: bytes, payload: bytes, kid: str = "key-1") -> str:
        """Return these very bytes as a token, signed by the key of that name."""
        signing_input = f"{encoded(header)}.{encoded(payload)}"
        return f"{signing_input}.{encoded(RS256.sign(signing_input.encode(), rsa_key(kid)))}"

    def hmac(self, secret: bytes) -> str:
        """Return a token whose signature is an HMAC with this secret."""
        header = orjson.dumps(self.header({"alg": "HS256"}))
        signing_input = f"{encoded(header)}.{encoded(orjson.dumps(self.claims()))}"
        return f"{signing_input}.{encoded(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"


class Authority:
    """A real HTTP server with an identity provider's two documents, which can fail in any way."""

    def __init__(self) -> None:
        self.url = ""
        self.kids = ["key-1"]
        self.extra_keys: list[dict[str, object]] = []
        self.key_members: dict[str, object] = {"use": "sig"}
        self.metadata_changes: dict[str, object] = {}
        self.keys_body: bytes | None = None
        self.redirect: str | None = None
        self.status = 200
        self.reads = 0
        self.reading: asyncio.Queue[int] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()

    def public(self, kid: str) -> dict[str, object]:
        """Return a key as it is published."""
        return {**rsa_key(kid).as_dict(private=False), **self.key_members}

    async def metadata(self, _: web.Request) -> web.Response:
        """Answer the discovery document."""
        issuer, keys = f"{self.url}/{{tenantid}}/v2.0", f"{self.url}/common/discovery/v2.0/keys"
        return web.json_response({"issuer": issuer, "jwks_uri": keys} | self.metadata_changes, status=self.status)

    async def keys(self, _: web.Request) -> web.Response:
        """Answer the keys, once the gate is open."""
        self.reads += 1
        self.reading.put_nowait(self.reads)
        await self.gate.wait()
        if self.redirect is not None:
            raise web.HTTPFound(self.redirect)
        published = {"keys": [*self.extra_keys, *(self.public(kid) for kid in self.kids)]}
        return web.Response(body=self.keys_body or orjson.dumps(published), status=self.status)


@asynccontextmanager
async def running_authority() -> AsyncIterator[Authority]:
    """Serve an authority on a free port."""
    authority = Authority()
    app = web.Application()
    app.router.add_get("/common/v2.0/.well-known/openid-configuration", authority.metadata)
    app.router.add_get("/common/discovery/v2.0/keys", authority.keys)
    app.router.add_get("/elsewhere/keys", authority.keys)
    async with TestServer(app) as server:
        authority.url = str(server.make_url("")).rstrip("/")
        yield authority
