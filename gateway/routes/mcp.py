"""`POST /v1/mcp`: the tools' door, as any MCP client knows one (streamable HTTP, without sessions).

Answers are single JSON messages. What the door refuses is a JSON-RPC error with an HTTP status of its own: 403 for a
tool that may not be called. Who is not let to the door at all is told so as everywhere, by a problem document.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from gateway.bodies import read_json
from gateway.cors import check_origin
from gateway.errors import BodyMalformedError, OriginForeignError
from gateway.interceptors.errors import InterceptorFailedError
from gateway.middleware import ORIGIN
from gateway.operations import Answer, Content, Operation
from gateway.routes.answers import json_answer
from gateway.tools import messages
from gateway.tools.door import Asked, ToolCaller, ToolDoor
from gateway.tools.errors import (
    RpcError,
    RpcInvalidError,
    RpcMalformedError,
    RpcMethodError,
    RpcParamsError,
    ToolNotPermittedError,
    ToolRateError,
)
from gateway.tools.messages import HANDSHAKE_VERSIONS, VERSIONS, Json, Message
from tenancy.data_models import Tool

BODY_LIMIT_BYTES: Final = 1_048_576
_SERVER: Final[dict[str, Json]] = {"name": "lockgate", "version": "1.0.0"}
_OFFER: Final[dict[str, Json]] = {"tools": {"listChanged": False}}
# These fail the message, not the request: clients of the older versions know them with this status alone.
_KNOWN_WITH_200: Final[frozenset[type[RpcError]]] = frozenset({RpcMethodError, RpcParamsError})

_ID: Final[Json] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9_007_199_254_740_991}
_MESSAGE: Final[dict[str, Json]] = {
    "type": "object",
    "description": "One JSON-RPC 2.0 message of the Model Context Protocol.",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"type": "string", "const": "2.0"},
        "id": {"oneOf": [_ID, {"type": "string", "format": "text", "maxLength": 256}]},
        "method": {"type": "string", "format": "text", "maxLength": 64},
        "params": {"type": "object", "additionalProperties": True},
    },
    "additionalProperties": True,
}
_REPLY: Final[dict[str, Json]] = {
    "type": "object",
    "description": "The JSON-RPC 2.0 response.",
    "required": ["jsonrpc", "id"],
    "properties": {
        "jsonrpc": {"type": "string", "const": "2.0"},
        "id": {"oneOf": [_ID, {"type": "string", "format": "text", "maxLength": 256}, {"type": "null"}]},
        "result": {"type": "object", "additionalProperties": True},
        "error": {"type": "object", "additionalProperties": True},
    },
    "additionalProperties": False,
}
_SHOWN: Final[dict[str, Json]] = {
    "name": "clock",
    "description": "Tells the time in UTC.",
    "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
}


def _reply(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


def _asked(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _refused(status: int, description: str, error: RpcError) -> Answer:
    shown: Json = orjson.loads(messages.failure(1, error))
    return Answer(status, description, (Content({error.code: shown}, schema=_REPLY),))


POST: Final = Operation(
    "POST",
    "/v1/mcp",
    "callTools",
    "Tools",
    "List and call tools (MCP)",
    "The Model Context Protocol over streamable HTTP, without sessions, in the versions "
    f"{', '.join(VERSIONS)}: `tools/list` shows what may be called, `tools/call` calls it. For agents, with the tool "
    "token they are handed, and for principals of a tenant. A tool that may not be called is refused before anything "
    "reaches it. That a tool failed is told in its result, by `isError`. Pages of origins that are not configured are "
    "refused.",
    (
        Answer(
            200,
            "The response.",
            (
                Content(
                    {
                        "list": _reply({"tools": [_SHOWN]}),
                        "call": _reply({"content": [{"type": "text", "text": "12:00"}], "isError": False}),
                    },
                    schema=_REPLY,
                ),
            ),
        ),
        Answer(202, "A notification was taken."),
    ),
    body=Content(
        {"list": _asked("tools/list", {}), "call": _asked("tools/call", {"name": "clock", "arguments": {}})},
        schema=_MESSAGE,
    ),
    problems=(OriginForeignError(),),
    also=(
        _refused(400, "The message is not one the door takes.", RpcInvalidError()),
        _refused(403, "The tool may not be called.", ToolNotPermittedError()),
        _refused(404, "The door does not do this.", RpcMethodError()),
        _refused(429, "The tool is called too often.", ToolRateError(1)),
    ),
)


@dataclass(frozen=True, slots=True)
class McpRoutes:
    """`/v1/mcp`."""

    door: ToolDoor
    origins: frozenset[str]

    async def post(self, request: web.Request, caller: ToolCaller) -> web.StreamResponse:
        """Answer one message; raises OriginForeignError, as MCP asks, lest a page borrows its user's network."""
        check_origin(request, self.origins)
        try:
            body = await read_json(request, BODY_LIMIT_BYTES)
        except BodyMalformedError:
            return _failed(None, RpcMalformedError())
        try:
            message = messages.read(body, request.headers)
        except RpcError as error:
            return _failed(messages.id_of(body), error)
        if message.id is None:
            return web.Response(status=HTTPStatus.ACCEPTED)
        try:
            return json_answer(messages.answer(message, await self._result(request, caller, message)))
        except RpcError as error:
            return _failed(message.id, error, lenient=not message.stateless)
        except InterceptorFailedError:
            return _failed(message.id, RpcError())

    async def _result(self, request: web.Request, caller: ToolCaller, message: Message) -> bytes:
        match message.method:
            case "tools/call":
                return await self.door.call(caller, _call(request, message))
            case "tools/list":
                return orjson.dumps(_listed(await self.door.tools(caller), message))
            case "initialize" if not message.stateless:
                return orjson.dumps(_begun(message))
            case "server/discover" if message.stateless:
                return orjson.dumps(_cached({"supportedVersions": list(VERSIONS), "capabilities": _OFFER}))
            case "ping" if not message.stateless:
                return b"{}"
            case _:
                raise RpcMethodError


def _begun(message: Message) -> dict[str, Json]:
    wanted = message.params.get("protocolVersion")
    version = wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
    return {"protocolVersion": version, "capabilities": _OFFER, "serverInfo": _SERVER}


def _listed(tools: tuple[Tool, ...], message: Message) -> dict[str, Json]:
    if message.params.get("cursor") is not None:
        raise RpcParamsError("cursor: all tools are in one list")
    listed: dict[str, Json] = {"tools": [_shown(tool) for tool in tools]}
    return _cached(listed) if message.stateless else listed


def _cached(result: dict[str, Json]) -> dict[str, Json]:
    # What may be called changes with the tier, an exception or the agent: nobody keeps it.
    return result | {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def _shown(tool: Tool) -> dict[str, Json]:
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": orjson.loads(tool.input_schema_json),
    }


def _call(request: web.Request, message: Message) -> Asked:
    name, given = message.params.get("name"), message.params.get("arguments")
    if not isinstance(name, str) or not isinstance(given, dict | None):
        raise RpcParamsError("name must be a text and arguments an object")
    return Asked(name, given or {}, request[ORIGIN].request_id, message.stateless)


def _failed(message_id: messages.Id | None, error: RpcError, *, lenient: bool = False) -> web.Response:
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, ToolRateError) else {}
    status = HTTPStatus.OK if lenient and type(error) in _KNOWN_WITH_200 else error.status
    return json_answer(messages.failure(message_id, error), status=status, headers=headers)
