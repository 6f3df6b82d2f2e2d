"""The headers of requests and answers, each described once, and which answers carry which."""

from collections.abc import Iterable
from typing import Final

from pydantic import JsonValue

from gateway.openapi.models import Json
from gateway.operations import IDEMPOTENCY_KEY, Operation, Parameter

REF: Final = "#/components/headers/"
_EVERY_ANSWER: Final = ("X-Request-Id", "traceparent", "Access-Control-Allow-Origin")
_RATE: Final = ("RateLimit", "RateLimit-Policy")
_IDS: Final = ("X-Invocation-Id", "X-Session-Id")
_UNAUTHORIZED: Final = 401
# How an invocation that was begun can end: its tenant was suspended, it was cancelled or its session was busy, or
# what lies behind failed.
_ENDED: Final = (403, 409)
_FAILED: Final = 500
_REFUSED: Final = 400
_WAITS: Final = (429, 503)
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_REQUEST: Final = "req_01jd3k5m7p9q1r3s5t7v9w1x3y"
_SECONDS: Final[Json] = {"type": "integer", "format": "int32", "minimum": 1, "maximum": 86_400}


def _header(description: str, schema: Json, example: JsonValue) -> Json:
    return {"description": description, "schema": schema, "example": example}


def _always(description: str, schema: Json, example: JsonValue) -> Json:
    """Describe a header that is never missing where it is listed."""
    return _header(description, schema, example) | {"required": True}


def _text(pattern: str, max_length: int) -> Json:
    return {"type": "string", "pattern": pattern, "maxLength": max_length}


HEADERS: Final[dict[str, Json]] = {
    "X-Request-Id": _always(
        "The request's id: the caller's own where it sent one of this shape.",
        _text("^[A-Za-z0-9._:-]{1,128}$", 128),
        _REQUEST,
    ),
    "traceparent": _header(
        "W3C trace context: the caller's trace, or a new one, with Lockgate's own span.",
        _text("^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", 55),
        _TRACE,
    ),
    "Access-Control-Allow-Origin": _header(
        "The page's origin, where it is one of those configured. No other page may read the answer.",
        {"type": "string", "format": "uri", "maxLength": 256},
        "https://console.example",
    ),
    "RateLimit": _header(
        "The tenant's rate as this request left it: `r` requests remain, and `t` seconds until all are back.",
        _text('^"default";r=[0-9]+;t=[0-9]+$', 64),
        '"default";r=998;t=1',
    ),
    "RateLimit-Policy": _header(
        "The tenant's rate: `q` requests at once, filled up again within `w` seconds.",
        _text('^"default";q=[0-9]+;w=[0-9]+$', 64),
        '"default";q=1000;w=2',
    ),
    "Retry-After": _header("When to ask again, in seconds.", _SECONDS, 1),
    "WWW-Authenticate": _always(
        "What is wrong with the token (RFC 6750).",
        _text('^Bearer realm="lockgate"', 512),
        'Bearer realm="lockgate", error="invalid_token", error_description="The token has expired."',
    ),
    "Location": _always(
        "Where to look at it.",
        {"type": "string", "format": "uri-reference", "maxLength": 256},
        "/v1/jobs/job_01jd3k5m7p9q1r3s5t7v9w1x3y",
    ),
    "Preference-Applied": _always(
        "The preference that was honoured (RFC 7240).", {"type": "string", "enum": ["respond-async"]}, "respond-async"
    ),
    "X-Invocation-Id": _header(
        "The invocation's id.", _text("^inv_[0-9a-hjkmnp-tv-z]{26}$", 30), "inv_01jd3k5m7p9q1r3s5t7v9w1x3y"
    ),
    "X-Session-Id": _header(
        "The session, for the next turn.",
        _text("^[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}$", 100),
        "ses_" + "0123456789abcdef" * 3,
    ),
    "Idempotency-Replayed": _header(
        "This is the answer that an earlier request with the same `Idempotency-Key` was given.",
        {"type": "string", "enum": ["true"]},
        "true",
    ),
    "ETag": _always(
        "Names these bytes, for `If-None-Match`.", _text('^"[0-9a-f]+"$', 66), '"9f86d081884c7d659a2feaa0c55ad015"'
    ),
}

# A value that is not of the shape named is not an error: the header is as good as absent.
_ANY: Final[Json] = {"type": "string", "format": "text", "maxLength": 16_384}
EVERY_REQUEST: Final = (
    Parameter("X-Request-Id", "header", "The request's id, 1 to 128 of `A-Za-z0-9._:-`.", _ANY, _REQUEST),
    Parameter("traceparent", "header", "W3C trace context; it travels on to the agent.", _ANY, _TRACE),
    Parameter("tracestate", "header", "W3C trace context; it travels with `traceparent`.", _ANY, "vendor=1"),
)
TENANT: Final = Parameter(
    "X-Tenant-Id",
    "header",
    "Never chooses a tenant: the token does. One that names another is refused with 403, and audited.",
    {"type": "string", "pattern": "^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$", "maxLength": 32},
    "acme",
)


_ALWAYS_RATED: Final = frozenset({"tenant", "agent", "tools"})
_RATED: Final = _ALWAYS_RATED | {"principal"}


def taken(operation: Operation) -> tuple[Parameter, ...]:
    """Return the headers that an operation takes as all like it do."""
    return EVERY_REQUEST if operation.guard == "public" else (*EVERY_REQUEST, TENANT)


def carried(operation: Operation, status: int, own: Iterable[str]) -> Json:
    """Return the headers of an answer: its own, and those that every answer of this kind carries."""
    rated = operation.guard in _RATED and status != _UNAUTHORIZED
    # What was begun before it failed is named on the problem too.
    begun = operation.names_invocation and (status in _ENDED or status >= _FAILED)
    keyed = IDEMPOTENCY_KEY in operation.parameters and (status < _REFUSED or begun)
    given_again = ("Idempotency-Replayed",) if keyed else ()
    names = (*_EVERY_ANSWER, *(_RATE if rated else ()), *(_IDS if begun else ()), *given_again, *own)
    return {name: _shown(name, owed=name in _owed(operation, status)) for name in dict.fromkeys(names)}


def _owed(operation: Operation, status: int) -> tuple[str, ...]:
    """Return the headers that an answer never lacks, beside those that are never there but for a reason."""
    if status in _WAITS:
        return ("Retry-After",)
    if status < _REFUSED:
        return ("traceparent", *_IDS, *(_RATE if operation.guard in _ALWAYS_RATED else ()))
    return ()


def _shown(name: str, *, owed: bool) -> Json:
    return HEADERS[name] | {"required": True} if owed else {"$ref": REF + name}
