"""The way to AgentCore's data plane: connections to its one origin, kept for a while and used again.

A request goes out once. A connection kept idle is looked at before it is used: where AgentCore has closed it meanwhile,
nothing was sent and another is taken; from the first byte sent on, nothing is sent again.
"""

import asyncio
import itertools
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from agents.connection import Connection
from agents.errors import RuntimeUnreachableError
from agents.exchange import Exchange
from tenancy.clock import Clock
from tenancy.snapshots import Snapshots

CONNECT_TIMEOUT_S: Final = 5.0
# Shorter than AgentCore keeps an idle connection, so that we are the ones who close.
KEEPALIVE_S: Final = 15.0
IDLE_LIMIT: Final = 512
_ADDRESSES_FRESH_S: Final = 30.0
# Where names cannot be looked up for a while, the addresses are most likely still right.
_ADDRESSES_STALE_S: Final = 300.0
_SECOND_ADDRESS_AFTER_S: Final = 0.25
# A stream may be silent for longer than what stands between us and AgentCore remembers a connection (NAT: 350 s).
_PROBE_AFTER_S: Final = 60
_PORTS: Final = {"http": 80, "https": 443}

Addresses: TypeAlias = tuple[AddrInfoType, ...]


class Upstream:
    """One origin, `http://host[:port]` or `https://host[:port]`; use it through `open_upstream`."""

    def __init__(self, endpoint: str, *, clock: Clock, tls: ssl.SSLContext | None) -> None:
        url = urlsplit(endpoint)
        self.host = url.netloc
        self._name, self._port = url.hostname or "", url.port or _PORTS[url.scheme]
        # Reading the system's trust takes a while: not where nothing is to be verified.
        self._tls = (tls or _verifying()) if url.scheme == "https" else None
        self._monotonic = clock.monotonic
        self._addresses: Snapshots[str, Addresses] = Snapshots(
            self._resolve, clock=clock, fresh_s=_ADDRESSES_FRESH_S, stale_s=_ADDRESSES_STALE_S, size=1
        )
        self._turns = itertools.count()
        self._open: set[Connection] = set()
        # The one used last is on the right.
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    async def post(self, head: bytes, body: bytes, *, begin_s: float, total_s: float) -> Exchange:
        """Send a request and return its answer once that has begun; `close` it in any case.

        It has to begin within `begin_s` and to end within `total_s`. Raises RuntimeFaultError, RuntimeUnreachableError
        if nothing was sent.
        """
        connection = self._kept() or await self._connect(min(begin_s, CONNECT_TIMEOUT_S))
        exchange = Exchange(connection, begin_s=begin_s, total_s=total_s)
        try:
            await connection.carry(exchange, head, body)
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def answers(self, limit_s: float) -> bool:
        """Tell whether a connection can be made within `limit_s`; it is kept for the next request."""
        try:
            connection = await self._connect(limit_s)
        except RuntimeUnreachableError:
            return False
        self._rest(connection)
        return True

    async def aclose(self) -> None:
        """Drop every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        await self._addresses.aclose()
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            for connection in tuple(self._open):
                connection.abort()
            await self._emptied

    def _kept(self) -> Connection | None:
        """Return an idle connection that is good still."""
        oldest_s = self._monotonic() - KEEPALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since_s > oldest_s and connection.is_quiet():
                return connection
            connection.abort()
        return None

    async def _connect(self, limit_s: float) -> Connection:
        try:
            async with asyncio.timeout(limit_s):
                return await self._dial()
        except OSError as error:
            # Timeouts, names and certificates are among them.
            raise RuntimeUnreachableError(str(error) or type(error).__name__) from error

    async def _dial(self) -> Connection:
        addresses = await self._addresses.get(self._name)
        if not addresses:
            raise OSError("the host has no address")
        turn = next(self._turns) % len(addresses)
        sock = await start_connection(
            (*addresses[turn:], *addresses[:turn]), happy_eyeballs_delay=_SECOND_ADDRESS_AFTER_S, interleave=1
        )
        try:
            _set_up(sock)
            connection = Connection(sock, idle=self._rest, lost=self._left)
            await asyncio.get_running_loop().create_connection(
                lambda: connection, sock=sock, ssl=self._tls, server_hostname=self._name if self._tls else None
            )
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        return connection

    async def _resolve(self, name: str) -> Addresses:
        return tuple(await asyncio.get_running_loop().getaddrinfo(name, self._port, type=socket.SOCK_STREAM))

    def _rest(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since_s = self._monotonic()
        self._idle.append(connection)
        if len(self._idle) > IDLE_LIMIT:
            self._idle.popleft().abort()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_S, self._sweep_out)

    def _sweep_out(self) -> None:
        oldest_s = self._monotonic() - KEEPALIVE_S
        while self._idle and self._idle[0].idle_since_s <= oldest_s:
            self._idle.popleft().abort()
        self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_S / 3, self._sweep_out) if self._idle else None

    def _left(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)


@asynccontextmanager
async def open_upstream(endpoint: str, *, clock: Clock, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """Hold an upstream for the block; `tls` replaces the system's trust for tests of it."""
    upstream = Upstream(endpoint, clock=clock, tls=tls)
    try:
        yield upstream
    finally:
        await upstream.aclose()


def _verifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _set_up(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
