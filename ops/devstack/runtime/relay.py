"""One answer on its way from the agent to the caller: byte for byte, as it comes, never gathered.

Before the first byte everything that goes wrong is an error answer; after it, the connection is closed without the
end of the body, so that a cut answer can never be taken for a whole one. When the caller leaves, the connection to
the agent is closed, and the agent goes on or not as its own code decides.
"""

import asyncio
import signal
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from ops.devstack.runtime.deadline import Deadline
from ops.devstack.runtime.errors import AgentFaultError, AgentTimeoutError
from ops.devstack.runtime.faults import Fault, hang
from ops.devstack.runtime.headers import towards_caller
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.session import Session
from tenancy.clock import Clock

_GARBAGE = b"\x15\x03\x01\x00 this is not HTTP \xff\xfe\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _CutError(Exception):
    """The answer ends here, whatever of it was sent."""


@dataclass(slots=True)
class Relay:
    """Carries one invocation."""

    session: Session
    asked: CIMultiDict[str]
    body: bytes
    fault: Fault | None
    limits: Limits
    clock: Clock

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Answer `request` with the agent's answer; raises RuntimeApiError while nothing is sent yet."""
        answer = web.StreamResponse()
        try:
            async with Deadline(self.clock, self.limits.sync_s) as deadline:
                with self.session.serving(deadline):
                    await self._carry(request, answer, deadline)
        except TimeoutError:
            if not answer.prepared and not _closing(request):
                raise AgentFaultError.answered(500) if deadline.was_cut else AgentTimeoutError from None
            _close(request)
        except (aiohttp.ClientError, OSError) as error:
            if not answer.prepared and not _closing(request):
                raise AgentFaultError.answered(500) from error
            _close(request)
        except _CutError:
            _close(request)
        return answer

    async def _carry(self, request: web.Request, answer: web.StreamResponse, deadline: Deadline) -> None:
        await self._meet_fault(request, None)
        async with self.session.post(self.body, self.asked) as upstream:
            if not HTTPStatus.OK <= upstream.status < HTTPStatus.MULTIPLE_CHOICES:
                raise AgentFaultError.answered(upstream.status)
            if upstream.content_type == "text/event-stream":
                deadline.restart(self.limits.stream_s)
            answer.headers.update(towards_caller(upstream.headers, self.asked, self.session.key.session_id))
            await answer.prepare(request)
            async for chunk in self._chunks(request, upstream.content):
                await answer.write(chunk)
            await answer.write_eof()

    async def _chunks(self, request: web.Request, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in content.iter_any():
            after = self.fault.after_bytes if self.fault is not None else None
            if after is not None and sent + len(chunk) >= after:
                yield chunk[: after - sent]
                await self._meet_fault(request, after)
            sent += len(chunk)
            if sent > self.limits.payload_bytes:
                raise _CutError
            yield chunk

    async def _meet_fault(self, request: web.Request, reached: int | None) -> None:
        """Meet the fault if it is due at this many bytes; it never lets the answer go on."""
        fault = self.fault
        if fault is None or fault.after_bytes != reached:
            return
        if fault.kind == "crash":
            process = self.session.running()
            process.signal(signal.SIGKILL)
            await asyncio.shield(process.exited)
            raise ConnectionResetError
        if fault.kind == "hang":
            await hang()
        transport = request.transport
        if transport is not None and fault.kind == "garbage":
            transport.write(_GARBAGE)
        elif transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        raise _CutError


def _closing(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()
