"""Tools behind an MCP endpoint, spoken to over streamable HTTP as any MCP client would.

Which kind of version an endpoint speaks is found out once: where `server/discover` tells of a stateless one, each call
is one POST by itself; else a session is begun, one for each tenant, so that what a server remembers of a session is
never two tenants'. A session that an endpoint has forgotten is begun anew, once.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson

from gateway.tools import fetch
from gateway.tools.calls import ToolCall, ToolResult
from gateway.tools.errors import ToolBrokenError, ToolFaultError
from gateway.tools.messages import (
    CAPABILITIES_KEY,
    HANDSHAKE_VERSIONS,
    METHOD_HEADER,
    NAME_HEADER,
    STATELESS_VERSIONS,
    VERSION_HEADER,
    VERSION_KEY,
    Json,
    encoded_header,
)
from tenancy.clock import Clock
from tenancy.ids import TenantId

SESSION_HEADER: Final = "Mcp-Session-Id"
# For how long it is known what an endpoint speaks.
KNOWN_S: Final = 600.0
SESSIONS: Final = 10_000
# What a message adds to what it carries.
_FRAME_BYTES: Final = 65_536
_NEWEST: Final = STATELESS_VERSIONS[-1]
_GONE: Final = 404
_CLIENT: Final[dict[str, Json]] = {"name": "lockgate", "version": "1"}
_ID: Final = 1


class _SessionGoneError(ToolFaultError):
    """The endpoint knows the session no more."""


@dataclass(frozen=True, slots=True)
class _Session:
    """How an endpoint is spoken to for one tenant."""

    version: str
    id: str | None

    def headers(self) -> dict[str, str]:
        return {VERSION_HEADER: self.version} | ({} if self.id is None else {SESSION_HEADER: self.id})


class McpBackend:
    """Calls tools of MCP endpoints; one for a process."""

    def __init__(self, http: aiohttp.ClientSession, *, clock: Clock) -> None:
        self._http = http
        self._monotonic = clock.monotonic
        self._stateless: dict[str, tuple[bool, float]] = {}
        self._sessions: OrderedDict[tuple[str, TenantId], _Session] = OrderedDict()

    async def __call__(self, call: ToolCall) -> ToolResult:
        """Call the tool; raises ToolFaultError."""
        params: dict[str, Json] = {"name": call.tool.called, "arguments": dict(call.arguments)}
        if await self._is_stateless(call):
            return _result_of(await self._ask_alone(call, "tools/call", params, name=call.tool.called))
        try:
            return _result_of(await self._ask(call, "tools/call", params, await self._session(call)))
        except _SessionGoneError:
            self._sessions.pop((call.tool.target, call.tenant_id), None)
            return _result_of(await self._ask(call, "tools/call", params, await self._session(call)))

    async def _is_stateless(self, call: ToolCall) -> bool:
        known = self._stateless.get(call.tool.target)
        if known is not None and self._monotonic() < known[1]:
            return known[0]
        try:
            told = await self._ask_alone(call, "server/discover", {})
            versions = told.get("supportedVersions")
            stateless = isinstance(versions, list) and _NEWEST in versions
        except (ToolBrokenError, _SessionGoneError):
            # It answered, and knows nothing of that; what it does speak shows when a session begins.
            return False
        self._learn(call, stateless=stateless)
        return stateless

    def _learn(self, call: ToolCall, *, stateless: bool) -> None:
        self._stateless[call.tool.target] = (stateless, self._monotonic() + KNOWN_S)

    async def _session(self, call: ToolCall) -> _Session:
        key = (call.tool.target, call.tenant_id)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = await self._begin(call)
            if len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        return session

    async def _begin(self, call: ToolCall) -> _Session:
        params: dict[str, Json] = {
            "protocolVersion": HANDSHAKE_VERSIONS[-1],
            "capabilities": {},
            "clientInfo": dict(_CLIENT),
        }
        async with self._posted(call, _message("initialize", params), {}) as reply:
            told = await _response(reply)
            version = told.get("protocolVersion")
            if not isinstance(version, str):
                raise ToolBrokenError("no version")
            session = _Session(version, reply.headers.get(SESSION_HEADER))
        ready = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})
        async with self._posted(call, ready, session.headers()) as reply:
            if not reply.ok:
                raise ToolBrokenError("the session did not begin")
        self._learn(call, stateless=False)
        return session

    async def _ask(
        self, call: ToolCall, method: str, params: Mapping[str, Json], session: _Session
    ) -> Mapping[str, Json]:
        async with self._posted(call, _message(method, params), session.headers()) as reply:
            if reply.status == _GONE and session.id is not None:
                raise _SessionGoneError
            return await _response(reply)

    async def _ask_alone(
        self, call: ToolCall, method: str, params: Mapping[str, Json], *, name: str | None = None
    ) -> Mapping[str, Json]:
        meta: dict[str, Json] = {
            VERSION_KEY: _NEWEST,
            CAPABILITIES_KEY: {},
            "io.modelcontextprotocol/clientInfo": dict(_CLIENT),
        }
        headers = {VERSION_HEADER: _NEWEST, METHOD_HEADER: method}
        if name is not None:
            headers[NAME_HEADER] = encoded_header(name)
        async with self._posted(call, _message(method, {**params, "_meta": meta}), headers) as reply:
            return await _response(reply)

    def _posted(
        self, call: ToolCall, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[fetch.Reply]:
        told = call.headers() | {"Accept": "application/json, text/event-stream"} | dict(headers)
        return fetch.post(
            self._http, call.tool.target, body, told, limit_bytes=call.tool.answer_limit_bytes + _FRAME_BYTES
        )


def _message(method: str, params: Mapping[str, Json]) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": _ID, "method": method, "params": dict(params)})


async def _response(reply: fetch.Reply) -> Mapping[str, Json]:
    """Return the result of a response, which may come alone or as an event; raises ToolBrokenError."""
    if reply.media_type == "text/event-stream":
        return _result(await _event(reply))
    if reply.media_type != "application/json":
        raise ToolBrokenError(f"status {reply.status}")
    return _result(await reply.read())


async def _event(reply: fetch.Reply) -> bytes:
    async for data in _events(reply):
        if b'"id"' in data and (b'"result"' in data or b'"error"' in data):
            return data
    raise ToolBrokenError("the stream ended without a response")


async def _events(reply: fetch.Reply) -> AsyncIterator[bytes]:
    """Yield the data of each event of a stream."""
    pending, data = b"", list[bytes]()
    async for part in reply.parts():
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                yield b"\n".join(data)
                data = []


def _result(body: bytes) -> Mapping[str, Json]:
    try:
        match orjson.loads(body):
            case {"id": 1, "result": dict(result)}:
                return result
            case _:
                raise ToolBrokenError("no result")
    except orjson.JSONDecodeError:
        raise ToolBrokenError("no JSON") from None


def _result_of(told: Mapping[str, Json]) -> ToolResult:
    """Return what a tool answered; of what else a server may say nothing goes on."""
    content = told.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ToolBrokenError("no content")
    return ToolResult(content, told.get("structuredContent"), is_error=told.get("isError") is True)
