"""A local identity provider that speaks Entra ID's shapes: metadata, keys, client credentials, devices; loopback only.

The signing key is made at the first run and kept, closed to others. Who may get a token is read from the state
directory on every request, so a stack can add directories while the provider runs. Anybody who can read the state
directory can make tokens of any directory: it is for development alone.
"""

import argparse
import os
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import orjson
from aiohttp import hdrs, web
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ops.devstack import device_grant
from ops.devstack.device_grant import DeviceGrants
from ops.devstack.layout import write_private
from ops.devstack.ports import HOST
from tenancy.clock import Clock, SystemClock
from tenancy.context import Role

AUDIENCE: Final = "api://lockgate"
DEV_LIFETIME_S: Final = 12 * 3600
ISSUED_LIFETIME_S: Final = 3600
REFRESH_LIFETIME_S: Final = 90 * 24 * 3600
KEY_BITS: Final = 2048
COMMON: Final = "common"

_GUID: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# Any fixed namespace will do: an application keeps its object id over restarts, as in a real directory.
_OBJECTS: Final = uuid.UUID("5d3c7b52-3b0f-4f6e-9d7f-7f1f0a2c9e11")


class DevClient(BaseModel):
    """An application in a directory, and the app roles it was given there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tid: str = Field(pattern=_GUID)
    client_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    secret: str = Field(min_length=16)
    roles: tuple[Role, ...] = ()


_GRANTS: Final = ("client_credentials", device_grant.GRANT, "refresh_token")
# Who signs in locally: one operator.
_PERSON: Final = "operator"
_CLIENTS: Final = TypeAdapter(tuple[DevClient, ...])


def write_clients(state: Path, clients: Iterable[DevClient]) -> None:
    """Replace the applications that may get tokens."""
    write_private(_clients_file(state), _CLIENTS.dump_json(tuple(clients), indent=2))


def read_clients(state: Path) -> tuple[DevClient, ...]:
    """Return the applications that may get tokens."""
    path = _clients_file(state)
    return _CLIENTS.validate_json(path.read_bytes()) if path.exists() else ()


class SigningKeys:
    """The provider's keys, the newest first; only that one signs, all are published."""

    def __init__(self, keys: Sequence[RSAKey]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def make(cls) -> Self:
        """Return one new key."""
        return cls((_new_key(),))

    @classmethod
    def open(cls, state: Path) -> Self:
        """Return the state directory's key, made at the first call; several processes agree on one."""
        path = state / "signing-key.pem"
        if not path.exists():
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = state / f".signing-key.{secrets.token_hex(8)}"
            write_private(draft, _new_key().as_pem(private=True))
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # another process was first
            finally:
                draft.unlink()
        return cls((_named(RSAKey.import_key(path.read_bytes())),))

    @property
    def current(self) -> RSAKey:
        """The key that signs."""
        return self._keys[0]

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on, in this process alone; the old ones stay published if kept."""
        self._keys = (_new_key(), *(self._keys if keep_old else ()))

    def published(self, authority: str) -> dict[str, object]:
        """Return the JWKS, each key marked as good for every directory of the authority, as Entra does."""
        public = [KeySet([key]).as_dict(private=False)["keys"][0] for key in self._keys]
        return {"keys": [{**key, "use": "sig", "issuer": f"{authority}/{{tenantid}}/v2.0"} for key in public]}


def mint(
    keys: SigningKeys,
    *,
    authority: str,
    tid: str,
    client_id: str,
    roles: Iterable[Role],
    now: datetime,
    audience: str = AUDIENCE,
    lifetime_s: int = DEV_LIFETIME_S,
    person: str = "",
) -> str:
    """Return an access token of the shape Entra (v2.0) gives an application, or a person who uses it."""
    issued_at = int(now.timestamp())
    object_id = str(uuid.uuid5(_OBJECTS, f"{tid}/{client_id}/{person}" if person else f"{tid}/{client_id}"))
    claims = {
        "aud": audience,
        "iss": f"{authority}/{tid}/v2.0",
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + lifetime_s,
        "azp": client_id,
        "oid": object_id,
        "roles": sorted(roles),
        "sub": object_id,
        "tid": tid,
        "ver": "2.0",
        "uti": secrets.token_urlsafe(16),
        **({"scp": "access"} if person else {}),
    }
    return sign(keys.current, claims)


def sign(key: RSAKey, claims: dict[str, object]) -> str:
    """Return these claims as a JWT signed by `key`."""
    header = {"typ": "JWT", "alg": "RS256", "kid": key.kid}
    return jws.serialize_compact(header, orjson.dumps(claims), key, algorithms=["RS256"])


class Issuer:
    """The HTTP side; `authority` is its own base URL, `keys` can be rotated under it."""

    def __init__(
        self, state: Path, keys: SigningKeys, *, authority: str, clock: Clock, audience: str = AUDIENCE
    ) -> None:
        self.authority = authority
        self.keys = keys
        self._state = state
        self._clock = clock
        self._audience = audience
        self._devices = DeviceGrants(state, clock)

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application()
        app.on_response_prepare.append(_allow_browsers)
        app.router.add_get("/{tid}/v2.0/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/{tid}/discovery/v2.0/keys", self._published)
        app.router.add_post("/{tid}/oauth2/v2.0/token", self._token)
        app.router.add_post("/{tid}/oauth2/v2.0/devicecode", self._device)
        app.router.add_get("/device", self._page)
        return app

    async def _metadata(self, request: web.Request) -> web.Response:
        tid = self._directory(request)
        named = "{tenantid}" if tid == COMMON else tid
        base = f"{self.authority}/{tid}"
        return _json(
            {
                "issuer": f"{self.authority}/{named}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "grant_types_supported": list(_GRANTS),
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": ["token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _published(self, request: web.Request) -> web.Response:
        self._directory(request)
        return _json(self.keys.published(self.authority))

    async def _token(self, request: web.Request) -> web.Response:
        tid = self._directory(request)
        said = {name: str(value) for name, value in (await request.post()).items()}
        match said.get("grant_type"):
            case "client_credentials":
                return self._of_application(tid, said)
            case device_grant.GRANT:
                client = self._client(tid, said.get("client_id", ""))
                if client is None:
                    return _refusal(401, "invalid_client", "The directory has no such application.")
                refused = self._devices.ask(tid, client.client_id, said.get("device_code", ""))
                return self._of_person(client) if refused is None else _refusal(400, refused, "There is no token.")
            case "refresh_token":
                client = self._client(tid, said.get("client_id", ""))
                if client is None or not self._is_refresh_token(client, said.get("refresh_token", "")):
                    return _refusal(400, "invalid_grant", "The refresh token is not good for this application.")
                return self._of_person(client)
            case _:
                return _refusal(400, "unsupported_grant_type", f"There are: {', '.join(_GRANTS)}.")

    def _of_application(self, tid: str, said: Mapping[str, str]) -> web.Response:
        client, secret = self._client(tid, said.get("client_id", "")), said.get("client_secret", "")
        if client is None or not secrets.compare_digest(client.secret.encode(), secret.encode()):
            return _refusal(401, "invalid_client", "The directory has no such application, or its secret is another.")
        if said.get("scope") != f"{self._audience}/.default":
            return _refusal(400, "invalid_scope", f"Ask for {self._audience}/.default.")
        return _json(self._issued(client))

    def _of_person(self, client: DevClient) -> web.Response:
        ends_s = int(self._clock.now().timestamp()) + REFRESH_LIFETIME_S
        kept = {"aud": self.authority, "tid": client.tid, "azp": client.client_id, "exp": ends_s}
        return _json({**self._issued(client, _PERSON), "refresh_token": sign(self.keys.current, kept)})

    def _issued(self, client: DevClient, person: str = "") -> dict[str, object]:
        token = mint(
            self.keys,
            authority=self.authority,
            tid=client.tid,
            client_id=client.client_id,
            roles=client.roles,
            now=self._clock.now(),
            audience=self._audience,
            lifetime_s=ISSUED_LIFETIME_S,
            person=person,
        )
        return {"token_type": "Bearer", "expires_in": ISSUED_LIFETIME_S, "access_token": token}

    def _is_refresh_token(self, client: DevClient, token: str) -> bool:
        try:
            claims = orjson.loads(jws.deserialize_compact(token, self.keys.current, algorithms=["RS256"]).payload)
        except (JoseError, ValueError):
            return False
        place = (self.authority, client.tid, client.client_id)
        now_s = self._clock.now().timestamp()
        return tuple(claims.get(name) for name in ("aud", "tid", "azp")) == place and claims["exp"] > now_s

    async def _device(self, request: web.Request) -> web.Response:
        tid, said = self._directory(request), await request.post()
        client = self._client(tid, str(said.get("client_id", "")))
        if client is None:
            return _refusal(401, "invalid_client", "The directory has no such application.")
        begun = self._devices.begin(tid, client.client_id)
        if isinstance(begun, str):
            return _refusal(503, begun, "Too many devices wait.")
        device_code, user_code = begun
        page = f"{self.authority}/device"
        return _json(
            {
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": page,
                "expires_in": device_grant.LIFETIME_S,
                "interval": device_grant.INTERVAL_S,
                "message": f"To sign in, open {page} and enter the code {user_code}.",
            }
        )

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(
            text="A device is approved where this stack runs, in a terminal: lockgate dev approve CODE\n"
            "Nothing is approved on this page: any other page could ask a browser to.\n"
        )

    def _directory(self, request: web.Request) -> str:
        tid = request.match_info["tid"]
        if tid != COMMON and all(client.tid != tid for client in read_clients(self._state)):
            refused = orjson.dumps({"error": "invalid_tenant", "error_description": "No such directory."})
            raise web.HTTPBadRequest(text=refused.decode(), content_type="application/json")
        return tid

    def _client(self, tid: str, client_id: str) -> DevClient | None:
        return next((one for one in read_clients(self._state) if (one.tid, one.client_id) == (tid, client_id)), None)


async def _allow_browsers(_: web.Request, answer: web.StreamResponse) -> None:
    # A single-page application reads all of this; there are no cookies to abuse.
    answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"


def _json(document: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )


def _refusal(status: int, error: str, description: str) -> web.Response:
    return _json({"error": error, "error_description": description}, status)


def _clients_file(state: Path) -> Path:
    return state / "clients.json"


def _new_key() -> RSAKey:
    return _named(RSAKey.generate_key(KEY_BITS))


def _named(key: RSAKey) -> RSAKey:
    return RSAKey.import_key(key.raw_value, {"kid": key.thumbprint()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on 127.0.0.1 until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ops.devstack.issuer", description="A local identity provider.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="where its key and clients.json are kept")
    options = parser.parse_args(arguments)
    keys = SigningKeys.open(options.state)
    issuer = Issuer(options.state, keys, authority=f"http://{HOST}:{options.port}", clock=SystemClock())
    print(f"identity provider on {issuer.authority}", flush=True)
    web.run_app(issuer.app(), host=HOST, port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
