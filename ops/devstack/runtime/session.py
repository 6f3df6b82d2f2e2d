"""One session of one runtime version: its process, the calls in flight, and its way from start to end.

A session never changes its version or its process: what comes after it, under the same id, is another session.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import aiohttp
from multidict import CIMultiDict
from pydantic import ValidationError

from ops.devstack.runtime.deadline import Deadline
from ops.devstack.runtime.errors import AgentFaultError
from ops.devstack.runtime.forkserver import AgentProcess, ForkOrder, ForkServer
from ops.devstack.runtime.lifecycle import EndReason, Observed, Ping, Rules, verdict
from ops.devstack.runtime.limits import Limits
from tenancy.clock import Clock

State = Literal["starting", "ready", "ending"]
_log = logging.getLogger(__name__)
_RETRY_PING_S = 0.1
_HOST = "http://localhost"
_FOR_EVER = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What AWS gives a microVM to: a runtime and a session id."""

    runtime_id: str
    session_id: str


class Session:
    """A session from the order for its process to the process's end."""

    def __init__(
        self, key: SessionKey, version: int, *, order: ForkOrder, rules: Rules, limits: Limits, clock: Clock
    ) -> None:
        self.key = key
        self.version = version
        self.boot = secrets.token_hex(8)
        self.state: State = "starting"
        self.created_at = clock.now()
        self.seen = Observed.new(clock.monotonic())
        self.process: AgentProcess | None = None
        self.to_end: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self._order = order
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(order.socket, limit=0),
            auto_decompress=False,
            timeout=_FOR_EVER,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        self._rules = rules
        self._limits = limits
        self._clock = clock
        self._in_flight: set[Deadline] = set()

    @property
    def is_ready(self) -> bool:
        """Tell whether invocations may be sent; a process that died is noticed before its end is dealt with."""
        return self.state == "ready" and self.process is not None and not self.process.exited.done()

    async def start(self, server: ForkServer, extra_delay_s: float) -> None:
        """Bring the process up until its /ping answers 200; raises AgentFaultError."""
        try:
            async with Deadline(self._clock, self._limits.start_s):
                self.process = await server.fork(self._order)
                if extra_delay_s:
                    await self._clock.sleep(extra_delay_s)
                # Where later pings are compared with: the first one is not a change.
                self.seen.ping = await self._until_healthy(self.process)
        except TimeoutError:
            raise AgentFaultError.not_ready(self._limits.start_s) from None
        self.state = "ready"
        self.seen.ended_at = self._clock.monotonic()

    async def watch(self) -> EndReason:
        """Ping the process until something ends the session, and return what."""
        process = self.running()
        while True:
            look = asyncio.get_running_loop().create_task(self._look())
            events: tuple[asyncio.Future[Any], ...] = (look, self.to_end, process.exited)
            try:
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            finally:
                look.cancel()
                await asyncio.wait({look})
            if process.exited.done():
                return "exited"
            if self.to_end.done():
                return self.to_end.result()
            if (end := look.result()) is not None:
                return end

    async def end(self, grace_s: float) -> None:
        """Cut what is in flight and end the process: SIGTERM, and SIGKILL after the grace (at once for none)."""
        self.state = "ending"
        for deadline in self._in_flight:
            deadline.cut()
        process = self.process
        if process is None:
            return
        try:
            if grace_s:
                process.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with Deadline(self._clock, grace_s):
                        await asyncio.shield(process.exited)
        finally:
            # Also where who waits is told to end meanwhile: nothing outlives its session.
            process.signal(signal.SIGKILL)
        await asyncio.shield(process.exited)

    async def aclose(self) -> None:
        """Let go of the connections to the process."""
        await self._http.close()

    @property
    def closed(self) -> bool:
        """Whether the connections to the process are let go of."""
        return self._http.closed

    def ask_to_end(self, reason: EndReason) -> None:
        """Let `watch` return; the first reason counts."""
        if not self.to_end.done():
            self.to_end.set_result(reason)

    @contextlib.contextmanager
    def serving(self, deadline: Deadline) -> Iterator[None]:
        """Count an invocation as in flight; the session's end cuts its deadline."""
        self._in_flight.add(deadline)
        self.seen.in_flight += 1
        try:
            yield
        finally:
            self._in_flight.discard(deadline)
            self.seen.invocation_ended(self._clock.monotonic())

    @contextlib.asynccontextmanager
    async def post(self, body: bytes, headers: CIMultiDict[str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send an invocation to the process; entered once its status line has arrived."""
        url = f"{_HOST}/invocations"
        async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            yield answer

    def running(self) -> AgentProcess:
        """Return the process; raises AgentFaultError for a session without one."""
        if self.process is None:
            raise AgentFaultError.answered(500)
        return self.process

    async def _until_healthy(self, process: AgentProcess) -> Ping:
        while (ping := await self._ping(_FOR_EVER)) is None:
            if process.exited.done():
                _log.warning("agent process %d of %s ended with %d", process.pid, self.key, process.exited.result())
                raise AgentFaultError.answered(500)
            await self._pause(_RETRY_PING_S, process)
        return ping

    async def _pause(self, seconds: float, process: AgentProcess) -> None:
        """Sleep, or less if the process ends."""
        pause = asyncio.get_running_loop().create_task(self._clock.sleep(seconds))
        ends: tuple[asyncio.Future[Any], ...] = (pause, process.exited)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()

    async def _look(self) -> EndReason | None:
        await self._clock.sleep(self._limits.ping_every_s)
        # The machine's own time: how long a process on it may take to answer, whatever clock sessions live by.
        ping = await self._ping(aiohttp.ClientTimeout(total=self._limits.ping_timeout_s))
        now = self._clock.monotonic()
        self.seen.pinged(ping, now)
        return verdict(self.seen, self._rules, now)

    async def _ping(self, timeout: aiohttp.ClientTimeout) -> Ping | None:  # noqa: ASYNC109 - aiohttp's own value
        try:
            async with self._http.get(f"{_HOST}/ping", timeout=timeout) as answer:
                return Ping.model_validate_json(await answer.read()) if answer.status == HTTPStatus.OK else None
        except (aiohttp.ClientError, OSError, ValidationError):
            return None
