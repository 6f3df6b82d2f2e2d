"""The gateway process: serves until it is told to end, then drains."""

import asyncio
import gc
import signal
from contextlib import AsyncExitStack
from typing import Final

import structlog
from aiohttp import web

from gateway.app import build
from ops import telemetry
from ops.settings import Settings
from ops.wiring import gateway

GRACE_S: Final = 110.0
# After the drain every stream has had its last word; this is for connections that do not read it.
CLOSE_S: Final = 5.0
HEADER_LIMIT_BYTES: Final = 16_384

_log = structlog.get_logger("ops.serve")


async def serve(settings: Settings, *, host: str, port: int, private_port: int) -> None:
    """Serve the API on `host:port` and the private port on loopback until SIGTERM or SIGINT, then drain and return."""
    telemetry.configure(settings, "gateway")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(gateway(settings))
        await _listen(stack, process.private.build(), "127.0.0.1", private_port)
        public = await _listen(stack, build(process.parts), host, port)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.freeze()
        _log.info("serving", host=host, port=port, private_port=private_port)
        await stopping.wait()
        _log.info("draining", live=len(process.live))
        for site in list(public.sites):
            await site.stop()
        await process.live.drain(GRACE_S)
    _log.info("ended")


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> web.AppRunner:
    runner = web.AppRunner(
        app,
        # Without it a caller that leaves while the agent is silent would never be noticed.
        handler_cancellation=True,
        access_log=None,
        max_line_size=HEADER_LIMIT_BYTES,
        max_field_size=HEADER_LIMIT_BYTES,
        auto_decompress=False,
        shutdown_timeout=CLOSE_S,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, backlog=1024).start()
    return runner
