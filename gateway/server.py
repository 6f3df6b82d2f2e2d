"""The HTTP server below routes and middlewares: how many connections it holds, and what it turns away at the door.

Everything that is not an answer of a route leaves from here, as the same problem documents: what the parser does not
take, what two servers could read in two ways, what comes too slowly, and what is too much.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from prometheus_client import CollectorRegistry, Gauge

from gateway.bodies import AWAITS_CONTINUE
from gateway.connection import Connection, Patience
from gateway.errors import OverloadedError
from gateway.heads import fault_of
from gateway.middleware import Edge
from gateway.shedding import EXEMPT, Overload
from tenancy.clock import Clock
from tenancy.errors import LockgateError

LOOK_S: Final = 1.0
# Turned away at the door, a connection is told so; this many at once, and not even that.
TURNED_AWAY_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much one process takes on."""

    connections: int = 10_000
    requests: int = 10_000
    lag_s: float = 1.0


class GatewayServer(web.Server):
    """Serves an application to connections that it keeps a hold on."""

    def __init__(
        self, served: web.Server, *, edge: Edge, overload: Overload, connections: int, patience: Patience, clock: Clock
    ) -> None:
        super().__init__(
            self._handle,
            request_factory=self._request,
            # Without it a caller that leaves while the agent is silent would never be noticed.
            handler_cancellation=True,
        )
        self.patience = patience
        self.clock = clock
        self._served = served
        self._edge = edge
        self._overload = overload
        self._limit = connections
        self._admitted: set[Connection] = set()
        self._turned_away: set[Connection] = set()

    def __call__(self) -> Connection:
        """Return the protocol of one new connection."""
        return Connection(self, self, asyncio.get_running_loop())

    @property
    def open(self) -> int:
        """How many connections are open, those turned away not counted."""
        return len(self._admitted)

    def entered(self, connection: Connection) -> bool:
        """Take note of a connection; False where it is one too many."""
        if len(self._admitted) < self._limit:
            self._admitted.add(connection)
            return True
        self._turned_away.add(connection)
        if len(self._turned_away) > TURNED_AWAY_LIMIT:
            connection.abort()
        return False

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        self._admitted.discard(connection)
        self._turned_away.discard(connection)

    def answer(self, request: web.BaseRequest, error: BaseException) -> web.Response:
        """Return the problem that a request is answered with which reached no route."""
        return self._edge.refuse(request, error)

    def last_word(self, error: LockgateError) -> bytes:
        """Return the whole answer to what is no request yet."""
        return self._edge.last_word(error)

    async def watch(self) -> None:
        """End the connections whose moment has come, until cancelled."""
        while True:
            await self.clock.sleep(LOOK_S)
            now_s = self.clock.monotonic()
            for connection in (*self._admitted, *self._turned_away):
                if connection.deadline_s <= now_s:
                    connection.expire()

    def abort(self) -> None:
        """Drop every connection there still is."""
        for connection in (*self._admitted, *self._turned_away):
            connection.abort()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        connection, make = cast("Connection", protocol), self._served.request_factory
        received = connection.begin(payload)
        if message.method == "UNKNOWN":
            # The stand-in for what the parser refused.
            return make(message._replace(version=HttpVersion11), payload, protocol, writer, task)
        fault = connection.fault = fault_of(message, received)
        if fault is not None or message.upgrade:
            # No other protocol is spoken, and where an upgraded connection goes on is anybody's guess.
            message = message._replace(version=HttpVersion11, should_close=True)
        if hdrs.EXPECT not in message.headers:
            return make(message, payload, protocol, writer, task)
        request = make(message._replace(headers=_without_expect(message)), payload, protocol, writer, task)
        # HTTP/1.0 knows no such thing.
        if message.version == HttpVersion11:
            request[AWAITS_CONTINUE] = True
        return request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        fault = cast("Connection", request.protocol).fault
        if fault is None and self._overload.over() and request.path not in EXEMPT:
            fault = OverloadedError()
        if fault is not None:
            return self.answer(request, fault)
        self._overload.begun()
        try:
            return await self._served.request_handler(request)
        finally:
            self._overload.ended()


@asynccontextmanager
async def hosted(
    app: web.Application,
    *,
    edge: Edge,
    clock: Clock,
    metrics: CollectorRegistry,
    capacity: Capacity,
    patience: Patience | None = None,
    close_s: float,
) -> AsyncIterator[web.ServerRunner]:
    """Run an application for the block; sites added to the runner are where it listens.

    On leaving, what is being served gets `close_s` to end.
    """
    overload = Overload(requests=capacity.requests, lag_s=capacity.lag_s, clock=clock, metrics=metrics)
    built = web.AppRunner(app, shutdown_timeout=0)
    await built.setup()
    server = GatewayServer(
        # Set up means that there is one.
        cast("web.Server", built.server),
        edge=edge,
        overload=overload,
        connections=capacity.connections,
        patience=patience or Patience(),
        clock=clock,
    )
    Gauge("lockgate_connections", "Connections open", registry=metrics).set_function(lambda: server.open)
    runner = web.ServerRunner(server, shutdown_timeout=close_s)
    await runner.setup()
    watches = [asyncio.create_task(server.watch()), asyncio.create_task(overload.watch())]
    try:
        yield runner
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await runner.cleanup()
        server.abort()
        await built.cleanup()


def _without_expect(message: RawRequestMessage) -> CIMultiDictProxy[str]:
    """Return the headers without `Expect`: the application would answer it before it knows who is calling."""
    headers = CIMultiDict(message.headers)
    del headers[hdrs.EXPECT]
    return CIMultiDictProxy(headers)
