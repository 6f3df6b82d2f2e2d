"""A light AgentCore: its data plane's wire, and an agent that plays the script its input holds. One process for all.

Usage: `python -m tests.bench.upstream PORT`. It costs a few microseconds an event, so that it never is the bottleneck.
"""

import asyncio
import sys
from contextlib import suppress
from typing import cast

import uvloop

from tests.bench.wire import Script, chunk, event

_SESSION = b"x-amzn-bedrock-agentcore-runtime-session-id: "
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%bx-amzn-requestid: 7f9d3c0e-5a53-4c3e-9a57-0c8f6d1f2b11\r\n"
    b"date: Sun, 01 Jun 2025 12:00:00 GMT\r\n%b\r\n\r\n"
)


class DataPlane(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = b""
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of this shape without saying so.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        head_end = data.find(b"\r\n\r\n") + 4
        head = data[:head_end].lower()
        if head_end < 4 or len(data) < head_end + int(_value(head, b"content-length: ") or 0):
            self._pending = data
            return
        self._pending = b""
        self._answer(head, data[head_end:])

    def _answer(self, head: bytes, body: bytes) -> None:
        session = _value(head, _SESSION)
        echoed = _SESSION + session + b"\r\n" if session else b""
        target = head.partition(b" http/")[0]
        if b"/invocations" in target and b"text/event-stream" in _value(head, b"accept: "):
            kind, framing = b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked"
            self._transport.write(_HEAD % (kind, echoed, framing))
            script = Script.of(body)
            self._play(script, 0, self._loop.time())
        else:
            answer = event(0) if b"/invocations" in target else b"{}"
            self._transport.write(_HEAD % (b"application/json", echoed, b"content-length: %d" % len(answer)) + answer)

    def _play(self, script: Script, index: int, started_s: float) -> None:
        end = chunk(b"") if index + 1 >= script.events else b""
        self._transport.write(chunk(b"data: %b\n\n" % event(index)) + end)
        if not end:
            at_s = started_s + (index + 1) / script.per_s
            self._next = self._loop.call_at(at_s, self._play, script, index + 1, started_s)


def _value(head: bytes, name: bytes) -> bytes:
    at = head.find(b"\r\n" + name)
    return head[at + 2 + len(name) : head.index(b"\r\n", at + 2)] if at >= 0 else b""


async def main(port: int) -> None:
    """Serve on loopback until ended."""
    server = await asyncio.get_running_loop().create_server(DataPlane, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(main(int(sys.argv[1])))
