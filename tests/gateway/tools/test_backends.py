"""What carries calls to tools, against a server whose faults are chosen; and Lambda's own API, played."""

import base64
from collections.abc import AsyncIterator, Mapping

import aiohttp
import orjson
import pytest
from aiohttp import web

from agents.authorize import Outgoing
from gateway.tools.calls import ToolCall
from gateway.tools.errors import (
    ToolAnswerTooLargeError,
    ToolBrokenError,
    ToolUnreachableError,
)
from gateway.tools.http_backend import HttpBackend
from gateway.tools.lambda_backend import LambdaBackend, SignedLambda
from gateway.tools.mcp_backend import McpBackend
from ops.outbound import open_http
from tenancy.clock import SystemClock
from tenancy.ids import TenantId
from tests.gateway.tools.given import HANDSHAKE, STATELESS, ToolServer, tool, tool_server

EVENT = web.RequestKey("event", bytes)
ARN = "arn:aws:lambda:eu-west-1:111111111111:function:orders"


@pytest.fixture
async def server() -> AsyncIterator[ToolServer]:
    async with tool_server() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http() as session:
        yield session


def call(target: str, tenant: str = "acme", **fields: object) -> ToolCall:
    return ToolCall(
        tool=tool("echo", target, **fields),
        arguments={"text": "x"},
        tenant_id=TenantId(tenant),
        invocation="inv_1",
        agent="tool-user",
        assertion="signed",
    )


@pytest.mark.parametrize("speaks", [STATELESS, HANDSHAKE])
async def test_an_endpoint_is_spoken_to_in_the_version_it_speaks(
    server: ToolServer, http: aiohttp.ClientSession, speaks: str
) -> None:
    server.speaks = speaks
    backend = McpBackend(http, clock=SystemClock())
    for _ in range(2):
        result = await backend(call(server.url + "/mcp"))
        assert result.content == [{"type": "text", "text": "done"}]
    assert server.calls == [("echo", {"text": "x"})] * 2
    assert len(server.sessions) == (1 if speaks == HANDSHAKE else 0)
    assert server.headers[0]["Authorization"] == "Bearer signed"


async def test_no_two_tenants_share_a_session_of_a_tool(server: ToolServer, http: aiohttp.ClientSession) -> None:
    server.speaks = HANDSHAKE
    backend = McpBackend(http, clock=SystemClock())
    for tenant in ("acme", "globex", "acme"):
        await backend(call(server.url + "/mcp", tenant))
    assert [headers["Mcp-Session-Id"] for headers in server.headers] == ["session-1", "session-2", "session-1"]


async def test_a_session_that_was_forgotten_is_begun_anew(server: ToolServer, http: aiohttp.ClientSession) -> None:
    server.speaks = HANDSHAKE
    backend = McpBackend(http, clock=SystemClock())
    await backend(call(server.url + "/mcp"))
    server.sessions[0] = "gone"
    result = await backend(call(server.url + "/mcp"))
    assert result.is_error is False
    assert server.headers[-1]["Mcp-Session-Id"] == "session-2"


async def test_a_tool_goes_by_the_name_it_has_behind_the_door(server: ToolServer, http: aiohttp.ClientSession) -> None:
    backend = McpBackend(http, clock=SystemClock())
    await backend(call(server.url + "/mcp", backend_name="target___echo"))
    assert server.calls == [("target___echo", {"text": "x"})]


@pytest.mark.parametrize("answer", [{}, {"content": "text"}, {"content": ["text"]}])
async def test_what_is_no_tool_result_is_not_passed_on(
    server: ToolServer, http: aiohttp.ClientSession, answer: dict[str, object]
) -> None:
    server.answer = answer
    with pytest.raises(ToolBrokenError):
        await McpBackend(http, clock=SystemClock())(call(server.url + "/mcp"))


async def test_a_redirect_is_not_followed(server: ToolServer, http: aiohttp.ClientSession) -> None:
    for backend in (HttpBackend(http), McpBackend(http, clock=SystemClock())):
        with pytest.raises(ToolBrokenError):
            await backend(call(server.url + "/redirect"))
    assert {path for path, _ in server.calls} == {"/redirect"}


async def test_an_answer_larger_than_the_tools_limit_is_not_passed_on(
    server: ToolServer, http: aiohttp.ClientSession
) -> None:
    server.body = b'"' + b"x" * 200 + b'"'
    with pytest.raises(ToolAnswerTooLargeError):
        await HttpBackend(http)(call(server.url + "/http", answer_limit_bytes=100))
    server.answer = {"content": [{"type": "text", "text": "x" * 70_000}]}
    with pytest.raises(ToolAnswerTooLargeError):
        await McpBackend(http, clock=SystemClock())(call(server.url + "/mcp", answer_limit_bytes=100))


async def test_a_tool_that_is_away_is_unreachable(http: aiohttp.ClientSession) -> None:
    with pytest.raises(ToolUnreachableError):
        await HttpBackend(http)(call("http://127.0.0.1:1/"))


async def test_what_an_http_tool_says_of_the_arguments_is_for_the_model(
    server: ToolServer, http: aiohttp.ClientSession
) -> None:
    server.status, server.body = 422, b'{"fault": "no such city"}'
    result = await HttpBackend(http)(call(server.url + "/http"))
    assert result.is_error is True
    assert result.structured == {"fault": "no such city"}


async def test_what_an_http_tool_says_of_itself_is_not_passed_on(
    server: ToolServer, http: aiohttp.ClientSession
) -> None:
    server.status, server.body = 500, b"Traceback: password=hunter2"
    with pytest.raises(ToolBrokenError) as broken:
        await HttpBackend(http)(call(server.url + "/http"))
    assert "hunter2" not in str(broken.value)


class Signer:
    """Signs by saying what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Outgoing] = []

    async def headers(self, call: Outgoing) -> Mapping[str, str]:
        self.seen.append(call)
        return {"Authorization": "AWS4-HMAC-SHA256 …".encode("ascii", "ignore").decode()}


@pytest.fixture
async def functions() -> AsyncIterator[tuple[str, list[web.Request], list[bytes]]]:
    """Play Lambda's Invoke: what came, and what it answers next (an error where that is empty)."""
    came: list[web.Request] = []
    answers: list[bytes] = []

    async def invoke(request: web.Request) -> web.Response:
        came.append(request)
        request[EVENT] = await request.read()
        if answers:
            return web.Response(body=answers.pop())
        return web.Response(body=b'{"errorMessage": "hunter2"}', headers={"X-Amz-Function-Error": "Unhandled"})

    app = web.Application()
    app.add_routes([web.post("/2015-03-31/functions/{arn}/invocations", invoke)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", came, answers
    await runner.cleanup()


async def test_a_function_is_invoked_as_agentcore_gateway_invokes_its_targets(
    functions: tuple[str, list[web.Request], list[bytes]], http: aiohttp.ClientSession
) -> None:
    url, came, answers = functions
    answers.append(b'{"order": 7}')
    signer = Signer()
    backend = LambdaBackend(SignedLambda(http, {"eu-west-1": signer}, url))
    result = await backend(call(ARN, backend="lambda", backend_name="orders___get"))
    assert result.structured == {"order": 7}
    [request] = came
    assert request.match_info["arn"] == ARN
    assert orjson.loads(request[EVENT]) == {"text": "x"}
    custom = orjson.loads(base64.b64decode(request.headers["X-Amz-Client-Context"]))["custom"]
    assert custom == {
        "bedrockAgentCoreToolName": "orders___get",
        "bedrockAgentCoreMessageVersion": "1.0",
        "lockgateTenant": "acme",
        "lockgateInvocation": "inv_1",
        "lockgateAgent": "tool-user",
        "lockgateAssertion": "signed",
    }
    assert signer.seen[0].path == request.raw_path
    assert signer.seen[0].headers["Host"] == request.headers["Host"]


async def test_what_a_function_raised_is_not_passed_on(
    functions: tuple[str, list[web.Request], list[bytes]], http: aiohttp.ClientSession
) -> None:
    backend = LambdaBackend(SignedLambda(http, {"eu-west-1": Signer()}, functions[0]))
    with pytest.raises(ToolBrokenError) as broken:
        await backend(call(ARN, backend="lambda"))
    assert "hunter2" not in str(broken.value)


@pytest.mark.parametrize("arn", ["orders", ARN.replace("eu-west-1", "us-east-1")])
async def test_a_function_of_a_region_that_is_not_signed_for_is_not_invoked(
    functions: tuple[str, list[web.Request], list[bytes]], http: aiohttp.ClientSession, arn: str
) -> None:
    backend = LambdaBackend(SignedLambda(http, {"eu-west-1": Signer()}, functions[0]))
    with pytest.raises(ToolBrokenError):
        await backend(call(arn, backend="lambda"))
    assert functions[1] == []
