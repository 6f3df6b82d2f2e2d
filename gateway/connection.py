"""One connection: what may come in on it and until when, below routes and middlewares.

A connection always has a phase and, but for a request being served, a moment at which it is ended. The moments are
plain numbers that the server looks at once a second: ten thousand idle connections cost no timers.

    OPEN      nothing of a request's head is here          closed at its moment, without a word
    HEAD      a part of a head is here                     answered 408 at its moment
    SERVING   a request is being served                    ended only if its reader takes nothing for `stall_s`
    CLOSING   the last word is said; what comes is dropped aborted at its moment
"""

import asyncio
import fcntl
import logging
import math
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final, Protocol, cast

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from gateway.bodies import AWAITS_CONTINUE
from gateway.errors import HeadersTooLargeError, OverloadedError, RequestTimeoutError
from gateway.heads import FIELD_LIMIT_BYTES, FIELDS_LIMIT, HEAD_LIMIT_BYTES, TARGET_LIMIT_BYTES, fault_of_parser
from tenancy.clock import Clock
from tenancy.errors import LockgateError

# Requests sent ahead of answers: who sends more is not served but stored.
AHEAD_LIMIT_BYTES: Final = 65_536
# The rest of a body that nobody read: so much is read and dropped to keep the connection, for at most `close_s`.
LEFTOVER_LIMIT_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take for what, in seconds."""

    head_s: float = 10.0
    # Longer than a load balancer keeps an idle connection (ALB: 60 s), else it sends into a closing one.
    idle_s: float = 75.0
    stall_s: float = 120.0
    close_s: float = 2.0


class Phase(Enum):
    """What a connection is waiting for."""

    OPEN = "open"
    HEAD = "head"
    SERVING = "serving"
    CLOSING = "closing"


class Keeper(Protocol):
    """What the connections of one server share."""

    patience: Patience
    clock: Clock

    def entered(self, connection: "Connection") -> bool:
        """Take note of a connection; False where it is one too many."""
        ...

    def left(self, connection: "Connection") -> None:
        """Forget a connection."""
        ...

    def answer(self, request: web.BaseRequest, error: BaseException) -> web.Response:
        """Return the problem that a request is answered with which reached no route."""
        ...

    def last_word(self, error: LockgateError) -> bytes:
        """Return the whole answer to what is no request yet."""
        ...


class Connection(web.RequestHandler):
    """A connection of the public API."""

    __slots__ = (
        "_ahead",
        "_broken",
        "_content",
        "_head_bytes",
        "_keeper",
        "_phase",
        "_unsent",
        "_wire",
        "deadline_s",
        "fault",
    )

    def __init__(self, keeper: Keeper, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            # None is how it is switched off, which its type does not know.
            access_log=cast("logging.Logger", None),
            auto_decompress=False,
            max_line_size=TARGET_LIMIT_BYTES,
            max_field_size=FIELD_LIMIT_BYTES,
            max_headers=FIELDS_LIMIT,
            lingering_time=keeper.patience.close_s,
        )
        self._keeper = keeper
        self._wire: asyncio.Transport | None = None
        self._content: StreamReader | None = None
        self._phase = Phase.OPEN
        self._broken = False
        self._head_bytes = self._ahead = self._unsent = 0
        self.deadline_s = math.inf
        # What is wrong with the request being served.
        self.fault: LockgateError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say at once that there is no room."""
        self._wire = cast("asyncio.Transport", transport)
        if self._keeper.entered(self):
            super().connection_made(transport)
            self._wait(Phase.OPEN, self._keeper.patience.head_s)
        else:
            self._say(OverloadedError())

    def connection_lost(self, exc: BaseException | None) -> None:
        """End whatever is being served on the connection."""
        self._keeper.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser while there are not too many of them."""
        if self._phase is Phase.CLOSING or self._broken or not self._room_for(data):
            return
        super().data_received(data)
        if self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._break_off()

    def begin(self, content: StreamReader) -> int:
        """Take note that a request is being served; return how many bytes came until it was."""
        received, self._head_bytes, self._ahead = self._head_bytes, 0, 0
        self._content, self._phase, self.deadline_s = content, Phase.SERVING, math.inf
        return received

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, or no middleware caught; nothing of the request is quoted or logged."""
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun")
        parser = status == HTTPStatus.BAD_REQUEST
        response = self._keeper.answer(request, fault_of_parser(exc) if parser else exc or RuntimeError(message))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, then wait for the next request."""
        if self._broken or _leaves_much_unread(request):
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if self._broken:
            # What is still on its way here would make the kernel take the answer back.
            self.transport = None
            self._hang_up()
        else:
            self._wait(Phase.OPEN, self._keeper.patience.idle_s)
        return finished

    def pause_writing(self) -> None:
        """Begin to watch a reader that does not keep up."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Let a reader be that has caught up."""
        super().resume_writing()
        if self._phase is Phase.SERVING:
            self.deadline_s = math.inf

    def expire(self) -> None:
        """Do what is due: the connection's moment has come."""
        match self._phase:
            case Phase.OPEN:
                self.close()
                self._hang_up()
            case Phase.HEAD if self._messages:
                # The rest came at the last moment: the request is about to begin.
                pass
            case Phase.HEAD:
                self._say(RequestTimeoutError())
            case Phase.SERVING if self._unsent_bytes() < self._unsent:
                self._watch_reader()
            case _:
                self.abort()

    def _room_for(self, data: bytes) -> bool:
        """Tell whether more bytes may come in; ends the connection where they may not."""
        if not data or (self._content is not None and not self._content.is_eof()):
            # A body is bounded by who reads it.
            return True
        if self._phase is Phase.SERVING:
            self._ahead += len(data)
            if self._ahead > AHEAD_LIMIT_BYTES:
                self.abort()
                return False
            return True
        if self._phase is Phase.OPEN:
            self._wait(Phase.HEAD, self._keeper.patience.head_s)
        elif self._head_bytes > HEAD_LIMIT_BYTES:
            self._say(HeadersTooLargeError())
            return False
        self._head_bytes += len(data)
        return True

    def _watch_reader(self) -> None:
        self._unsent = self._unsent_bytes()
        if self._phase is Phase.SERVING:
            self._wait(Phase.SERVING, self._keeper.patience.stall_s)

    def _unsent_bytes(self) -> int:
        """Return how much the reader has not taken, what the kernel holds for it counted in."""
        if self._wire is None:
            return 0
        unsent = self._wire.get_write_buffer_size()
        with suppress(OSError):
            queued = fcntl.ioctl(self._wire.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            unsent += int.from_bytes(queued, sys.byteorder)
        return unsent

    def _wait(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self.deadline_s = self._keeper.clock.monotonic() + seconds

    def _break_off(self) -> None:
        """Read no further: where this request ends, and the next begins, cannot be told."""
        self._broken = True
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(web.RequestPayloadError("malformed"))
            self._content.feed_eof()

    def _say(self, error: LockgateError) -> None:
        """Answer what is no request yet, and close."""
        if self._wire is not None:
            self._wire.write(self._keeper.last_word(error))
        self.close()
        self._hang_up()

    def _hang_up(self) -> None:
        """Say that no more is coming and give the caller a moment to read; then nothing is left of the connection."""
        self._wait(Phase.CLOSING, self._keeper.patience.close_s)
        if self._wire is not None:
            # The caller may have reset the connection a moment ago.
            with suppress(OSError):
                self._wire.write_eof()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._wire is not None:
            self._wire.abort()


def _leaves_much_unread(request: web.BaseRequest) -> bool:
    """Tell whether more of the body is left than is worth reading only to keep the connection."""
    if request.content.is_eof():
        return False
    return AWAITS_CONTINUE in request or (request.content_length or math.inf) > LEFTOVER_LIMIT_BYTES
