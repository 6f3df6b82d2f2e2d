"""InvokeAgentRuntime as boto3 and plain HTTP see it."""

import asyncio
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import ClientSession
from yarl import URL

from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.server import LocalAgentCore
from tests.devstack.runtime.conftest import Start
from tests.devstack.runtime.sdk import SESSION, Sdk, post, session_id, wire_url

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


async def test_an_sdk_agent_answers_and_the_session_id_comes_back(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    answer, said = await sdk.answer(arn, "tell", session_id("a"))
    assert answer["statusCode"] == 200
    assert answer["contentType"] == "application/json"
    assert answer["runtimeSessionId"] == said["session"] == session_id("a")


async def test_a_session_is_one_process_and_another_session_another(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    first, again, other = [await sdk.invoke(arn, "tell", session_id(name)) for name in ("a", "a", "b")]
    assert first["pid"] == again["pid"] != other["pid"]


async def test_the_same_session_id_of_another_runtime_is_another_session(sdk: Sdk) -> None:
    one, two = await sdk.create("one", "sdk"), await sdk.create("two", "sdk")
    pids = {(await sdk.invoke(arn, "tell", session_id("a")))["pid"] for arn in (one, two)}
    assert len(pids) == 2


async def test_a_missing_session_id_is_made_and_told(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    arn = await sdk.create("agent", "sdk")
    async with http.post(wire_url(core, arn), data=b"{}") as answer:
        made = answer.headers[SESSION]
        said = await answer.json()
    assert len(made) >= 33
    assert said["session"] == made


async def test_a_stream_passes_byte_for_byte_and_unbuffered(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession
) -> None:
    arn = await sdk.create("agent", "puppet")
    chunks = ["data: \xff\x00half", " a line\r\n\n", "\n\n\ndata: last, without an end"]
    sent = [chunk.encode("latin-1") for chunk in chunks]
    async with post(http, core, arn, session_id("a"), do="stream", chunks=chunks, type="text/event-stream") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        got = []
        for chunk in sent:
            got.append(await stream.content.readexactly(len(chunk)))
            await sdk.invoke(arn, "go", session_id("a"))
        assert await stream.content.read() == b""
    assert got == sent


async def test_boto3_reads_the_lines_of_an_sdk_agents_stream(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    payload = b'{"do": "stream", "chunks": 3}'
    answer = await sdk.data("invoke_agent_runtime", agentRuntimeArn=arn, payload=payload)
    assert answer["contentType"].startswith("text/event-stream")
    lines = await asyncio.to_thread(lambda: [line for line in answer["response"].iter_lines(chunk_size=1) if line])
    assert lines == [b'data: {"index": 0}', b'data: {"index": 1}', b'data: {"index": 2}']


async def test_an_agents_error_is_424_and_its_words_stay_inside(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    refused = await sdk.refused(sdk.invoke(arn, "fail"))
    assert (refused.status, refused.kind) == (424, "RuntimeClientError")
    assert refused.message.startswith("Received error (500) from runtime.")
    assert "secret" not in refused.message


@pytest.mark.parametrize("status", [302, 400, 404, 418, 503])
async def test_any_answer_of_an_agent_but_2xx_is_424(sdk: Sdk, status: int) -> None:
    arn = await sdk.create("agent", "puppet")
    refused = await sdk.refused(sdk.invoke(arn, "answer", status=status, body="inside"))
    assert (refused.status, refused.kind) == (424, "RuntimeClientError")
    assert f"({status})" in refused.message


async def test_errors_carry_their_type_and_a_message_on_the_wire(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession
) -> None:
    arn = await sdk.create("agent", "sdk")
    async with post(http, core, arn, "too-short") as answer:
        assert answer.status == 400
        assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
        assert "x-amzn-RequestId" in answer.headers
        body = await answer.json()
    assert body["reason"] == "FieldValidationFailed"
    assert body["fieldList"][0]["name"] == SESSION
    assert "greater than or equal to 33" in body["message"]


async def test_an_unknown_runtime_or_endpoint_is_404(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    other = arn[:-1] + ("x" if arn[-1] != "x" else "y")
    assert (await sdk.refused(sdk.invoke(other, "tell"))).kind == "ResourceNotFoundException"
    elsewhere = arn.replace("eu-west-1", "us-east-1")
    assert (await sdk.refused(sdk.invoke(elsewhere, "tell"))).status == 404
    call = sdk.data("invoke_agent_runtime", agentRuntimeArn=arn, qualifier="canary", payload=b"{}")
    refused = await sdk.refused(call)
    assert refused.status == 404
    assert "qualifier 'canary'" in refused.message


async def test_an_agent_id_needs_its_account(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    runtime_id = arn.rpartition("/")[2]
    assert (await sdk.refused(sdk.invoke(runtime_id, "tell"))).kind == "ValidationException"
    call = {"agentRuntimeArn": runtime_id, "payload": b"{}"}
    assert (await sdk.data("invoke_agent_runtime", accountId="000000000000", **call))["statusCode"] == 200
    wrong = sdk.data("invoke_agent_runtime", accountId="111111111111", **call)
    assert (await sdk.refused(wrong)).status == 404


async def test_a_path_aws_does_not_have_says_missing_authentication_token(
    core: LocalAgentCore, http: ClientSession
) -> None:
    for path in ("/ping", "/invocations", "/_local/sessions", "/runtimes/a/b/invocations"):
        async with http.post(core.data_url + path) as answer:
            assert answer.status == 403
            assert await answer.json() == {"message": "Missing Authentication Token"}


async def test_an_arn_whose_colons_were_decoded_on_the_way_still_names_its_runtime(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession
) -> None:
    arn = await sdk.create("agent", "sdk")
    url = URL(f"{core.data_url}/runtimes/{quote(arn, safe=':')}/invocations", encoded=True)
    async with http.post(url, data=b"{}") as answer:
        assert answer.status == 200


async def test_an_agent_sees_only_the_headers_it_may_see(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    custom = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-"
    arn = await sdk.create(
        "agent", "sdk", requestHeaderConfiguration={"requestHeaderAllowlist": [custom + "Lockgate-Ref"]}
    )
    given = {
        custom + "lockgate-ref": "inv_1",
        custom + "Other": "no",
        "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/bedrock-agentcore/aws4_request, "
        "SignedHeaders=host, Signature=" + "0" * 64,
        "Cookie": "no=1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Amz-Date": "20260101T000000Z",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
        "baggage": "k=v",
        "X-Amzn-Bedrock-AgentCore-Runtime-User-Id": "user-1",
    }
    async with post(http, core, arn, session_id("a"), given, do="tell") as answer:
        seen = (await answer.json())["headers"]
        told = answer.headers
    assert seen[f"{custom.lower()}lockgate-ref"] == "inv_1"
    assert seen["traceparent"] == told["traceparent"] == given["traceparent"]
    assert seen["tracestate"] == told["tracestate"] == "a=b"
    assert seen["baggage"] == "k=v"
    assert seen["x-amzn-bedrock-agentcore-runtime-user-id"] == "user-1"
    assert seen["x-amzn-trace-id"] == told["X-Amzn-Trace-Id"]
    assert not {name.lower() for name in given} & set(seen) - {
        f"{custom.lower()}lockgate-ref",
        "traceparent",
        "tracestate",
        "baggage",
        "x-amzn-bedrock-agentcore-runtime-user-id",
    }


async def test_an_agent_gets_its_variables_and_nothing_of_the_machines(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk", environmentVariables={"MODEL": "small"})
    environment = (await sdk.invoke(arn, "tell"))["environment"]
    assert environment.pop("MODEL") == "small"
    assert environment.pop("OTEL_RESOURCE_ATTRIBUTES") == f"cloud.resource_id={arn}/runtime-endpoint/DEFAULT"
    assert set(environment) == {"AWS_DEFAULT_REGION", "AWS_REGION", "HOME", "LANG", "PATH"}


async def test_a_payload_above_the_limit_is_refused(start: Start, http: ClientSession) -> None:
    core = await start(limits=Limits(payload_bytes=1000))
    arn = await Sdk(core).create("agent", "sdk")
    async with http.post(wire_url(core, arn), data=b" " * 1001) as answer:
        assert answer.status == 400
        assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
    async with http.post(wire_url(core, arn), data=b"{}".ljust(1000)) as answer:
        assert answer.status == 200


async def test_an_answer_above_the_limit_is_cut(start: Start, http: ClientSession) -> None:
    core = await start(limits=Limits(payload_bytes=1000))
    arn = await Sdk(core).create("agent", "sdk")
    async with post(http, core, arn, session_id("a"), do="stream", chunks=1000) as stream:
        assert stream.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()


async def test_a_caller_that_leaves_closes_the_connection_to_its_agent_and_nothing_else(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession
) -> None:
    arn = await sdk.create("agent", "puppet")
    async with post(http, core, arn, session_id("a"), do="stream", chunks=["a", "b"], type="text/plain") as stream:
        await stream.content.readexactly(1)
        stream.close()
        await sdk.invoke(arn, "await-left", session_id("a"))
        [session] = core.supervisor.sessions()
        assert session.state == "ready"
