"""Signatures are checked as AWS checks them, for the key that is known."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from ops.devstack.runtime.callers import DevKey
from ops.devstack.runtime.server import LocalAgentCore
from tests.devstack.runtime.conftest import Start
from tests.devstack.runtime.sdk import Sdk, wire_url

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]
KEY = DevKey("LOCALKEY", "local-secret")


def signed(url: URL, body: bytes, key: DevKey = KEY) -> dict[str, str]:
    request = AWSRequest(method="POST", url=str(url), data=body, headers={"Host": f"{url.host}:{url.port}"})
    SigV4Auth(Credentials(key.access_key, key.secret_key), "bedrock-agentcore", "eu-west-1").add_auth(request)
    return dict(request.headers.items())


async def test_boto3_with_the_known_key_is_let_in(start: Start) -> None:
    sdk = Sdk(await start(key=KEY, require_auth=True), KEY.access_key, KEY.secret_key)
    arn = await sdk.create("agent", "sdk")
    await sdk.invoke(arn, "tell")


async def test_the_known_key_with_another_secret_is_403(start: Start) -> None:
    core = await start(key=KEY)
    sdk = Sdk(core, KEY.access_key, "guessed")
    refused = await sdk.refused(sdk.control("list_agent_runtimes"))
    assert (refused.status, refused.kind) == (403, "InvalidSignatureException")
    arn = await Sdk(core).create("agent", "sdk")
    assert (await sdk.refused(sdk.invoke(arn, "tell"))).kind == "InvalidSignatureException"


async def test_a_changed_body_breaks_the_signature(start: Start, http: ClientSession) -> None:
    core = await start(key=KEY)
    url = wire_url(core, await Sdk(core).create("agent", "sdk"), query="?qualifier=DEFAULT")
    headers = signed(url, b'{"a": 1}')
    async with http.post(url, data=b'{"a": 1}', headers=headers) as answer:
        assert answer.status == 200
    async with http.post(url, data=b'{"a": 2}', headers=headers) as answer:
        assert answer.status == 403


async def test_a_path_decoded_on_its_way_breaks_the_signature(start: Start, http: ClientSession) -> None:
    core = await start(key=KEY)
    arn = await Sdk(core).create("agent", "sdk")
    headers = signed(wire_url(core, arn), b"{}")
    decoded = URL(f"{core.data_url}/runtimes/{quote(arn, safe=':')}/invocations", encoded=True)
    async with http.post(decoded, data=b"{}", headers=headers) as answer:
        assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"


@pytest.mark.parametrize("minutes", [-16, 16])
async def test_an_old_or_future_signature_is_refused(start: Start, http: ClientSession, minutes: int) -> None:
    core = await start(key=KEY)
    url = wire_url(core, await Sdk(core).create("agent", "sdk"))
    stamp = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y%m%dT%H%M%SZ")
    headers = signed(url, b"{}") | {"X-Amz-Date": stamp}
    async with http.post(url, data=b"{}", headers=headers) as answer:
        assert "expired" in (await answer.json())["message"]


async def test_an_unknown_key_or_none_is_let_in_unless_auth_is_required(start: Start, http: ClientSession) -> None:
    loose = await start(key=KEY)
    async with http.post(f"{loose.control_url}/runtimes/") as answer:
        assert answer.status == 200
    await Sdk(loose).control("list_agent_runtimes")


async def test_required_auth_refuses_an_unknown_key_and_none(start: Start, http: ClientSession) -> None:
    strict = await start(key=KEY, require_auth=True)
    async with http.post(f"{strict.control_url}/runtimes/") as answer:
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")
    sdk = Sdk(strict)
    refused = await sdk.refused(sdk.control("list_agent_runtimes"))
    assert (refused.status, refused.kind) == (403, "UnrecognizedClientException")


async def test_a_malformed_signature_is_refused(core: LocalAgentCore, http: ClientSession) -> None:
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=nothing"}
    async with http.post(f"{core.control_url}/runtimes/", headers=headers) as answer:
        assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"
