"""Streams that go on when their caller leaves, for it said `Prefer: detach-on-disconnect`.

The server ends a handler whose connection is lost. Such an invocation is therefore carried by a task of its own, for
which the handler waits while there is a caller. Only an order ends it: a cancel, a suspension, a drain.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final

import structlog
from aiohttp import web

from gateway.original import ORIGINAL, Original
from tenancy.errors import LockgateError

DETACH: Final = "detach-on-disconnect"

_log = structlog.get_logger("gateway.detach")


class Detachments:
    """The invocations of this process that may outlast their callers."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[web.StreamResponse]] = set()

    async def carry(self, request: web.Request, work: Coroutine[None, None, web.StreamResponse]) -> web.StreamResponse:
        """Answer by `work`, which goes on when the handler is ended; raises what it raises."""
        carried = _Carried(request.get(ORIGINAL))
        task = asyncio.get_running_loop().create_task(carried.run(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            carried.left = True
            raise

    async def aclose(self) -> None:
        """End those that no order has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LockgateError):
            _log.warning("detached invocation failed", error=type(error).__name__)


class _Carried:
    """One of them, with the key it holds."""

    def __init__(self, original: Original | None) -> None:
        self._original = original
        self.left = False
        if original is not None:
            original.carried = True

    async def run(self, work: Coroutine[None, None, web.StreamResponse]) -> web.StreamResponse:
        original = self._original
        try:
            return await work
        except BaseException:
            if original is not None and self.left:
                # Nobody is here who could keep the problem as its answer.
                await original.free()
            raise
        finally:
            if original is not None:
                await original.aclose()
