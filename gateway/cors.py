"""Which browser pages may call the API: those of the configured origins, without cookies."""

from typing import Final

from aiohttp import hdrs, web

from gateway.errors import OriginForeignError

METHODS: Final = "GET, POST, PATCH, DELETE"
REQUEST_HEADERS: Final = ", ".join(
    (
        "Accept",
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        "Prefer",
        "traceparent",
        "X-Request-Id",
        "X-Tenant-Id",
    )
)
EXPOSED: Final = ", ".join(
    (
        "Location",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "X-Request-Id",
        "X-Invocation-Id",
        "X-Session-Id",
        "Idempotency-Replayed",
    )
)
MAX_AGE_S: Final = 600


def preflight(request: web.Request, origins: frozenset[str]) -> web.Response | None:
    """Answer a preflight from an allowed origin; None where the request is no such thing."""
    asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    if not asks or request.headers.get(hdrs.ORIGIN) not in origins:
        return None
    return web.Response(
        status=204,
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: REQUEST_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE_S),
        },
    )


def check_origin(request: web.BaseRequest, origins: frozenset[str]) -> None:
    """Raise OriginForeignError where a page of any other origin asks; what is no browser names none."""
    if not origins.issuperset(request.headers.getall(hdrs.ORIGIN, ())):
        raise OriginForeignError


def allow(request: web.BaseRequest, response: web.StreamResponse, origins: frozenset[str]) -> None:
    """Let the page of an allowed origin read this answer."""
    if not origins:
        return
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in origins:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
