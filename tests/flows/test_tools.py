"""Tools on the whole stack: the real tool server, the real agent, the public MCP client."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession

from ops.devstack.process import spawn
from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import Caller
from tests.flows.events import events_of

pytestmark = pytest.mark.stack

AGENT = "/v1/agents/tool-agent/invocations"
WAIT_S = 30.0
ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "agents" / "tool-agent" / ".venv" / "bin" / "python"
# The public client as its own documentation uses it; the mode is how it begins, by version or by handshake.
SCRIPT = """
import asyncio, json, sys
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

async def main(url, token, mode, tool):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            told = {"version": client.session.protocol_version}
            told["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            try:
                told["text"] = (await client.call_tool(tool, {"company": "acme"})).content[0].text
            except MCPError as refused:
                told["refused"] = refused.error.code
            print(json.dumps(told))

asyncio.run(main(*sys.argv[1:]))
"""


class ToolLog:
    """What the tool server says reached it."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url + "/calls"

    async def forget(self) -> None:
        async with self._session.delete(self._url) as answer:
            assert answer.status == 204

    async def calls(self) -> list[tuple[str, str, str]]:
        async with self._session.get(self._url) as answer:
            listed = (await answer.json())["calls"]
        return [(call["tool"], call["tenant"], call["agent"]) for call in listed]


@pytest.fixture
async def log(stack: Stack) -> AsyncIterator[ToolLog]:
    async with ClientSession() as session:
        told = ToolLog(session, stack.ports.url("tools"))
        await told.forget()
        yield told


async def ask(caller: Caller, **wanted: object) -> dict[str, object]:
    answer, body = await caller.post(AGENT, {"input": wanted})
    assert answer.status == 200, body
    return body


async def test_an_agent_sees_only_the_tools_of_its_tenants_tier(acme: Caller, globex: Caller) -> None:
    assert await ask(acme) == {"tools": ["clock", "contact", "exchange_rate", "weather"]}
    assert await ask(globex) == {"tools": ["clock", "weather"]}


async def test_a_basic_tenants_call_of_the_premium_tool_is_refused_and_never_reaches_it(
    globex: Caller, log: ToolLog
) -> None:
    answer = await ask(globex, tool="contact", arguments={"company": "acme"})
    assert answer["code"] == -32010
    assert await log.calls() == []


async def test_an_agent_uses_a_tool_on_behalf_of_its_tenant(acme: Caller, log: ToolLog) -> None:
    answer = await ask(acme, tool="contact", arguments={"company": "acme"})
    assert "Ada Lock" in str(answer["text"])
    assert await log.calls() == [("contact", "acme", "tool-agent")]


async def test_a_plain_http_tool_answers_through_the_same_door(globex: Caller, log: ToolLog) -> None:
    answer = await ask(globex, tool="weather", arguments={"city": "Leeds"})
    assert orjson.loads(str(answer["text"]))["city"] == "Leeds"
    assert await log.calls() == [("weather", "globex", "tool-agent")]


async def test_a_job_uses_tools_too(acme: Caller, log: ToolLog) -> None:
    accepted, job = await acme.post(AGENT, {"input": {"tool": "clock"}}, {"Prefer": "respond-async"})
    assert accepted.status == 202
    async with asyncio.timeout(30):
        while job["status"] in {"queued", "running"}:
            _, job = await acme.get(f"/v1/jobs/{job['jobId']}")
    assert (job["status"], await log.calls()) == ("succeeded", [("clock", "acme", "tool-agent")])


async def test_a_streaming_agent_uses_tools_too(acme: Caller, log: ToolLog) -> None:
    body = {"input": {"tool": "clock"}}
    headers = {"Accept": "text/event-stream"}
    async with acme.session.post(acme.gateway + AGENT, json=body, headers=headers) as answer:
        events = [event async for event in events_of(answer.content)]
    assert events[-1].name == "invocation.completed"
    assert await log.calls() == [("clock", "acme", "tool-agent")]


async def test_a_principal_reaches_the_door_with_its_own_token_and_is_refused_with_403(
    globex: Caller, log: ToolLog
) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "contact", "arguments": {}}}
    answer, body = await globex.post("/v1/mcp", call)
    assert (answer.status, answer.content_type) == (403, "application/json")
    assert body["error"] == {
        "code": -32010,
        "message": "The tool is not among those that may be called here.",
        "data": {"code": "tool_not_permitted"},
    }
    assert await log.calls() == []


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_public_client_connects_unmodified(
    stack: Stack, log: ToolLog, tmp_path: Path, mode: str, version: str
) -> None:
    said = []
    for tenant, tool in (("acme", "contact"), ("globex", "contact")):
        token, output = stack.tenants[TenantId(tenant)].token, tmp_path / f"{tenant}.log"
        argv = [str(CLIENT), "-c", SCRIPT, stack.gateway + "/v1/mcp", token, mode, tool]
        process = await spawn(argv, env={"PATH": os.defpath}, log=output)
        async with asyncio.timeout(30):
            assert await process.wait() == 0, output.read_text()
        said.append(orjson.loads(output.read_text().splitlines()[-1]))
    assert [each["version"] for each in said] == [version, version]
    assert said[0]["tools"] == ["clock", "contact", "exchange_rate", "weather"]
    assert "Ada Lock" in said[0]["text"]
    assert said[1] == {"version": version, "tools": ["clock", "weather"], "refused": -32010}
    assert await log.calls() == [("contact", "acme", "")]


async def test_the_published_keys_are_public_and_hold_no_secret(stack: Stack) -> None:
    async with ClientSession() as session, session.get(stack.gateway + "/.well-known/jwks.json") as answer:
        assert answer.status == 200
        [key] = (await answer.json())["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert "d" not in key


async def commanded(stack: Stack, folder: Path, *words: str) -> str:
    """Run `lockgate tool …` beside the stack and return what it prints."""
    output = folder / "tool.log"
    env = {"LOCKGATE_DEV_STATE": str(stack.layout.state), "NO_COLOR": "1", "COLUMNS": "200", "PATH": os.defpath}
    # Each command's own words alone.
    output.unlink(missing_ok=True)
    process = await spawn([sys.executable, "-m", "ops.cli.main", "tool", *words], env=env, log=output)
    async with asyncio.timeout(60):
        assert await process.wait() == 0, output.read_text()
    return output.read_text()


async def until_seen(caller: Caller, expected: list[str]) -> None:
    """Return once these are the tools that the door lists."""
    async with asyncio.timeout(WAIT_S):
        while True:
            _, body = await caller.post("/v1/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            result = body["result"]
            assert isinstance(result, dict)
            if [tool["name"] for tool in result["tools"]] == expected:
                return


async def test_what_an_operator_grants_and_withholds_holds_on_every_gateway(
    stack: Stack, globex: Caller, globex_elsewhere: Caller, log: ToolLog, tmp_path: Path
) -> None:
    await commanded(stack, tmp_path, "allow", "globex", "contact", "--reason", "trial")
    await commanded(stack, tmp_path, "deny", "globex", "weather", "--reason", "misused")
    for caller in (globex, globex_elsewhere):
        await until_seen(caller, ["clock", "contact"])
    answer = await ask(globex_elsewhere, tool="contact", arguments={"company": "acme"})
    assert "Ada Lock" in str(answer["text"])
    assert await log.calls() == [("contact", "globex", "tool-agent")]
    listed = (await commanded(stack, tmp_path, "list", "--tenant", "globex")).splitlines()
    assert ["contact", "true", "premium", "true", "trial"] in [line.split() for line in listed]
    for tool in ("contact", "weather"):
        await commanded(stack, tmp_path, "reset", "globex", tool, "--reason", "over")
    await until_seen(globex_elsewhere, ["clock", "weather"])


async def test_a_tool_is_registered_from_the_command_line(stack: Stack, globex: Caller, tmp_path: Path) -> None:
    file, schema = tmp_path / "rain.json", {"type": "object"}
    target = stack.ports.url("tools") + "/rain"
    told = {
        "description": "Rain.",
        "tierMinimum": "premium",
        "backend": "http",
        "target": target,
        "inputSchema": schema,
    }
    file.write_bytes(orjson.dumps(told))
    made = await commanded(stack, tmp_path, "register", "rain", str(file), "--reason", "asked for", "-o", "json")
    assert (orjson.loads(made)["version"], orjson.loads(made)["target"]) == (0, target)
    listed = (await commanded(stack, tmp_path, "list")).splitlines()
    assert ["rain", "premium", "http", target, "10", "0"] in [line.split() for line in listed]
    assert orjson.loads(await commanded(stack, tmp_path, "show", "rain", "-o", "json")) == orjson.loads(made)
    await until_seen(globex, ["clock", "weather"])
