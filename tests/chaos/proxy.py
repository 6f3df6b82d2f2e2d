"""A proxy before a part of the stack, which loses what it is told to lose: requests, answers, everything.

What it passes on goes byte for byte, so that signatures hold. A call whose answer is lost has been carried out, as far
as the part is concerned: its caller cannot know.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NoReturn

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

from tenancy.clock import Clock, SystemClock

_HOPS: Final = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Loss(StrEnum):
    """What becomes of one call."""

    # Carried out, and the connection breaks instead of an answer.
    ANSWER_CUT = "answer_cut"
    # Carried out, and the caller waits for an answer until it gives up.
    ANSWER_HELD = "answer_held"
    # Never carried out.
    REQUEST_CUT = "request_cut"
    # The connection breaks at once, and the call is carried out seconds later.
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was passed on, and when, by the proxy's clock; `status` is what the part answered."""

    target: str
    request: bytes
    status: int
    answer: bytes
    began_s: float
    ended_s: float


Listen = Callable[[Call], None]


@dataclass(slots=True)
class Proxy:
    """One proxy. `loses` is the share of calls that are lost, by what becomes of them."""

    upstream: str
    rng: random.Random
    listen: Listen
    clock: Clock = field(default_factory=SystemClock)
    loses: dict[Loss, float] = field(default_factory=dict)
    late_s: tuple[float, float] = (0.5, 8.0)
    lost: dict[Loss, int] = field(default_factory=dict)
    port: int = 0
    cut: bool = False
    _session: ClientSession | None = None
    _forwarded: set[asyncio.Task[object]] = field(default_factory=set)
    _held: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where callers reach the part."""
        return f"http://127.0.0.1:{self.port}"

    async def drained(self) -> None:
        """Return once nothing is on its way to the part."""
        while self._forwarded:
            await asyncio.wait(set(self._forwarded))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass one request on, or lose it."""
        if self.cut:
            _hang_up(request)
        body = await _read(request)
        if body is None:
            _hang_up(request)
        loss = self._drawn()
        if loss is Loss.REQUEST_CUT:
            _hang_up(request)
        forwarding = asyncio.create_task(self._forward(request, body, late=loss is Loss.LATE))
        self._forwarded.add(forwarding)
        forwarding.add_done_callback(self._done)
        if loss is Loss.LATE:
            _hang_up(request)
        answer = await asyncio.shield(forwarding)
        if loss is Loss.ANSWER_HELD:
            await self._hold()
        if loss is not None or answer is None or self.cut:
            _hang_up(request)
        return answer

    def _drawn(self) -> Loss | None:
        number = self.rng.random()
        for loss, share in self.loses.items():
            number -= share
            if number < 0:
                self.lost[loss] = self.lost.get(loss, 0) + 1
                return loss
        return None

    async def _hold(self) -> None:
        await self.clock.sleep(12)

    async def _forward(self, request: web.BaseRequest, body: bytes, *, late: bool) -> web.Response | None:
        if late:
            await self.clock.sleep(self.rng.uniform(*self.late_s))
        began_s = self.clock.monotonic()
        assert self._session is not None
        try:
            async with self._session.request(
                request.method,
                URL(self.upstream + request.raw_path, encoded=True),
                headers=[(name, value) for name, value in request.headers.items() if name.lower() != "expect"],
                data=body,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer:
                said = await answer.read()
        except (ClientError, TimeoutError):
            return None
        target = request.headers.get("X-Amz-Target", request.method)
        self.listen(Call(target, body, answer.status, said, began_s, self.clock.monotonic()))
        headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOPS)
        return web.Response(status=answer.status, body=said, headers=headers)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._forwarded.discard(task)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Serve on a free loopback port for the block."""
        runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        connector = TCPConnector(limit=0, force_close=True)
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=150), auto_decompress=False
        ) as self._session:
            try:
                yield self
            finally:
                await runner.cleanup()
                for task in set(self._forwarded):
                    task.cancel()
                await asyncio.gather(*self._forwarded, return_exceptions=True)


async def _read(request: web.BaseRequest) -> bytes | None:
    """Return a request's body; None for a caller that is gone."""
    try:
        if "Expect" in request.headers:
            await request.writer.write(_CONTINUE)
        return await request.read()
    except (ConnectionError, ClientError):
        return None


def _hang_up(request: web.BaseRequest) -> NoReturn:
    if request.transport is not None:
        request.transport.abort()
    raise web.HTTPServiceUnavailable
