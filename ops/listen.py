"""The public port: bound so that worker processes can share it, and left so that nobody who has connected is lost.

The kernel resets connections that still wait to be accepted when the last socket they could be accepted from is
closed. So a process that leaves first takes in whoever waits, and the parent of several workers holds their sockets.
"""

import asyncio
import errno
import socket
from typing import Final

from aiohttp import web

from ops.errors import PortTakenError
from tenancy.clock import Clock

BACKLOG: Final = 1024
# How long an idle connection may still bring the request that was on its way when the door closed.
LINGER_S: Final = 0.5
_LOOK_S: Final = 0.02


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a bound socket that does not listen yet; raises PortTakenError.

    A `shared` port can be bound several times, by the same user. Port 0 is any free one.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port} of {host} is taken by another program") from error
        raise
    return bound


class Door:
    """A server's way in. Once closed it stays closed; `emptied` returns when the last caller has left."""

    def __init__(self, runner: web.BaseRunner, bound: socket.socket, clock: Clock) -> None:
        """Take a runner that is set up, and its socket, which the door closes."""
        if runner.server is None:
            raise ValueError("the runner is not set up")
        self._runner = runner
        self._server = runner.server
        self._bound = bound
        self._spare = bound.dup()
        self._clock = clock

    async def open(self) -> None:
        """Begin to accept."""
        await web.SockSite(self._runner, self._bound, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Accept no more, but for those who connected before and wait."""
        for site in list(self._runner.sites):
            await site.stop()
        with self._spare as waiting:
            for _ in range(BACKLOG + 1):
                try:
                    connection, _address = waiting.accept()
                except BlockingIOError:
                    break
                except ConnectionAbortedError:
                    continue
                await self._let_in(connection)

    async def emptied(self) -> None:
        """Return once no connection is left; idle ones are closed after LINGER_S."""
        patient_until_s = self._clock.monotonic() + LINGER_S
        while connections := self._server.connections:
            if self._clock.monotonic() >= patient_until_s:
                for connection in filter(_idle, connections):
                    connection.force_close()
            await self._clock.sleep(_LOOK_S)

    async def _let_in(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(self._server, connection)


def _idle(connection: web.RequestHandler) -> bool:
    # aiohttp has no public word for a connection that waits for a request.
    waiter = connection._waiter  # noqa: SLF001
    return waiter is not None and not waiter.done()
