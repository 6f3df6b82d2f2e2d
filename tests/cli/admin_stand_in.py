"""The Admin API's own description, answering: each route with its example, keeping what it was asked."""

import asyncio
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import NamedTuple

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.table import ADMIN_ROUTES
from gateway.operations import Operation
from gateway.schemas import WireModel


class Asked(NamedTuple):
    """A request that a route of the table took."""

    operation: Operation
    query: dict[str, str]
    body: bytes


@dataclass(slots=True)
class StandIn:
    """Where it answers, and what it was asked since `asked` was cleared.

    With `refuses` each answer is a problem of that status.
    """

    url: str = ""
    refuses: int | None = None
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Answer on a loop of its own until left."""
    standing = StandIn()
    app = web.Application()
    for route in ADMIN_ROUTES:
        app.router.add_route(route.operation.method, route.operation.path, _handler(standing, route.operation))
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    runner = web.AppRunner(app)

    async def serve() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        standing.url = asyncio.run_coroutine_threadsafe(serve(), loop).result()
        yield standing
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def example(operation: Operation) -> bytes:
    """Return the example of the first answer; nothing where it is no JSON. A list has no further page."""
    contents = operation.answers[0].contents
    if contents and contents[0].media_type == "application/zip":
        return _archive()
    if not contents or contents[0].media_type != "application/json":
        return b""
    told = orjson.loads(_json(next(iter(contents[0].examples.values()))))
    if isinstance(told, dict):
        told.pop("nextCursor", None)
    return orjson.dumps(told)


def body_example(operation: Operation) -> bytes:
    """Return the first example of the body; nothing where there is no body."""
    return b"" if operation.body is None else _json(next(iter(operation.body.examples.values())))


def _archive() -> bytes:
    """Return an export of a tenant that has nothing."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("manifest.json", b'{"tenant": "globex", "parts": []}')
    return sink.getvalue()


def _json(value: object) -> bytes:
    return value.to_json() if isinstance(value, WireModel) else orjson.dumps(value)


def _handler(standing: StandIn, operation: Operation) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        standing.asked.append(Asked(operation, dict(request.query), await request.read()))
        if standing.refuses is not None:
            problem = {"code": "refused_here", "detail": "Refused.", "requestId": "req_1"}
            return web.json_response(problem, status=standing.refuses)
        return web.Response(status=operation.answers[0].status, body=example(operation))

    return answer
