"""One JSON-RPC message in, one out: strict about shape, and in the words of the MCP version it came in.

Two kinds of versions are spoken, both without a session: those that begin with `initialize`, and those in which every
message says its version itself and its headers repeat what it asks for. What is read once is handed on as read.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from gateway.tools.errors import (
    RpcError,
    RpcHeaderError,
    RpcInvalidError,
    RpcMalformedError,
    RpcParamsError,
    RpcVersionError,
)

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Id: TypeAlias = str | int

# Newest last. An `initialize` that asks for any other is offered the newest of these.
HANDSHAKE_VERSIONS: Final = ("2025-06-18", "2025-11-25")
STATELESS_VERSIONS: Final = ("2026-07-28",)
VERSIONS: Final = (*HANDSHAKE_VERSIONS, *STATELESS_VERSIONS)
VERSION_HEADER: Final = "MCP-Protocol-Version"
METHOD_HEADER: Final = "Mcp-Method"
NAME_HEADER: Final = "Mcp-Name"
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_ID_LIMIT: Final = 256
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=", re.ASCII)


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification (`id` None), as it was read."""

    id: Id | None
    method: str
    params: Mapping[str, Json]
    stateless: bool


def read(body: bytes, headers: Mapping[str, str]) -> Message:
    """Read a message; raises RpcError."""
    try:
        loaded: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RpcMalformedError from None
    if not isinstance(loaded, dict) or loaded.get("jsonrpc") != "2.0":
        raise RpcInvalidError
    method, params = loaded.get("method"), loaded.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise RpcInvalidError
    message = Message(_id_of(loaded), method, params, _stateless(headers.get(VERSION_HEADER)))
    if message.stateless and message.id is not None:
        _check_told(message, headers)
    return message


def id_of(body: bytes) -> Id | None:
    """Return the id of a message that could not be read, where it can be told."""
    try:
        loaded: Json = orjson.loads(body)
        return _id_of(loaded) if isinstance(loaded, dict) else None
    except (orjson.JSONDecodeError, RpcInvalidError):
        return None


def answer(message: Message, result: bytes) -> bytes:
    """Return the response that carries a result, given as JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (orjson.dumps(message.id), result)


def failure(message_id: Id | None, error: RpcError) -> bytes:
    """Return the response that carries an error."""
    told = {"code": error.rpc_code, "message": error.sentence, "data": error.data}
    return orjson.dumps({"jsonrpc": "2.0", "id": message_id, "error": told})


def encoded_header(value: str) -> str:
    """Return a text as the value of a header."""
    if value.isascii() and value.isprintable() and value == value.strip() and not _ENCODED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _stateless(version: str | None) -> bool:
    # Before it is negotiated no version is named; some clients never name one.
    if version is None or version in HANDSHAKE_VERSIONS:
        return False
    if version not in STATELESS_VERSIONS:
        raise RpcVersionError(version[:32], VERSIONS)
    return True


def _check_told(message: Message, headers: Mapping[str, str]) -> None:
    """Raise where the message and its headers do not say the same: what stands between may have gone by either."""
    meta = message.params.get("_meta")
    if not isinstance(meta, dict) or VERSION_KEY not in meta or not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise RpcParamsError(f"params._meta must hold {VERSION_KEY} and {CAPABILITIES_KEY}")
    if meta[VERSION_KEY] != headers[VERSION_HEADER] or headers.get(METHOD_HEADER) != message.method:
        raise RpcHeaderError
    if message.method == "tools/call" and _decoded_header(headers.get(NAME_HEADER)) != message.params.get("name"):
        raise RpcHeaderError


def _decoded_header(value: str | None) -> str | None:
    encoded = None if value is None else _ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        return base64.b64decode(encoded[1], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _id_of(message: Mapping[str, Json]) -> Id | None:
    if "id" not in message:
        return None
    value = message["id"]
    # A bool is an int to Python, but no id to anybody.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RpcInvalidError
    if isinstance(value, str) and len(value) > _ID_LIMIT:
        raise RpcInvalidError
    return value
