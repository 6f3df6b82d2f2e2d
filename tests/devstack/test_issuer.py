import asyncio
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestServer
from joserfc.jwk import RSAKey
from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.errors import TokenUnknownKeyError
from gateway.identity import Authenticator
from gateway.keyset import KeySet
from gateway.tokens import TokenRules
from ops.devstack.issuer import AUDIENCE, DEV_LIFETIME_S, DevClient, Issuer, SigningKeys, mint, write_clients
from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from tenancy.changes import ChangeFeed
from tenancy.context import Principal, Role
from tenancy.data_models import IdentityBinding
from tenancy.ids import TenantId
from tests.clock import FakeClock
from tests.gateway.identity_fixtures import no_api_keys
from tests.gateway.signing import decoded

ACME = DevClient(
    tid="11111111-2222-4333-8444-555555555555",
    client_id="aaaaaaaa-0000-4000-8000-000000000001",
    secret="a-secret-of-acme-corp",
    roles=(Role.AGENT_INVOKE,),
)
GLOBEX = ACME.model_copy(update={"tid": "22222222-2222-4333-8444-555555555555", "secret": "a-secret-of-globex"})
GOOD = {
    "grant_type": "client_credentials",
    "scope": f"{AUDIENCE}/.default",
    "client_id": ACME.client_id,
    "client_secret": ACME.secret,
}


class Provider(NamedTuple):
    issuer: Issuer
    http: aiohttp.ClientSession
    state: Path
    clock: FakeClock

    async def ask(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        url = f"{self.issuer.authority}/{ACME.tid}/oauth2/v2.0/token"
        async with self.http.post(url, data=form) as answer:
            return answer.status, await answer.json()

    async def read(self, path: str) -> tuple[int, dict[str, object]]:
        async with self.http.get(self.issuer.authority + path) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            return answer.status, await answer.json()

    def mint(self) -> str:
        return mint(
            self.issuer.keys,
            authority=self.issuer.authority,
            tid=ACME.tid,
            client_id=ACME.client_id,
            roles=ACME.roles,
            now=self.clock.now(),
        )


@pytest.fixture
async def provider(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Provider]:
    issuer = Issuer(tmp_path, SigningKeys.make(), authority="", clock=clock)
    write_clients(tmp_path, [ACME, GLOBEX])
    async with TestServer(issuer.app()) as server, aiohttp.ClientSession() as http:
        issuer.authority = str(server.make_url("")).rstrip("/")
        yield Provider(issuer, http, tmp_path, clock)


@pytest.fixture
async def authenticator(provider: Provider) -> AsyncIterator[Authenticator]:
    """Return the product's own reader of tokens, on this provider, with ACME's application bound."""

    async def find(issuer: str, directory: str, client_id: str) -> IdentityBinding | None:
        bound = (issuer, directory, client_id) == (
            f"{provider.issuer.authority}/{ACME.tid}/v2.0",
            ACME.tid,
            ACME.client_id,
        )
        if not bound:
            return None
        return IdentityBinding(
            issuer=issuer,
            directory=directory,
            client_id=client_id,
            tenant_id=TenantId("acme"),
            created_at=provider.clock.now(),
        )

    authority, clock = provider.issuer.authority, provider.clock
    async with Redis() as never_connected:
        keys = KeySet(provider.http, authority=authority, directory="common", clock=clock)
        changes = ChangeFeed(never_connected, clock=clock)
        reader = Authenticator(
            keys, TokenRules(authority, AUDIENCE), find, changes, api_keys=no_api_keys(changes, clock), clock=clock
        )
        yield reader
        await reader.aclose()


async def authenticate(authenticator: Authenticator, token: object) -> Principal:
    return await authenticator.authenticate(f"Bearer {token}")


async def test_a_minted_token_has_entra_s_claims_and_authenticates(
    provider: Provider, authenticator: Authenticator
) -> None:
    token = provider.mint()
    claims = orjson.loads(decoded(token.split(".")[1]))
    assert set(claims) == {"aud", "iss", "iat", "nbf", "exp", "azp", "oid", "roles", "sub", "tid", "ver", "uti"}
    assert claims["exp"] - claims["iat"] == DEV_LIFETIME_S
    principal = await authenticate(authenticator, token)
    assert principal == Principal(claims["oid"], ACME.client_id, frozenset({Role.AGENT_INVOKE}), TenantId("acme"))


async def test_an_application_keeps_its_object_id(provider: Provider) -> None:
    oids = {orjson.loads(decoded(provider.mint().split(".")[1]))["oid"] for _ in range(2)}
    assert len(oids) == 1


async def test_client_credentials_give_a_token_that_authenticates(
    provider: Provider, authenticator: Authenticator
) -> None:
    status, answer = await provider.ask(GOOD)
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 3600)
    assert (await authenticate(authenticator, answer["access_token"])).tenant_id == "acme"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"client_secret": "another"}, (401, "invalid_client")),
        ({"client_secret": GLOBEX.secret}, (401, "invalid_client")),
        ({"client_id": "another"}, (401, "invalid_client")),
        ({"client_id": ""}, (401, "invalid_client")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"scope": "api://billing/.default"}, (400, "invalid_scope")),
    ],
)
async def test_a_wrong_request_gets_no_token(
    provider: Provider, change: dict[str, str], refusal: tuple[int, str]
) -> None:
    status, answer = await provider.ask(GOOD | change)
    assert ((status, answer["error"]), "access_token" in answer) == (refusal, False)


async def test_a_directory_added_while_it_runs_is_known(provider: Provider) -> None:
    new = GLOBEX.model_copy(update={"tid": "33333333-2222-4333-8444-555555555555"})
    path = f"/{new.tid}/v2.0/.well-known/openid-configuration"
    status, answer = await provider.read(path)
    assert (status, answer["error"]) == (400, "invalid_tenant")
    write_clients(provider.state, [ACME, new])
    status, answer = await provider.read(path)
    assert (status, answer["issuer"]) == (200, f"{provider.issuer.authority}/{new.tid}/v2.0")


async def test_the_common_directory_speaks_for_all(provider: Provider) -> None:
    _, answer = await provider.read("/common/v2.0/.well-known/openid-configuration")
    assert answer["issuer"] == f"{provider.issuer.authority}/{{tenantid}}/v2.0"
    assert answer["jwks_uri"] == f"{provider.issuer.authority}/common/discovery/v2.0/keys"


async def test_no_private_part_of_a_key_is_published(provider: Provider) -> None:
    _, answer = await provider.read("/common/discovery/v2.0/keys")
    keys = answer["keys"]
    assert isinstance(keys, list)
    assert [set(key) for key in keys] == [{"kty", "kid", "n", "e", "use", "issuer"}]


async def test_a_rotated_key_signs_and_the_old_one_is_still_good_while_kept(
    provider: Provider, authenticator: Authenticator
) -> None:
    old = provider.mint()
    provider.issuer.keys.rotate()
    new = provider.mint()
    for token in (new, old):
        assert (await authenticate(authenticator, token)).tenant_id == "acme"


async def test_a_forgotten_key_s_tokens_are_refused(provider: Provider, authenticator: Authenticator) -> None:
    old = provider.mint()
    provider.issuer.keys.rotate(keep_old=False)
    with pytest.raises(TokenUnknownKeyError):
        await authenticate(authenticator, old)


@pytest.mark.parametrize("change", [{"tid": "acme"}, {"client_id": "a#b"}, {"secret": "short"}, {"roles": ["Root"]}])
def test_a_directory_entra_could_not_have_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DevClient.model_validate(ACME.model_dump() | change)


async def test_the_key_is_made_once_closed_to_others_and_agreed_on_by_all(tmp_path: Path) -> None:
    state = tmp_path / "issuer"
    opened = await asyncio.gather(*(asyncio.to_thread(SigningKeys.open, state) for _ in range(4)))
    assert len({keys.current.kid for keys in opened}) == 1
    assert [path.name for path in state.iterdir()] == ["signing-key.pem"]
    assert stat.S_IMODE((state / "signing-key.pem").stat().st_mode) == 0o600
    assert RSAKey.import_key((state / "signing-key.pem").read_bytes()).raw_value.key_size == 2048


@pytest.mark.stack
async def test_the_process_serves_on_loopback_and_ends_at_sigterm(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "issuer.log"
    write_clients(tmp_path, [ACME])
    command = [sys.executable, "-m", "ops.devstack.issuer", "--port", str(port), "--state", str(tmp_path)]
    process = await spawn(command, env={}, log=log)
    try:
        await until_ready("issuer", process, lambda: listens(port), log=log, fix="see its log")
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{port}/{ACME.tid}/oauth2/v2.0/token"
            async with http.post(url, data=GOOD) as answer:
                token = (await answer.json())["access_token"]
    finally:
        await stop(process)
    assert process.returncode == 0
    # The key is kept for the next run: what was signed with it stays good.
    kid = orjson.loads(decoded(token.split(".")[0]))["kid"]
    assert kid == SigningKeys.open(tmp_path).current.kid
