"""A stand-in for AgentCore that answers with exactly the bytes, or the silence, a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from multidict import CIMultiDict

SESSION = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes


Script = Callable[[Received, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: int = 200, body: object = None, **headers: str) -> bytes:
    """Return a whole HTTP answer; bytes go out as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}content-length: {len(content)}\r\n\r\n".encode() + content


def chunked(kind: str = "text/event-stream; charset=utf-8") -> bytes:
    """Return the head of a chunked answer."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return one chunk; an empty one ends the answer."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def refuse(status: int, kind: str, message: str = "no") -> bytes:
    """Return an error as AgentCore answers it."""
    return http(status, {"message": message}, x_amzn_ErrorType=kind)


def says(answer: bytes) -> Script:
    """Answer with these bytes and keep the connection."""

    async def script(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


async def hangs(_: Received, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Answer nothing until the caller gives up."""
    await reader.read()


def breaks_after(answer: bytes) -> Script:
    """Answer with these bytes, then reset the connection."""

    async def script(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.transport.abort()

    return script


@dataclass
class Upstream:
    """Plays one script per request; the last one again for all that follow."""

    scripts: list[Script]
    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    # Takes no more connections; those there are stay.
    close: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                request = await _read(reader)
                self.received.append(request)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                await script(request, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def upstream(*scripts: Script | bytes) -> AsyncIterator[Upstream]:
    """Serve these scripts; bytes are said as they are."""
    server_side = Upstream([says(script) if isinstance(script, bytes) else script for script in scripts])
    server = await asyncio.start_server(server_side.serve, "127.0.0.1", 0)
    server_side.close = server.close
    server_side.port = server.sockets[0].getsockname()[1]
    async with server:
        yield server_side


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in filter(None, head[1:]):
        name, value = line.split(": ", 1)
        headers.add(name, value)
    return Received(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
