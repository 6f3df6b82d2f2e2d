"""What the command line makes of an authority's answers, on the local identity provider and on what is none."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from ops.cli.logins import Application, Login
from ops.cli.token_endpoint import (
    AuthorityError,
    DeviceCode,
    SignInRefusedError,
    SignInTooLateError,
    TokenEndpoint,
)
from ops.devstack.device_grant import decide
from ops.devstack.issuer import DevClient, Issuer, SigningKeys, write_clients
from tenancy.clock import SystemClock
from tests.clock import FakeClock

CLIENT = DevClient(tid="11111111-2222-4333-8444-555555555555", client_id="ops", secret="a-secret-of-operators")
QUICK = SystemClock()


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    issuer = Issuer(tmp_path, SigningKeys.make(), authority="", clock=QUICK)
    write_clients(tmp_path, [CLIENT])
    async with TestServer(issuer.app()) as server:
        issuer.authority = str(server.make_url("")).rstrip("/")
        yield Application(
            authority=issuer.authority, directory=CLIENT.tid, client_id=CLIENT.client_id, audience="api://lockgate"
        )


async def off_the_loop(work: Callable[[], Login | DeviceCode | SecretStr]) -> Login | DeviceCode | SecretStr:
    """Run what blocks beside the provider's loop."""
    return await asyncio.to_thread(work)


async def begun(endpoint: TokenEndpoint) -> DeviceCode:
    device = await off_the_loop(endpoint.begin)
    assert isinstance(device, DeviceCode)
    # The provider's own interval is a second.
    return device.model_copy(update={"interval": 0})


async def login(endpoint: TokenEndpoint, device: DeviceCode) -> Login:
    made = await off_the_loop(lambda: asyncio.run(endpoint.wait(device)))
    assert isinstance(made, Login)
    return made


async def test_an_approved_device_has_a_token_that_is_renewed(application: Application, tmp_path: Path) -> None:
    with TokenEndpoint(application, QUICK) as endpoint:
        device = await begun(endpoint)
        decide(tmp_path, device.user_code, approved=True)
        made = await login(endpoint, device)
        kept = made.refresh_token
        assert kept is not None
        new = await off_the_loop(lambda: endpoint.renew(made, kept))
    assert isinstance(new, Login)
    assert new.access_token != made.access_token
    assert (new.signed_in_at, new.application) == (made.signed_in_at, application)


async def test_an_access_token_renews_nothing(application: Application, tmp_path: Path) -> None:
    with TokenEndpoint(application, QUICK) as endpoint:
        device = await begun(endpoint)
        decide(tmp_path, device.user_code, approved=True)
        made = await login(endpoint, device)
        with pytest.raises(SignInRefusedError, match="invalid_grant"):
            await off_the_loop(lambda: endpoint.renew(made, made.access_token))


async def test_a_denied_device_has_none(application: Application, tmp_path: Path) -> None:
    with TokenEndpoint(application, QUICK) as endpoint:
        device = await begun(endpoint)
        decide(tmp_path, device.user_code, approved=False)
        with pytest.raises(SignInRefusedError, match="access_denied"):
            await login(endpoint, device)


async def test_nobody_is_waited_for_longer_than_the_code_lives(application: Application) -> None:
    with TokenEndpoint(application, QUICK) as endpoint:
        device = await begun(endpoint)
        with pytest.raises(SignInTooLateError):
            await login(endpoint, device.model_copy(update={"expires_in": 0}))


async def test_an_application_has_a_token_of_its_own_by_its_secret(application: Application) -> None:
    with TokenEndpoint(application, QUICK, secret=SecretStr(CLIENT.secret)) as endpoint:
        assert isinstance(await off_the_loop(endpoint.for_itself), SecretStr)
    with (
        TokenEndpoint(application, QUICK, secret=SecretStr("a-wrong-secret")) as endpoint,
        pytest.raises(SignInRefusedError) as refused,
    ):
        await off_the_loop(endpoint.for_itself)
    assert "a-wrong-secret" not in str(refused.value)


async def test_an_unknown_application_is_told_so(application: Application) -> None:
    stranger = application.model_copy(update={"client_id": "stranger"})
    with TokenEndpoint(stranger, QUICK) as endpoint, pytest.raises(AuthorityError, match="invalid_client"):
        await off_the_loop(endpoint.begin)


async def test_an_authority_that_says_slow_down_is_asked_less_often(clock: FakeClock) -> None:
    asked_at_s: list[float] = []

    async def token(_: web.Request) -> web.Response:
        asked_at_s.append(clock.monotonic())
        refusals = ["authorization_pending", "slow_down", "authorization_pending", "access_denied"]
        return web.json_response({"error": refusals[len(asked_at_s) - 1]}, status=400)

    made = web.Application()
    made.router.add_post("/d/oauth2/v2.0/token", token)
    device = DeviceCode(
        device_code=SecretStr("x"), user_code="BCDF-BCDF", verification_uri="-", expires_in=900, interval=2
    )
    async with TestServer(made) as server:
        authority = str(server.make_url("")).rstrip("/")
        application = Application(authority=authority, directory="d", client_id="c", audience="api://lockgate")
        with TokenEndpoint(application, _Jumping(clock)) as endpoint, pytest.raises(SignInRefusedError):
            await login(endpoint, device)
    assert [later - before for before, later in itertools.pairwise(asked_at_s)] == [2, 7, 7]


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"user_code": 1}', '"x"'])
async def test_what_is_no_authority_is_said_to_be_none(answer: str) -> None:
    async def any_page(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    made = web.Application()
    made.router.add_post("/{path:.*}", any_page)
    async with TestServer(made) as server:
        authority = str(server.make_url("")).rstrip("/")
        application = Application(authority=authority, directory="d", client_id="c", audience="api://lockgate")
        with (
            TokenEndpoint(application, QUICK) as endpoint,
            pytest.raises(AuthorityError, match="does not answer as an authority"),
        ):
            await off_the_loop(endpoint.begin)


class _Jumping(FakeClock):
    """Sleeping takes no time but the clock's own."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._moved = clock

    def monotonic(self) -> float:
        return self._moved.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._moved.advance(seconds)
