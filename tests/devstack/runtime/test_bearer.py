"""Runtimes with a customJWTAuthorizer take bearer tokens, checked against a real key set, and nothing else."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from joserfc import jwt
from joserfc.jwk import RSAKey

from ops.devstack.runtime.server import LocalAgentCore
from tests.clock import FakeClock
from tests.devstack.runtime.sdk import Sdk, wire_url

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Issuer:
    """An identity provider."""

    url: str
    key: RSAKey

    def token(self, clock: FakeClock, claims: Mapping[str, object] = {}, *, key: RSAKey | None = None) -> str:
        good = {
            "iss": self.url,
            "exp": int((clock.now() + timedelta(minutes=5)).timestamp()),
            "aud": "agents",
            "client_id": "gateway",
        }
        signer = key or self.key
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, good | dict(claims), signer)


@pytest_asyncio.fixture(loop_scope="session")
async def issuer() -> AsyncIterator[Issuer]:
    key = RSAKey.generate_key(2048, auto_kid=True)

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response({"issuer": made.url, "jwks_uri": f"{made.url}/keys"})

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False)]})

    app = web.Application()
    app.add_routes([web.get("/.well-known/openid-configuration", discovery), web.get("/keys", keys)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = Issuer(f"http://127.0.0.1:{runner.addresses[0][1]}", key)
    yield made
    await runner.cleanup()


async def runtime(core: LocalAgentCore, issuer: Issuer) -> str:
    rules = {
        "discoveryUrl": f"{issuer.url}/.well-known/openid-configuration",
        "allowedAudience": ["agents"],
        "allowedClients": ["gateway"],
    }
    return await Sdk(core).create(
        "agent",
        "sdk",
        authorizerConfiguration={"customJWTAuthorizer": rules},
        requestHeaderConfiguration={"requestHeaderAllowlist": ["Authorization"]},
    )


async def outcome(
    http: ClientSession, core: LocalAgentCore, arn: str, token: str | None
) -> tuple[int, Mapping[str, str]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with http.post(wire_url(core, arn), data=b"{}", headers=headers) as answer:
        return answer.status, answer.headers


async def test_a_good_token_is_let_in_and_reaches_the_agent(
    timed: LocalAgentCore, clock: FakeClock, issuer: Issuer, http: ClientSession
) -> None:
    arn, token = await runtime(timed, issuer), issuer.token(clock)
    async with http.post(wire_url(timed, arn), data=b"{}", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 200
        assert (await answer.json())["headers"]["authorization"] == f"Bearer {token}"


async def test_no_token_is_401_and_says_where_to_get_one(
    timed: LocalAgentCore, issuer: Issuer, http: ClientSession
) -> None:
    arn = await runtime(timed, issuer)
    status, headers = await outcome(http, timed, arn, None)
    assert (status, headers["x-amzn-ErrorType"]) == (401, "UnauthorizedException")
    assert headers["WWW-Authenticate"].startswith('Bearer resource_metadata="https://bedrock-agentcore.eu-west-1.')
    assert headers["WWW-Authenticate"].endswith('/.well-known/oauth-protected-resource?qualifier=DEFAULT"')


@pytest.mark.parametrize(
    "claims",
    [{"aud": "others"}, {"client_id": "others"}, {"iss": "https://others"}, {"exp": 1}, {"nbf": 9_999_999_999}],
)
async def test_a_token_for_others_or_out_of_time_is_401(
    timed: LocalAgentCore, clock: FakeClock, issuer: Issuer, http: ClientSession, claims: Mapping[str, object]
) -> None:
    arn = await runtime(timed, issuer)
    assert (await outcome(http, timed, arn, issuer.token(clock, claims)))[0] == 401


async def test_a_token_signed_by_another_key_is_401(
    timed: LocalAgentCore, clock: FakeClock, issuer: Issuer, http: ClientSession
) -> None:
    arn = await runtime(timed, issuer)
    forged = issuer.token(clock, key=RSAKey.generate_key(2048))
    assert (await outcome(http, timed, arn, forged))[0] == 401
    assert (await outcome(http, timed, arn, "no-token"))[0] == 401


async def test_a_provider_that_is_down_lets_nobody_in(
    timed: LocalAgentCore, clock: FakeClock, issuer: Issuer, http: ClientSession
) -> None:
    elsewhere = Issuer("http://127.0.0.1:9", issuer.key)
    arn = await runtime(timed, elsewhere)
    assert (await outcome(http, timed, arn, issuer.token(clock)))[0] == 401


async def test_each_runtime_takes_only_its_own_way_of_authorization(
    timed: LocalAgentCore, clock: FakeClock, issuer: Issuer, http: ClientSession
) -> None:
    arn = await runtime(timed, issuer)
    sdk = Sdk(timed)
    refused = await sdk.refused(sdk.invoke(arn, "tell"))
    assert (refused.status, refused.kind) == (403, "AccessDeniedException")
    assert refused.message.startswith("Authorization method mismatch")
    plain = await sdk.create("plain", "sdk")
    assert (await outcome(http, timed, plain, issuer.token(clock)))[0] == 403
