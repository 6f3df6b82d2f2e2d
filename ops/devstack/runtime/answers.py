"""Answers in AWS's form: every error through one table, a request id on everything."""

import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import orjson
from aiohttp import web

from ops.devstack.runtime.errors import InvalidRequestError, MissingTokenError, RuntimeApiError

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUEST_ID = web.RequestKey("request_id", str)


def json_answer(document: object, status: int = 200) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def error_answer(error: RuntimeApiError) -> web.Response:
    """Return the answer an error becomes."""
    answer = json_answer(error.body(), error.status)
    answer.headers["x-amzn-ErrorType"] = error.kind
    answer.headers.update(error.headers)
    return answer


async def identify(request: web.Request, response: web.StreamResponse) -> None:
    """Put the request's id on its answer; a signal handler for `on_response_prepare`."""
    if (request_id := request.get(REQUEST_ID)) is not None:
        response.headers["x-amzn-RequestId"] = request_id


@web.middleware
async def aws_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into AWS's answer for it."""
    request[REQUEST_ID] = str(uuid.uuid4())
    try:
        return await handler(request)
    except RuntimeApiError as error:
        return error_answer(error)
    except web.HTTPRequestEntityTooLarge:
        detail = "Member must have length less than or equal to 100000000"
        return error_answer(InvalidRequestError(detail, fields=[("payload", detail)]))
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        # What AWS says to a path it does not have.
        return error_answer(MissingTokenError())
