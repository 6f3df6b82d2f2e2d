"""Reading a body once, within its size and time; an invocation's into typed values.

A body is asked for only once its route, its caller and its size are known to be all right. `input` is sliced out of
the body as the bytes that came: a number wider than a double, or the order of members, reaches the agent as the
tenant wrote it.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson
from aiohttp import hdrs, web
from pydantic import ValidationError

from gateway.errors import (
    BodyMalformedError,
    BodyTimeoutError,
    BodyTooLargeError,
    ContentEncodingError,
    FieldFault,
    FieldsInvalidError,
    LengthRequiredError,
    MediaTypeUnsupportedError,
)
from gateway.schemas import InvocationRequest, field_faults

# Set on a request whose sender waits to be told to go on; gone once it was.
AWAITS_CONTINUE: Final = web.RequestKey("awaits-continue", bool)
# Told of a JSON body before it is looked at; may end the request.
ON_BODY: Final[web.RequestKey[Callable[[bytes], Awaitable[None]]]] = web.RequestKey("on-body")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a body has to come: it is given `grace_s`, and a second more for every `bytes_per_s` that came."""

    grace_s: float = 15.0
    bytes_per_s: int = 32_768


PACE: Final = Pace()


class _Sliced(msgspec.Struct):
    input: msgspec.Raw


# Of these nothing but the input is to be looked at.
_BARE: Final = InvocationRequest(input=None)
# Fewer bytes than this make too little to set the garbage collector off.
_SMALL_BYTES: Final = 65_536
_SLICER = msgspec.json.Decoder(_Sliced)
_MEMBERS: Final = frozenset(field.alias or name for name, field in InvocationRequest.model_fields.items())


@dataclass(frozen=True, slots=True)
class InvocationBody:
    """A validated body: the input's own bytes, and the rest without it."""

    input_json: bytes
    request: InvocationRequest


async def read_invocation(request: web.Request, limit_bytes: int) -> InvocationBody:
    """Read and validate an invocation's body.

    Raises what `read_json` raises, and FieldsInvalidError.
    """
    return parse_invocation(await read_json(request, limit_bytes))


async def read_json(request: web.Request, limit_bytes: int, pace: Pace = PACE) -> bytes:
    """Read a JSON body of at most `limit_bytes`, unparsed.

    Raises LengthRequiredError, ContentEncodingError, MediaTypeUnsupportedError, BodyTooLargeError, BodyTimeoutError,
    BodyMalformedError, and what ON_BODY raises.
    """
    if hdrs.CONTENT_LENGTH not in request.headers and hdrs.TRANSFER_ENCODING not in request.headers:
        raise LengthRequiredError
    if hdrs.CONTENT_ENCODING in request.headers:
        raise ContentEncodingError
    if request.content_type != "application/json":
        raise MediaTypeUnsupportedError
    if (request.content_length or 0) > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    if request.get(AWAITS_CONTINUE):
        await _ask(request)
    body = await _read(request, limit_bytes, pace)
    on_body = request.get(ON_BODY)
    if on_body is not None:
        await on_body(body)
    return body


def parse_invocation(body: bytes) -> InvocationBody:
    """Validate a whole body; raises BodyMalformedError or FieldsInvalidError."""
    if len(body) <= _SMALL_BYTES:
        return _parse(body)
    with _undisturbed():
        return _parse(body)


def _parse(body: bytes) -> InvocationBody:
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BodyMalformedError from None
    if not isinstance(loaded, dict):
        raise FieldsInvalidError([FieldFault("", "must be a JSON object")])
    if not loaded.keys() <= _MEMBERS:
        # Said once: a fault for each of tens of thousands takes seconds to write.
        raise FieldsInvalidError([FieldFault("", "has a member that is not known")])
    if "input" in loaded:
        # It goes on as its bytes. What it was parsed into is many times their size, and must not live as long.
        loaded["input"] = None
    try:
        bare = loaded.keys() == _BARE.model_fields_set
        parsed = _BARE if bare else InvocationRequest.model_validate(loaded, by_alias=True, by_name=False)
        return InvocationBody(bytes(_SLICER.decode(body).input), parsed)
    except ValidationError as refused:
        raise field_faults([dict(error) for error in refused.errors()]) from None
    except (msgspec.DecodeError, RecursionError):
        raise BodyMalformedError from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of the block.

    Half a million lists in one body set it off again and again, each time through all of them, and what it looks for,
    cycles, JSON cannot have.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


async def _ask(request: web.Request) -> None:
    del request[AWAITS_CONTINUE]
    writer = request.writer
    await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # This was no part of the answer.
    writer.output_size = 0


async def _read(request: web.Request, limit_bytes: int, pace: Pace) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        if request.content.is_eof():
            # All that there is came together with its head: no reason to take the time.
            body = request.content.read_nowait()
            if len(body) > limit_bytes:
                raise BodyTooLargeError(limit_bytes)
            return body
        async with asyncio.timeout(pace.grace_s) as deadline:
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit_bytes:
                    raise BodyTooLargeError(limit_bytes)
                parts.append(part)
                deadline.reschedule((deadline.when() or 0.0) + len(part) / pace.bytes_per_s)
    except TimeoutError:
        raise BodyTimeoutError from None
    except web.RequestPayloadError:
        raise BodyMalformedError from None
    return b"".join(parts)
