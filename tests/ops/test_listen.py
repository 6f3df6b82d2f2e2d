"""The door of a server: nobody who has connected is lost when it closes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from aiohttp import web

from ops.errors import PortTakenError
from ops.listen import Door, bind
from tenancy.clock import SystemClock
from tests.clock import FakeClock

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving(word: str) -> AsyncIterator[web.AppRunner]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=word)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def connected(port: int, said: bytes = REQUEST) -> socket.socket:
    """Connect without giving the event loop a turn."""
    caller = socket.create_connection((HOST, port))
    caller.sendall(said)
    caller.setblocking(False)
    return caller


async def answer_to(caller: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 4096), 10)


async def test_whoever_waits_in_the_queue_when_the_door_closes_is_served() -> None:
    with bind(HOST, 0) as bound, ExitStack() as callers:
        port = bound.getsockname()[1]
        async with serving("served") as runner:
            door = Door(runner, bound, SystemClock())
            await door.open()
            waiting = [callers.enter_context(connected(port)) for _ in range(50)]
            await door.close()
            answers = [await answer_to(caller) for caller in waiting]
            assert [answer.endswith(b"served") for answer in answers] == [True] * 50
            with pytest.raises(ConnectionRefusedError):
                connected(port)


async def test_a_successor_on_the_same_socket_serves_whoever_comes_after_the_door_has_closed() -> None:
    with bind(HOST, 0, shared=True) as held, ExitStack() as callers:
        port = held.getsockname()[1]
        async with serving("old") as old, serving("new") as new:
            door = Door(old, held.dup(), SystemClock())
            await door.open()
            await door.close()
            waiting = callers.enter_context(connected(port))
            successor = Door(new, held.dup(), SystemClock())
            await successor.open()
            assert (await answer_to(waiting)).endswith(b"new")
            await successor.close()


async def test_a_connection_that_says_nothing_is_closed_after_a_moment(clock: FakeClock) -> None:
    with bind(HOST, 0) as bound, ExitStack() as callers:
        async with serving("served") as runner:
            door = Door(runner, bound, clock)
            await door.open()
            silent = callers.enter_context(connected(bound.getsockname()[1], b""))
            await door.close()
            emptied = asyncio.create_task(door.emptied())
            await asyncio.wait_for(clock.until_sleeping(), 10)
            assert not emptied.done()
            passing = asyncio.create_task(clock.run())
            await asyncio.wait_for(emptied, 10)
            passing.cancel()
            assert await answer_to(silent) == b""


async def test_a_request_under_way_keeps_the_server_from_being_empty(clock: FakeClock) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await go.wait()
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    with bind(HOST, 0) as bound, ExitStack() as callers:
        door = Door(runner, bound, clock)
        await door.open()
        caller = callers.enter_context(connected(bound.getsockname()[1]))
        await asked.wait()
        await door.close()
        emptied = asyncio.create_task(door.emptied())
        await asyncio.wait_for(clock.until_sleeping(), 10)
        await clock.advance(60)
        assert not emptied.done()
        go.set()
        assert (await answer_to(caller)).endswith(b"late")
        passing = asyncio.create_task(clock.run())
        await asyncio.wait_for(emptied, 10)
        passing.cancel()
        await runner.cleanup()


def test_a_port_of_another_program_is_refused_by_name() -> None:
    with bind(HOST, 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            bind(HOST, port)


def test_a_port_that_is_shared_cannot_be_had_alone() -> None:
    with bind(HOST, 0, shared=True) as one:
        one.listen()
        port = one.getsockname()[1]
        bind(HOST, port, shared=True).close()
        with pytest.raises(PortTakenError):
            bind(HOST, port)
