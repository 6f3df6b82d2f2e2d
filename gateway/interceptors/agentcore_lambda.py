"""The same interceptors as Lambda handlers of an AgentCore Gateway, for MCP and HTTP targets.

The shapes are those of version 1.0 of AgentCore Gateway's interceptor events: an MCP body is a JSON object, an HTTP
body is base64. A refusal of an input is a `transformedGatewayResponse`, which the gateway answers at once. Whatever
fails here refuses: an answer that cannot be looked at, its body left out by a payload filter say, does not pass.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from agents.errors import RuntimeFaultError
from agents.invocation import AgentChunk, AgentError
from agents.wire import EventSplitter
from gateway.interceptors.chain import Chain
from gateway.interceptors.errors import InterceptorFailedError
from gateway.interceptors.passing_headers import passing
from tenancy.errors import LockgateError

VERSION: Final = "1.0"
_EVENT_LIMIT_BYTES: Final = 6_291_456
_INVALID_REQUEST: Final = -32600
_INTERNAL_ERROR: Final = -32603
Handler: TypeAlias = Callable[[Mapping[str, JsonValue], object], dict[str, JsonValue]]
Side: TypeAlias = Literal["mcp", "http"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class _Request(_Model):
    headers: dict[str, str] | None = None
    body: JsonValue = None


class _Response(_Model):
    status_code: int
    headers: dict[str, str] | None = None
    body: JsonValue = None
    content_type: str | None = None
    # One event of a stream, of which only the body can be changed.
    is_streaming_response: bool = False


class _Exchange(_Model):
    gateway_request: _Request | None = None
    gateway_response: _Response | None = None


class _Event(_Model):
    interceptor_input_version: Literal["1.0"]
    mcp: _Exchange | None = None
    http: _Exchange | None = None


def request_handler(chain: Chain) -> Handler:
    """Return the REQUEST interceptor: what is refused is answered 4xx, headers pass by the allow-list."""

    def handle(event: Mapping[str, JsonValue], _context: object) -> dict[str, JsonValue]:
        side, exchange = _read(event)
        request = exchange.gateway_request
        try:
            if request is None:
                raise InterceptorFailedError("agentcore_lambda")
            chain.request(_body_of(side, request.body))
        except LockgateError as refused:
            return _refusal(side, refused, None if request is None else request.body, request_side=True)
        changed: dict[str, JsonValue] = {"body": request.body}
        if request.headers is not None:
            changed["headers"] = dict(passing(request.headers))
        elif side == "http":
            return _output(side, {})
        return _output(side, {"transformedGatewayRequest": changed})

    return handle


def response_handler(chain: Chain) -> Handler:
    """Return the RESPONSE interceptor: the answer redacted, or an error in its place."""

    def handle(event: Mapping[str, JsonValue], _context: object) -> dict[str, JsonValue]:
        side, exchange = _read(event)
        response = exchange.gateway_response
        try:
            if response is None:
                raise InterceptorFailedError("agentcore_lambda")
            body = _passed(chain, side, response)
        except LockgateError as refused:
            return _refusal(side, refused, None if response is None else response.body, request_side=False)
        if response.is_streaming_response:
            return _output(side, {"transformedGatewayResponse": {"body": body}})
        if body == response.body and side == "http":
            return _output(side, {})
        changed: dict[str, JsonValue] = {"statusCode": response.status_code, "body": body}
        if side == "http" and response.content_type is not None:
            changed["contentType"] = response.content_type
        return _output(side, {"transformedGatewayResponse": changed})

    return handle


def _read(event: Mapping[str, JsonValue]) -> tuple[Side, _Exchange]:
    try:
        read = _Event.model_validate(event)
    except ValidationError:
        # Of a version or a shape that is not known nothing can be said, so nothing passes.
        return ("http" if "http" in event else "mcp"), _Exchange()
    if read.http is not None:
        return "http", read.http
    return "mcp", read.mcp or _Exchange()


def _output(side: Side, exchange: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {"interceptorOutputVersion": VERSION, side: exchange}


def _body_of(side: Side, body: JsonValue) -> bytes:
    if side == "mcp":
        return orjson.dumps(body)
    if not isinstance(body, str):
        raise InterceptorFailedError("agentcore_lambda")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InterceptorFailedError("agentcore_lambda") from None


def _passed(chain: Chain, side: Side, response: _Response) -> JsonValue:
    body = _body_of(side, response.body)
    if side == "mcp":
        passed = chain.answer(body)
        read: JsonValue = orjson.loads(passed)
        return read
    kind = (response.content_type or "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        passed = _events(chain, body)
    elif kind == "application/json" or kind.endswith("+json"):
        passed = chain.answer(body)
    else:
        text = body.decode(errors="replace")
        passed = str(orjson.loads(chain.answer(orjson.dumps(text)))).encode()
        passed = body if passed.decode() == text else passed
    return base64.b64encode(passed).decode()


def _events(chain: Chain, body: bytes) -> bytes:
    stream = chain.stream()
    if stream is None:
        return body
    splitter, out = EventSplitter(limit_bytes=_EVENT_LIMIT_BYTES), list[bytes]()
    try:
        for event in (*splitter.feed(body), *splitter.finish()):
            if isinstance(event, AgentError):
                raise InterceptorFailedError("agentcore_lambda")
            if isinstance(event, AgentChunk):
                out += stream.feed(event.data)
    except RuntimeFaultError:
        raise InterceptorFailedError("agentcore_lambda") from None
    out += stream.finish()
    return b"".join(b"data: %b\n\n" % data for data in out)


def _refusal(side: Side, refused: LockgateError, body: JsonValue, *, request_side: bool) -> dict[str, JsonValue]:
    failed = isinstance(refused, InterceptorFailedError)
    status = 500 if failed else (422 if request_side else 502)
    said: JsonValue = {"code": refused.code}
    if side == "mcp":
        number = body.get("id") if isinstance(body, dict) else None
        code = _INVALID_REQUEST if request_side and not failed else _INTERNAL_ERROR
        error: JsonValue = {"code": code, "message": refused.code, "data": said}
        answer: JsonValue = {"jsonrpc": "2.0", "id": number, "error": error}
        return _output(side, {"transformedGatewayResponse": {"statusCode": status, "body": answer}})
    problem = base64.b64encode(orjson.dumps({"status": status, "code": refused.code})).decode()
    refusal: JsonValue = {"contentType": "application/problem+json", "statusCode": status, "body": problem}
    return _output(side, {"transformedGatewayResponse": refusal})
