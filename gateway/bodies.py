"""Reading an invocation's body once, within its size and time, into typed values.

`input` is sliced out of the body as the bytes that came: a number wider than a double, or the order of members,
reaches the agent as the tenant wrote it.
"""

import asyncio
from dataclasses import dataclass

import msgspec
import orjson
from aiohttp import web
from pydantic import ValidationError

from gateway.errors import (
    BodyMalformedError,
    BodyTimeoutError,
    BodyTooLargeError,
    FieldFault,
    FieldsInvalidError,
    MediaTypeUnsupportedError,
)
from gateway.schemas import InvocationRequest, field_faults

BODY_TIMEOUT_S = 30.0


class _Sliced(msgspec.Struct):
    input: msgspec.Raw


_SLICER = msgspec.json.Decoder(_Sliced)


@dataclass(frozen=True, slots=True)
class InvocationBody:
    """A validated body: the input's own bytes, and the rest."""

    input_json: bytes
    request: InvocationRequest


async def read_invocation(request: web.Request, limit_bytes: int) -> InvocationBody:
    """Read and validate an invocation's body.

    Raises MediaTypeUnsupportedError, BodyTooLargeError, BodyTimeoutError, BodyMalformedError, FieldsInvalidError.
    """
    if request.content_type != "application/json":
        raise MediaTypeUnsupportedError
    return parse_invocation(await _read(request, limit_bytes))


def parse_invocation(body: bytes) -> InvocationBody:
    """Validate a whole body; raises BodyMalformedError or FieldsInvalidError."""
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BodyMalformedError from None
    if not isinstance(loaded, dict):
        raise FieldsInvalidError([FieldFault("", "must be a JSON object")])
    try:
        parsed = InvocationRequest.model_validate(loaded, by_alias=True, by_name=False)
        return InvocationBody(bytes(_SLICER.decode(body).input), parsed)
    except ValidationError as refused:
        raise field_faults([dict(error) for error in refused.errors()]) from None
    except (msgspec.DecodeError, RecursionError):
        raise BodyMalformedError from None


async def _read(request: web.Request, limit_bytes: int) -> bytes:
    if (request.content_length or 0) > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit_bytes:
                    raise BodyTooLargeError(limit_bytes)
                parts.append(part)
    except TimeoutError:
        raise BodyTimeoutError from None
    except web.RequestPayloadError:
        raise BodyMalformedError from None
    return b"".join(parts)
