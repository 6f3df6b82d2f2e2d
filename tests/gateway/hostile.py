"""The real server and edge around a few small routes, and clients that speak in bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.bodies import Pace, read_json
from gateway.connection import Patience
from gateway.middleware import Edge
from gateway.server import Capacity, hosted
from gateway.sse import HEADERS, EventStream
from gateway.traffic import Traffic
from tenancy.clock import Clock, SystemClock

# Ends every exchange: a connection that is still served closes after this one's answer.
LAST: Final = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# In everything a hostile client sends; never in what it gets, nor in a log.
MARK: Final = b"MaRk7"
BODY_LIMIT: Final = 1024
ORIGIN: Final = "https://app.example"
ANSWER_S: Final = 10.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, taken apart strictly."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The problem's code; the answer has to be a whole and proper problem."""
        problem = orjson.loads(self.body)
        assert self.headers["content-type"] == "application/problem+json"
        assert problem["status"] == self.status
        assert problem["requestId"] == self.headers["x-request-id"]
        assert self.headers["cache-control"] == "no-store"
        return str(problem["code"])


def answers(received: bytes) -> list[Answer]:
    """Take apart everything a connection said; whatever is not HTTP fails the test."""
    found = []
    while received:
        head, blank, rest = received.partition(b"\r\n\r\n")
        assert blank, received
        line, *fields = head.decode("ascii").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), line
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        length = int(headers.get("content-length", "0"))
        assert len(rest) >= length, received
        found.append(Answer(int(status), headers, rest[:length]))
        received = rest[length:]
    return found


@dataclass
class Site:
    """A running server; `held` requests of `/held` wait for `release`."""

    port: int = 0
    clock: Clock = field(default_factory=SystemClock)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    sent: int = 0
    connections: Callable[[], list[web.RequestHandler]] = list

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)

    async def say(self, *parts: bytes) -> list[Answer]:
        """Send bytes, each part by itself, then read until the server closes; return the answers."""
        reader, writer = await self.connect()
        try:
            for part in parts[:-1]:
                writer.write(part)
                await self.arrived()
            writer.write(parts[-1])
            return answers(await everything(reader))
        finally:
            await gone(writer)

    async def arrived(self) -> None:
        """Return once the server has read whatever was sent before: an exchange begun now has ended."""
        reader, writer = await self.connect()
        writer.write(LAST)
        await everything(reader)
        await gone(writer)

    async def until(self, name: str, value: float) -> None:
        """Wait until a metric has a value."""
        async with asyncio.timeout(ANSWER_S):
            while self.metric(name) != value:
                await asyncio.sleep(0)

    def metric(self, name: str) -> float:
        """Return a metric's value."""
        return self.metrics.get_sample_value(name) or 0.0


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes; an answer that a reset follows is an answer all the same."""
    received = b""
    async with asyncio.timeout(ANSWER_S):
        with suppress(ConnectionResetError):
            while part := await reader.read(65_536):
                received += part
    return received


async def gone(writer: asyncio.StreamWriter) -> None:
    """Close a client's end."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def site(
    *,
    clock: Clock | None = None,
    capacity: Capacity | None = None,
    patience: Patience | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[Site]:
    """Serve the routes for the block."""
    running = Site(clock=clock or SystemClock())
    edge = Edge(running.clock, frozenset({ORIGIN}), Traffic(running.metrics), lambda: False)
    app = web.Application()
    edge.install(app)
    for method, path, handler in routes(running, pace or Pace()):
        app.router.add_route(method, path, handler)
    async with hosted(
        app,
        edge=edge,
        clock=running.clock,
        metrics=running.metrics,
        capacity=capacity or Capacity(),
        patience=patience or Patience(close_s=0.2),
        close_s=0.1,
    ) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        running.port = runner.addresses[0][1]
        server = runner.server
        assert server is not None
        running.connections = lambda: server.connections
        yield running


def routes(running: Site, pace: Pace) -> list[tuple[str, str, Handler]]:
    """Return the small routes that hostile clients reach for."""

    async def hello(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"hello")

    async def body(request: web.Request) -> web.StreamResponse:
        read = await read_json(request, BODY_LIMIT, pace)
        return web.Response(body=b"%d" % len(read))

    async def upload(request: web.Request) -> web.StreamResponse:
        read = await read_json(request, 1024 * BODY_LIMIT, pace)
        return web.Response(body=b"%d" % len(read))

    async def held(_request: web.Request) -> web.StreamResponse:
        running.held.release()
        try:
            await running.release.wait()
        finally:
            running.left.release()
        return web.Response(body=b"held")

    async def fail(request: web.Request) -> web.StreamResponse:
        raise RuntimeError(request.headers.get("Authorization", ""))

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        events = EventStream(response, running.clock)
        running.held.release()
        try:
            while running.sent < int(request.query.get("bytes", "1000000000")):
                await events.chunk(b"x" * 65_536)
                running.sent += 65_536
            await running.release.wait()
            return response
        finally:
            running.left.release()

    return [
        ("GET", "/hello", hello),
        ("GET", "/v1/health", hello),
        ("POST", "/body", body),
        ("POST", "/upload", upload),
        ("GET", "/held", held),
        ("GET", "/fail", fail),
        ("GET", "/flood", flood),
    ]


def slow_reader(port: int, request: bytes) -> socket.socket:
    """Connect with the smallest receive buffer there is and send a request; nothing is ever read from it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client
