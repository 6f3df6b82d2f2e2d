"""A tool server whose faults a test chooses, and a gateway whose tenant may call what is there."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from gateway.admin.tool_schemas import ToolView
from gateway.tools.messages import CAPABILITIES_KEY, VERSION_KEY
from gateway.tooltokens import ToolTokens, new_key
from tenancy.data_models import Tool
from tenancy.tiers import Tier
from tests.conftest import Aws
from tests.gateway.whole import OK, Whole, whole_gateway

CREATED = 201
STATELESS = "2026-07-28"
HANDSHAKE = "2025-11-25"
# A browser's page that may call the gateway.
PAGE = "https://app.example"


@dataclass(slots=True)
class ToolServer:
    """Answers tools as it is told to, and remembers everything that came."""

    url: str = ""
    speaks: str = STATELESS
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=lambda: {"content": [{"type": "text", "text": "done"}]})
    body: bytes = b'{"ok": true}'
    status: int = 200
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def mcp(self, request: web.Request) -> web.StreamResponse:
        """Answer MCP in the one version it speaks."""
        message = await request.json()
        if (request.headers.get("MCP-Protocol-Version") == STATELESS) != (self.speaks == STATELESS):
            return self._failed(message, -32022, 400)
        match message["method"]:
            case "server/discover":
                return self._told(message, {"supportedVersions": [STATELESS], "capabilities": {}})
            case "initialize":
                self.sessions.append(f"session-{len(self.sessions) + 1}")
                answer = self._told(message, {"protocolVersion": HANDSHAKE, "capabilities": {}})
                answer.headers["Mcp-Session-Id"] = self.sessions[-1]
                return answer
            case "notifications/initialized":
                return web.Response(status=202)
            case _:
                return self._called(request, message)

    def _called(self, request: web.Request, message: dict[str, Any]) -> web.Response:
        if self.speaks == HANDSHAKE and request.headers.get("Mcp-Session-Id") not in self.sessions:
            return self._failed(message, -32600, 404)
        self.calls.append((message["params"]["name"], message["params"]["arguments"]))
        self.headers.append(request.headers)
        if self.speaks == STATELESS:
            return self._told(message, self.answer)
        event = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\n\n'
        reply = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": self.answer})
        return web.Response(body=event + b"data: " + reply + b"\n\n", content_type="text/event-stream")

    async def plain(self, request: web.Request) -> web.StreamResponse:
        """Answer a tool of plain HTTP."""
        self.calls.append((request.path, await request.json()))
        self.headers.append(request.headers)
        return web.Response(status=self.status, body=self.body, content_type="application/json")

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Answer nothing until released."""
        self.calls.append((request.path, await request.json()))
        await self.release.wait()
        return web.Response()

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        """Point at another tool."""
        self.calls.append((request.path, await request.json()))
        return web.Response(status=307, headers={"Location": "/http"})

    def _told(self, message: dict[str, Any], result: dict[str, Any]) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _failed(self, message: dict[str, Any], code: int, status: int) -> web.Response:
        error = {"code": code, "message": "no"}
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "error": error}, status=status)


@asynccontextmanager
async def tool_server() -> AsyncIterator[ToolServer]:
    """Run a tool server."""
    server, app = ToolServer(), web.Application()
    app.add_routes(
        [
            web.post("/mcp", server.mcp),
            web.post("/http", server.plain),
            web.post("/hang", server.hang),
            web.post("/redirect", server.redirect),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.release.set()
        await runner.cleanup()


def tool(name: str, target: str, **fields: object) -> Tool:
    """Return a tool that takes `{"text": …}`."""
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
    given: dict[str, object] = {
        "name": name,
        "description": f"Does {name}.",
        "tier_minimum": Tier.BASIC,
        "backend": "mcp",
        "target": target,
        "timeout_s": 5,
        "answer_limit_bytes": 65_536,
        "input_schema_json": orjson.dumps(schema).decode(),
    }
    return Tool.model_validate(given | fields)


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer of the door."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> object:
        """What a JSON-RPC error, or a problem document, says of itself."""
        return self.body["error"]["data"]["code"] if "error" in self.body else self.body.get("code")

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        text: str = self.body["result"]["content"][0]["text"]
        return text


@dataclass(frozen=True, slots=True)
class World:
    """A gateway with tools, and what is behind them; the tools of one world have names that no other's have."""

    gateway: Whole
    server: ToolServer
    tag: str

    @property
    def tokens(self) -> ToolTokens:
        """What makes the gateway's tool tokens."""
        return self.gateway.process.parts.tool_access.tokens

    async def register(self, *tools: Tool) -> None:
        """Register tools under this world's names; behind the door they keep their own."""
        for each in tools:
            told = ToolView.of(each.model_copy(update={"backend_name": each.name})).model_dump(by_alias=True)
            body = {name: said for name, said in told.items() if name not in {"name", "version"}} | {"reason": "tried"}
            answer = await self.gateway.act("PUT", f"/tools/{self.named(each.name)}", body)
            assert answer.status in {OK, CREATED}, answer

    def named(self, name: str) -> str:
        """Return what a tool is called in this world."""
        return f"{self.tag}-{name}"

    async def say(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        version: str = STATELESS,
        message_id: object = 7,
    ) -> Spoken:
        """Say something at the door, as an MCP client does."""
        said = dict(params or {})
        headers = {"MCP-Protocol-Version": version, "Accept": "application/json, text/event-stream"}
        if version == STATELESS:
            said["_meta"] = {VERSION_KEY: STATELESS, CAPABILITIES_KEY: {}}
            headers["Mcp-Method"] = method
            if "name" in said:
                headers["Mcp-Name"] = str(said["name"])
        body = {"jsonrpc": "2.0", "id": message_id, "method": method, "params": said}
        return await self.post(orjson.dumps(body), headers, token=token)

    async def post(self, body: bytes, headers: Mapping[str, str], *, token: str | None = None) -> Spoken:
        """Send a body to the door."""
        told = {"Content-Type": "application/json", **headers}
        if token is not None:
            told["Authorization"] = f"Bearer {token}"
        async with self.gateway.session.post(self.gateway.url + "/v1/mcp", data=body, headers=told) as answer:
            return Spoken(answer.status, dict(answer.headers), orjson.loads(await answer.read() or b"{}"))

    async def call(self, name: str, token: str | None = None, version: str = STATELESS, **arguments: object) -> Spoken:
        """Call a tool."""
        params = {"name": self.named(name), "arguments": arguments}
        return await self.say("tools/call", params, token=token, version=version)

    async def listed(self, token: str | None = None, version: str = STATELESS) -> list[str]:
        """Return the names of what may be called, of this world's tools."""
        spoken = await self.say("tools/list", token=token, version=version)
        names = [shown["name"] for shown in spoken.body["result"]["tools"]]
        return [name.removeprefix(self.tag + "-") for name in names if name.startswith(self.tag + "-")]


@asynccontextmanager
async def world(
    aws: Aws,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    tier: Tier = Tier.STANDARD,
    runtime_url: str = "http://127.0.0.1:1",
) -> AsyncIterator[World]:
    """Run a gateway with keys for tool tokens, and a tool server."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    async with tool_server() as server:
        overrides = {
            "tool_token_keys": SecretStr(new_key()),
            "public_url": "https://lockgate.example",
            "cors_origins": frozenset({PAGE}),
        }
        async with whole_gateway(aws, redis_url, monkeypatch, runtime_url, tier=tier, overrides=overrides) as running:
            yield World(running, server, f"w{secrets.token_hex(4)}")
