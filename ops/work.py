"""The worker process: drives jobs until it is told to end, then lets the ticks under way finish."""

import asyncio
import os
import secrets
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import structlog
from aiohttp import web

from jobs.execute import Execute
from jobs.lease import Leases
from jobs.worker import JobWorker
from ops import telemetry
from ops.private import PrivatePort
from ops.settings import Settings
from ops.wiring import Floor, floor

# Fargate kills after 120 s.
GRACE_S: Final = 110.0
# A worker that has not looked at the queue for this long is not ready.
SILENCE_S: Final = 15.0

_log = structlog.get_logger("ops.work")


class QueueSilentError(Exception):
    """The worker has not looked at the queue for too long."""


async def work(settings: Settings, *, private_port: int) -> None:
    """Drive jobs, with the private port on loopback, until SIGTERM or SIGINT; then drain and return."""
    told = telemetry.configure(settings, "worker")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(floor(settings))
        told.measured(base.metrics)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        worker = _worker(base, owner)
        port = await _listen(stack, _private(base, worker, stopping), private_port)
        _log.info("working", owner=owner, private_port=port)
        await worker.run(stopping, grace_s=GRACE_S)
    _log.info("ended")


def _worker(base: Floor, owner: str) -> JobWorker:
    execute = Execute(
        base.jobs,
        Leases(base.jobs, base.clock, owner=owner),
        base.queue,
        base.catalog,
        base.runtime,
        clock=base.clock,
        metrics=base.job_metrics,
        poll_s=base.settings.job_poll_s,
    )
    return JobWorker(execute, base.arq, clock=base.clock, metrics=base.job_metrics)


def _private(base: Floor, worker: JobWorker, stopping: asyncio.Event) -> PrivatePort:
    async def polls() -> None:
        if worker.silent_s() > SILENCE_S:
            raise QueueSilentError

    private = base.private(stopping.is_set)
    return replace(private, required={**private.required, "queue": polls})


async def _listen(stack: AsyncExitStack, private: PrivatePort, port: int) -> int:
    runner = web.AppRunner(private.build(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    bound: int = runner.addresses[0][1]
    return bound
