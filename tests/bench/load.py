"""The load: a cheap HTTP/1.1 client in a process of its own, which also reads what the measured process used meanwhile.

Usage: `python -m tests.bench.load ORDER`, an Order as JSON; the Sample is written to stdout as JSON.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeAlias, cast

import orjson
import uvloop

from tests.bench.cost import cpu_s, rss_bytes
from tests.bench.wire import MARK, Script

_WARM_S = 0.3
_TAIL_S = 0.7
_PATIENCE_S = 30.0
_OK = b"http/1.1 200 "
_SAID = 1000

Kind: TypeAlias = Literal["unary", "stream", "first"]


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure at which target: `unary` and `stream` for `seconds`, `first` over `connections` streams in turn.

    `per_s` are the requests of all connections together (`unary`), or the events of each stream (`stream`).
    `wrapped` where the target wants the input inside a body of its own.
    """

    kind: Kind
    port: int
    pid: int
    path: str
    headers: dict[str, str]
    wrapped: bool
    connections: int
    seconds: float
    per_s: float = 1.0

    def request(self, script: Script, accept: str) -> bytes:
        """Return the whole request."""
        body = script.to_json()
        if self.wrapped:
            body = b'{"input":%b}' % body
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": accept,
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@dataclass(slots=True)
class Sample:
    """What was seen: units are requests (`unary`, `first`) or events (`stream`) within the window.

    `errors` are the beginnings of answers that were not whole, or not the agent's.
    """

    units: int
    errors: tuple[str, ...]
    seconds: float
    cpu_s: float
    rss_per_stream_bytes: float
    median_ms: float


class Client(asyncio.Protocol):
    """One kept connection; `ask` it one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._head: bytes | None = b""
        self._tail = b""
        self._left: int | None = None
        self._good = False
        self._asked_s = 0.0
        self.events = 0
        self.said = ""
        self.first = self._loop.create_future()
        self.first_s = 0.0
        self._done: asyncio.Future[bool] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of this shape without saying so.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(good=False)

    def ask(self, request: bytes) -> asyncio.Future[bool]:
        """Send a request; the future tells whether its answer was a whole 200."""
        self._head, self._tail, self._left, self._good, self.events = b"", b"", None, False, 0
        self.said = "nothing"
        self._done, self.first = self._loop.create_future(), self._loop.create_future()
        self._asked_s = perf_counter()
        if self._transport.is_closing():
            self._end(good=False)
        else:
            self._transport.write(request)
        return self._done

    def pause(self) -> None:
        """Read nothing more for now."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self.said = self._head[:_SAID].decode(errors="replace")
            head, data, self._head = self._head[:end].lower(), self._head[end + 4 :], None
            self._good = head.startswith(_OK)
            _, named, length = head.partition(b"\r\ncontent-length: ")
            self._left = int(length.partition(b"\r\n")[0]) if named else None
        self._body(data)

    def _body(self, data: bytes) -> None:
        joined = self._tail + data
        self.events += joined.count(MARK)
        if self.events and not self.first.done():
            self.first_s = perf_counter() - self._asked_s
            self.first.set_result(None)
        self._tail = joined[1 - len(MARK) :]
        if self._left is None:
            if joined.endswith(b"0\r\n\r\n"):
                self._end(good=self._good)
        else:
            self._left -= len(data)
            if self._left <= 0:
                self._end(good=self._good)

    def _end(self, *, good: bool) -> None:
        if not self.first.done():
            self.first.set_result(None)
        if not self._done.done():
            self._done.set_result(good)


async def measure(order: Order) -> Sample:
    """Carry out an order."""
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(Client, "127.0.0.1", order.port))[1]
        for _ in range(1 if order.kind == "first" else order.connections)
    ]
    try:
        async with asyncio.timeout(order.seconds + _PATIENCE_S):
            match order.kind:
                case "unary":
                    return await _unary(order, clients)
                case "stream":
                    return await _stream(order, clients)
                case "first":
                    return await _first(order, clients[0])
    finally:
        for client in clients:
            client.close()


async def _unary(order: Order, clients: list[Client]) -> Sample:
    """Ask on every connection at an even pace; one that is behind asks at once."""
    request = order.request(Script(1, 1), "application/json")
    took: list[float] = []
    errors: list[str] = []
    open_ = True

    async def ask(client: Client, due_s: float) -> None:
        while open_:
            await asyncio.sleep(due_s - perf_counter())
            asked_s = perf_counter()
            due_s += len(clients) / order.per_s
            if not await client.ask(request) or client.events != 1:
                errors.append(client.said)
                return
            took.append(perf_counter() - asked_s)

    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(ask(client, perf_counter() + number / order.per_s))
        await asyncio.sleep(_WARM_S)
        took.clear()
        began_s, used_s = perf_counter(), cpu_s(order.pid)
        await asyncio.sleep(order.seconds)
        units, used_s, seconds = len(took), cpu_s(order.pid) - used_s, perf_counter() - began_s
        open_ = False
    return Sample(units, tuple(errors), seconds, used_s, 0.0, _median_ms(took))


async def _stream(order: Order, clients: list[Client]) -> Sample:
    """Open a stream on every connection and look at them for a while; all have to end well."""
    # As many events as last longer than the look at them.
    script = Script(max(2, round((order.seconds + _TAIL_S) * order.per_s)), order.per_s)
    request = order.request(script, "text/event-stream")
    empty_bytes = rss_bytes(order.pid)
    ends = [client.ask(request) for client in clients]
    await asyncio.gather(*(client.first for client in clients))
    began_s, used_s, seen = perf_counter(), cpu_s(order.pid), sum(client.events for client in clients)
    await asyncio.sleep(order.seconds)
    used_s, seconds = cpu_s(order.pid) - used_s, perf_counter() - began_s
    units = sum(client.events for client in clients) - seen
    per_stream = (rss_bytes(order.pid) - empty_bytes) / len(clients)
    good = await asyncio.gather(*ends)
    errors = tuple(
        client.said for well, client in zip(good, clients, strict=True) if not well or client.events != script.events
    )
    return Sample(units, errors, seconds, used_s, per_stream, _median_ms([client.first_s for client in clients]))


async def _first(order: Order, client: Client) -> Sample:
    """Open streams of one event, one after the other, and look at the time to that event."""
    request = order.request(Script(1, 1), "text/event-stream")
    took, errors = [], []
    for _ in range(order.connections):
        if not await client.ask(request) or client.events != 1:
            errors.append(client.said)
        took.append(client.first_s)
    return Sample(len(took), tuple(errors), sum(took), 0.0, 0.0, _median_ms(took))


def _median_ms(took_s: list[float]) -> float:
    return sorted(took_s)[len(took_s) // 2] * 1000 if took_s else 0.0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(measure(Order(**orjson.loads(sys.argv[1]))))))
