"""What every exchange gets, whatever its route: a request id, a trace, CORS, problems for errors, one wide line."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import cors
from gateway.errors import FieldFault, FieldsInvalidError, OverloadedError
from gateway.invoke import IDS, Origin
from gateway.problems import CONTENT_TYPE, Problem, problem_of, render, respond
from gateway.trace import continued
from gateway.traffic import Traffic
from tenancy.clock import Clock
from tenancy.errors import InvalidIdError, LockgateError
from tenancy.ids import RequestId, TenantId, new_request_id, parse_request_id
from tenancy.rates import RateState

ORIGIN: Final = web.RequestKey("origin", Origin)
# The tenant's rate as this request saw it, once it is known.
RATE: Final = web.RequestKey("rate", RateState)
# Set once the caller is known, for the line alone.
ACTING: Final = web.RequestKey("acting", tuple[TenantId | None, str])

_log = structlog.get_logger("gateway.request")


class Edge:
    """The outermost middleware and the signal that dresses every answer, streams included."""

    def __init__(
        self, clock: Clock, cors_origins: frozenset[str], traffic: Traffic, draining: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._cors_origins = cors_origins
        self._traffic = traffic
        self._draining = draining
        # Bound once: a lazy logger is bound anew for every line.
        self._log = _log.bind()

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call the API."""
        return self._cors_origins

    def install(self, app: web.Application) -> None:
        """Put the edge around all of an application's routes."""
        app.middlewares.append(self._around)
        app.on_response_prepare.append(self._dress)

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started_s = self._clock.monotonic()
        request[ORIGIN] = Origin(
            self._request_id(request),
            continued(request.headers.get("traceparent"), request.headers.get("tracestate")),
        )
        status = 499
        try:
            response = await self._answer(request, handler)
            status = response.status
        finally:
            self._line(request, status, started_s)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        preflight = cors.preflight(request, self._cors_origins)
        if preflight is not None:
            return preflight
        try:
            _check_query(request)
            return await handler(request)
        except ConnectionResetError:
            raise
        except Exception as error:
            problem = problem_of(error)
            if problem.status == web.HTTPInternalServerError.status_code:
                _log.error("request failed", request=request[ORIGIN].request_id, exc_info=error)
            self._traffic.refused(problem.code)
            return respond(problem, request[ORIGIN].request_id)

    def refuse(self, request: web.BaseRequest, error: BaseException) -> web.Response:
        """Return the problem for a request that reached no route, dressed like any other answer."""
        problem, request_id = problem_of(error), self._request_id(request)
        self._note(problem, request_id, error)
        response = respond(problem, request_id)
        response.headers["X-Request-Id"] = request_id
        self._finish(request, response)
        return response

    def last_word(self, error: LockgateError) -> bytes:
        """Return the bytes of the whole answer to what did not become a request; its connection closes."""
        problem, request_id = problem_of(error), new_request_id(self._clock.now())
        self._note(problem, request_id, error)
        body = render(problem, request_id)
        headers = _OF_LAST_WORDS | problem.headers | {"X-Request-Id": request_id, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _note(self, problem: Problem, request_id: RequestId, error: BaseException) -> None:
        self._traffic.refused(problem.code)
        if problem.status == web.HTTPInternalServerError.status_code:
            _log.error("request failed", request=request_id, exc_info=error)
        elif not isinstance(error, OverloadedError):
            # A line for each request that is shed would be work that cannot be done.
            _log.info("refused", code=problem.code, status=problem.status, request=request_id)

    async def _dress(self, request: web.Request, response: web.StreamResponse) -> None:
        origin = request.get(ORIGIN)
        if origin is not None:
            response.headers["X-Request-Id"] = origin.request_id
            if origin.trace.traceparent is not None:
                response.headers["traceparent"] = origin.trace.traceparent
        response.headers.update(request.get(IDS, {}))
        rate = request.get(RATE)
        if rate is not None:
            response.headers["RateLimit-Policy"] = f'"default";q={rate.burst};w={rate.window_s}'
            response.headers["RateLimit"] = f'"default";r={rate.remaining};t={rate.reset_s}'
        self._finish(request, response)

    def _finish(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        if self._draining():
            # The header alone would leave the connection to the caller, and the other way round surprise it.
            response.force_close()
            response.headers["Connection"] = "close"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Server"] = "lockgate"
        cors.allow(request, response, self._cors_origins)

    def _request_id(self, request: web.BaseRequest) -> RequestId:
        named = request.headers.get("X-Request-Id")
        if named is not None:
            with suppress(InvalidIdError):
                return parse_request_id(named)
        return new_request_id(self._clock.now())

    def _line(self, request: web.Request, status: int, started_s: float) -> None:
        resource = request.match_info.route.resource
        tenant, principal = request.get(ACTING, (None, None))
        origin = request[ORIGIN]
        method = request.method if request.method in _METHODS else "other"
        # The route's pattern, never the path: a path is the caller's own text.
        route = "unmatched" if resource is None else resource.canonical
        self._traffic.answered(method, route, status)
        self._log.info(
            "request",
            method=method,
            route=route,
            status=status,
            request=origin.request_id,
            trace=origin.trace.trace_id,
            tenant=tenant,
            principal=principal,
            duration_ms=round((self._clock.monotonic() - started_s) * 1000, 1),
        )


def _check_query(request: web.Request) -> None:
    """Raise FieldsInvalidError where a parameter is given twice: which one counts, each reader decides differently."""
    if request.query_string and len(set(request.query)) < len(request.query):
        raise FieldsInvalidError([FieldFault("", "a query parameter is given more than once")])


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OF_LAST_WORDS: Final = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-store",
    "Connection": "close",
    "Server": "lockgate",
    "X-Content-Type-Options": "nosniff",
}
