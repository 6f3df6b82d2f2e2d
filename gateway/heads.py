"""What is wrong with the head of a request that the parser let through: pure rules, before anything is done for it.

Whatever two servers could read in two ways (RFC 9112, 11.2) is refused, and its connection closed.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage

from gateway.errors import (
    BodyLengthAbsurdError,
    ExpectationFailedError,
    HeadersTooLargeError,
    RequestMalformedError,
    TargetTooLongError,
)
from tenancy.errors import LockgateError

TARGET_LIMIT_BYTES: Final = 8_192
FIELD_LIMIT_BYTES: Final = 16_384
HEAD_LIMIT_BYTES: Final = 65_536
FIELDS_LIMIT: Final = 128
# No body is this long; a number that overflows somewhere else is not handed on.
LENGTH_DIGITS: Final = 15
CONTINUE: Final = "100-continue"

_VERSIONS: Final[frozenset[HttpVersion]] = frozenset({HttpVersion10, HttpVersion11})
# RFC 9110, 7.2: uri-host [":" port]; a name, an IPv4 address or an IPv6 address in brackets.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


def fault_of(message: RawRequestMessage, received_bytes: int) -> LockgateError | None:
    """Return why a request is refused, or None; `received_bytes` came in until its head was complete."""
    headers = message.headers
    if received_bytes > HEAD_LIMIT_BYTES and _size(message) > HEAD_LIMIT_BYTES:
        return HeadersTooLargeError()
    if _is_ambiguous(message):
        return RequestMalformedError()
    if len(headers.get(hdrs.CONTENT_LENGTH, "")) > LENGTH_DIGITS:
        return BodyLengthAbsurdError()
    expectation = headers.get(hdrs.EXPECT)
    if expectation is not None and message.version == HttpVersion11 and expectation.lower() != CONTINUE:
        return ExpectationFailedError()
    return None


def fault_of_parser(failure: BaseException | None) -> LockgateError:
    """Return the error that what the parser found is answered with; its own words quote the request."""
    match getattr(failure, "args", ()):
        case (_, int(limit), _) if limit == TARGET_LIMIT_BYTES:
            return TargetTooLongError()
        case (_, int(limit), _) if limit == FIELD_LIMIT_BYTES:
            return HeadersTooLargeError()
    if getattr(failure, "message", "") == "Too many headers received":
        return HeadersTooLargeError()
    return RequestMalformedError()


def _is_ambiguous(message: RawRequestMessage) -> bool:
    if message.version not in _VERSIONS or message.method == hdrs.METH_CONNECT:
        return True
    coding = message.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (coding.lower() != "chunked" or message.version != HttpVersion11):
        return True
    return not _is_host(message.headers.get(hdrs.HOST, ""))


@lru_cache(maxsize=256)
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def _size(message: RawRequestMessage) -> int:
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
