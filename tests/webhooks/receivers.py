"""Receivers for tests: one that answers as it is told, and raw ones that break every rule of HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from ops.devstack.process import free_port

Misbehave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEADS_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """An ordinary receiver: `answers` are given in turn, the last one from then on."""

    url: str
    port: int
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=lambda: [(204, {}, b"")])
    got: list[Got] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    # Requests wait here before they are answered, while it is closed.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(request.path_qs, headers, await request.read()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.set()
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        status, extra, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=extra, body=body)

    async def has_got(self, count: int) -> None:
        """Return once this many requests have arrived."""
        while len(self.got) < count:
            self.arrived.clear()
            await self.arrived.wait()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run an ordinary receiver on a free port; its gate stands open."""
    port = free_port()
    receiver = Receiver(f"http://127.0.0.1:{port}/in", port)
    receiver.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await runner.cleanup()


@dataclass(slots=True)
class Rogue:
    """A raw server; counts its connections and the bytes it could send."""

    port: int = 0
    connections: int = 0
    sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in"


@asynccontextmanager
async def misbehaving(misbehave: Misbehave) -> AsyncIterator[Rogue]:
    """Run a server that reads a request and then does as it is told, for each connection."""
    rogue = Rogue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rogue.connections += 1
        try:
            head = await reader.readuntil(HEADS_END)
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            await reader.readexactly(length)
            await misbehave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # The sender has had enough.
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    rogue.port = server.sockets[0].getsockname()[1]
    async with server:
        yield rogue
