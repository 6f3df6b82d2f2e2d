"""Clients we did not write: curl, Node's fetch, and boto3 straight at the runtime."""

import asyncio
import shutil

import boto3
import orjson
import pytest

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO

pytestmark = pytest.mark.stack

NODE = """
const [url, token] = process.argv.slice(1)
const answer = await fetch(url, {
  method: 'POST',
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'text/event-stream' },
  body: JSON.stringify({ input: { prompt: 'one two three', chunks: 3, delayMs: 3000000 } }),
})
const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
let text = ''
while (!text.includes('agent.chunk')) text += (await reader.read()).value
await reader.cancel()
console.log(text)
"""


async def run(*argv: str) -> str:
    """Run a command; return its output."""
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_curl_reads_a_stream(stack: Stack) -> None:
    token = stack.tenants[TenantId("acme")].token
    curl = shutil.which("curl")
    assert curl is not None
    text = await run(
        *(curl, "-sN", stack.gateway + ECHO),
        *("-H", f"Authorization: Bearer {token}", "-H", "Accept: text/event-stream"),
        *("--json", '{"input": {"prompt": "one two three"}}', "-H", "Accept: text/event-stream"),
    )
    assert text.count("event: agent.chunk") == 3
    assert text.rstrip().rpartition("event: ")[2].startswith("invocation.completed")


async def test_a_readable_stream_in_node_gets_the_first_chunk_as_it_is_made(stack: Stack) -> None:
    token = stack.tenants[TenantId("acme")].token
    text = await run("node", "--input-type=module", "-e", NODE, stack.gateway + ECHO, token)
    assert '"index": 0' in text
    assert '"index": 1' not in text


async def test_boto3_drives_the_runtime_itself(stack: Stack) -> None:
    variables = stack.variables
    common = {
        "region_name": variables["LOCKGATE_RUNTIME_REGION"],
        "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
    }

    def drive() -> tuple[bytes, list[bytes]]:
        control = boto3.client("bedrock-agentcore-control", endpoint_url=stack.ports.url("runtime_control"), **common)
        runtimes = control.list_agent_runtimes()["agentRuntimes"]
        [runtime] = [one for one in runtimes if one["agentRuntimeName"] == "echo_agent"]
        data = boto3.client("bedrock-agentcore", endpoint_url=stack.ports.url("runtime"), **common)
        arn, payload = runtime["agentRuntimeArn"], orjson.dumps({"prompt": "one two"})
        sync = data.invoke_agent_runtime(agentRuntimeArn=arn, payload=payload)
        streamed = data.invoke_agent_runtime(agentRuntimeArn=arn, payload=payload, accept="text/event-stream")
        lines = [line for line in streamed["response"].iter_lines(chunk_size=1) if line]
        for session in (sync["runtimeSessionId"], streamed["runtimeSessionId"]):
            data.stop_runtime_session(agentRuntimeArn=arn, runtimeSessionId=session)
        return sync["response"].read(), lines

    answer, lines = await asyncio.to_thread(drive)
    assert orjson.loads(answer) == {"echo": "one two"}
    assert [orjson.loads(line.removeprefix(b"data: "))["text"] for line in lines] == ["one ", "two"]
