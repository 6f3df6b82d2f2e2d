"""A connection to AgentCore: an asyncio protocol that carries one exchange at a time.

It is given back to its pool only when an answer was read to its end, nothing followed it and the whole request is
out; in every other case it is dropped, so that no caller ever reads another one's answer.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from agents.exchange import Exchange

# Longer bodies go out in pieces, so that sending one holds up nobody else.
PIECE_BYTES: Final = 262_144
# To see whether anything has arrived without taking it or waiting for it; joining flags takes longer than the look.
_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT


class Connection(asyncio.Protocol):
    """One connection; `idle` and `lost` are told when it may be used again, and when it is gone."""

    def __init__(
        self, sock: socket.socket, *, idle: Callable[["Connection"], None], lost: Callable[["Connection"], None]
    ) -> None:
        self._sock = sock
        self._idle = idle
        self._lost = lost
        self._exchange: Exchange | None = None
        self._sending = self._full = False
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are of this shape without saying so.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what is being carried."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(exc)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the exchange they answer."""
        exchange = self._exchange
        if exchange is None:
            # Nobody asked.
            self.abort()
            return
        exchange.feed(data)
        if not exchange.over:
            return
        self._exchange = None
        if exchange.reusable and not (
            self._sending or self._transport.is_closing() or self._transport.get_write_buffer_size()
        ):
            self._idle(self)
        else:
            self.abort()

    def eof_received(self) -> None:
        """Take the end of what AgentCore sends for the end of the connection."""
        self.abort()

    def pause_writing(self) -> None:
        """Wait with the rest of a long body."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with a long body."""
        self._full = False
        if self._exchange is not None:
            self._exchange.wake()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    def is_quiet(self) -> bool:
        """Tell whether an idle connection is as it was left: nothing has arrived on it, not even its end."""
        if self._transport.is_closing():
            return False
        try:
            self._sock.recv(1, _PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def carry(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Send a request and return once its answer has begun; raises RuntimeFaultError."""
        self._exchange = exchange
        if len(body) <= PIECE_BYTES:
            self._transport.write(head + body)
        else:
            await self._send(exchange, head, memoryview(body))
        await exchange.begun()

    async def _send(self, exchange: Exchange, head: bytes, body: memoryview) -> None:
        self._sending = True
        self._transport.write(head)
        for at in range(0, len(body), PIECE_BYTES):
            if exchange.answered:
                # Nobody wants the rest: the connection will not be used again.
                return
            self._transport.write(body[at : at + PIECE_BYTES])
            asyncio.get_running_loop().call_soon(exchange.wake)
            await exchange.woken()
            while self._full and not exchange.answered:
                await exchange.woken()
        self._sending = False
