"""The gateway process: serves until it is told to end, then drains.

Whoever has connected before the order is served: the door closes only when nobody waits in it any more, what comes on
open connections is answered and its connection closed. What still runs when the grace is over is ended, with a reason.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from os import EX_SOFTWARE
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from gateway.app import build
from gateway.server import Capacity, hosted
from ops import telemetry
from ops.beside import running
from ops.gateway_process import GatewayProcess, gateway
from ops.lifeline import DRAINING, SERVING, Lifeline, Place
from ops.listen import Door, bind
from ops.settings import Settings
from ops.telemetry import Telemetry
from tenancy.clock import SystemClock

# What the grace has not ended is stopped within this time; an agent's runtime may take longer, a container may not.
END_S: Final = 3.0
# After the drain every stream has had its last word; this is for connections that do not read it.
CLOSE_S: Final = 3.0
# For stores, logs and connections to them.
SPARE_DESCRIPTORS: Final = 500

# Objects made between two looks for cycles. A request makes some thousand and leaves none in a cycle: looked for as
# often as Python does by itself, what thousands of open streams hold is gone through again and again for nothing.
GARBAGE: Final = 20_000

_log = structlog.get_logger("ops.serve")

MakeSite = Callable[[web.AppRunner], web.BaseSite]


@dataclass(frozen=True, slots=True)
class Orders:
    """The order to end, and who is told how it goes."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tell: Callable[[bytes], None] = lambda _: None


async def serve(settings: Settings, *, host: str, port: int, private_port: int) -> None:
    """Serve the API on `host:port` and the private port on loopback until SIGTERM or SIGINT, then drain and return.

    Raises PortTakenError.
    """
    told, orders = telemetry.configure(settings, "gateway"), Orders()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, orders.stopping.set)
    # Both are taken before anything is built: a port that is not free is said at once.
    with bind(host, port) as public, bind("127.0.0.1", private_port) as private:
        await _serve(settings, told, orders, public, lambda runner: web.SockSite(runner, private))


async def serve_as_worker(settings: Settings, place: Place) -> None:
    """Serve as one of several workers: on an inherited socket, until SIGTERM or the parent's word; then drain."""
    told, lifeline = telemetry.configure(settings, f"gateway-{place.slot}"), Lifeline(place.lifeline)
    orders = Orders(tell=lifeline.tell)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, orders.stopping.set)
    for number in (signal.SIGINT, signal.SIGHUP):
        # A terminal sends these to all of its processes; the parent decides what they mean.
        signal.signal(number, signal.SIG_IGN)
    lifeline.on_end(orders.stopping.set)
    path = str(place.private)
    metrics = await _serve(settings, told, orders, place.socket(), lambda runner: web.UnixSite(runner, path))
    # What was counted to the last moment stays in the sum of all workers.
    place.last_metrics.write_bytes(generate_latest(metrics))


async def _serve(
    settings: Settings, told: Telemetry, orders: Orders, public: socket.socket, private: MakeSite
) -> CollectorRegistry:
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(gateway(settings))
        await stack.enter_async_context(running(_end_if_lost(process.standing.lost, told)))
        told.measured(process.private.metrics)
        door = await _listen(stack, settings, process, public, private)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.freeze()
        gc.set_threshold(GARBAGE, 20, 20)
        orders.tell(SERVING)
        _log.info("serving")
        await orders.stopping.wait()
        orders.tell(DRAINING)
        await _drain(process, door, settings.drain_grace_s)
    _log.info("ended")
    return process.private.metrics


async def _end_if_lost(lost: asyncio.Event, told: Telemetry) -> None:
    """End at once when others carry on what this process was serving: what it still said would stand against them."""
    await lost.wait()
    told.close()
    os._exit(EX_SOFTWARE)


async def _listen(
    stack: AsyncExitStack, settings: Settings, process: GatewayProcess, public: socket.socket, private: MakeSite
) -> Door:
    inner = web.AppRunner(process.private.build(), access_log=None)
    await inner.setup()
    stack.push_async_callback(inner.cleanup)
    await private(inner).start()
    door = Door(await stack.enter_async_context(_hosted(process, settings)), public, SystemClock())
    await door.open()
    return door


def _hosted(process: GatewayProcess, settings: Settings) -> AbstractAsyncContextManager[web.BaseRunner]:
    return hosted(
        build(process.parts),
        edge=process.parts.edge,
        clock=SystemClock(),
        metrics=process.private.metrics,
        capacity=_capacity(settings),
        close_s=CLOSE_S,
    )


def _capacity(settings: Settings) -> Capacity:
    """Return what the settings allow, within the descriptors the system grants: a stream takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.max_connections + SPARE_DESCRIPTORS
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return Capacity(
        connections=max(1, (granted - SPARE_DESCRIPTORS) // 2),
        requests=settings.max_requests,
        lag_s=settings.max_loop_lag_s,
    )


async def _drain(process: GatewayProcess, door: Door, grace_s: float) -> None:
    process.live.drain()
    _log.info("draining", live=len(process.live))
    await door.close()
    try:
        async with asyncio.timeout(grace_s):
            await door.emptied()
            # Some go on without a caller.
            await process.live.idle()
    except TimeoutError:
        _log.warning("grace over", live=len(process.live))
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.live.end()
