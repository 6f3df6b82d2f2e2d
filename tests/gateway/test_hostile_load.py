"""More than a process can do: it sheds at once, holds thousands of idle connections, and never buffers for a reader."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.connection import Patience
from gateway.server import Capacity
from gateway.shedding import SAMPLE_S, Overload
from tests.clock import FakeClock
from tests.gateway.hostile import LAST, Answer, Site, answers, everything, gone, site, slow_reader

HELD = b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"
HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
IDLE = 3_000


def overload(clock: FakeClock, *, requests: int = 10, lag_s: float = 0.5) -> Overload:
    return Overload(requests=requests, lag_s=lag_s, clock=clock, metrics=CollectorRegistry())


async def one(server: Site, said: bytes) -> Answer:
    (answer,) = await server.say(said)
    return answer


async def test_one_request_too_many_is_shed_before_anything_is_done_for_it() -> None:
    async with site(capacity=Capacity(requests=2)) as server:
        inside = [await server.connect() for _ in range(2)]
        for _, writer in inside:
            writer.write(HELD)
            await server.held.acquire()
        shed = await one(server, b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (shed.status, shed.code, shed.headers["retry-after"]) == (503, "overloaded", "1")
        assert (await one(server, HEALTH)).status == 200
        assert server.metrics.get_sample_value("lockgate_problems_total", {"code": "overloaded"}) == 1
        server.release.set()
        await inside[0][0].readuntil(b"held")
        assert (await one(server, LAST)).status == 200
        for _, writer in inside:
            await gone(writer)


async def test_a_shed_request_keeps_its_connection_for_the_next_try() -> None:
    async with site(capacity=Capacity(requests=0)) as server:
        first, second = await server.say(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)
        assert (first.code, second.code) == ("overloaded", "overloaded")


def test_one_late_round_of_the_loop_is_no_overload(clock: FakeClock) -> None:
    process = overload(clock, lag_s=0.5)
    process.observe(3.0)
    assert not process.over()
    process.observe(0.6)
    assert process.over()
    process.observe(0.1)
    assert not process.over()


def test_every_request_that_ends_makes_room(clock: FakeClock) -> None:
    process = overload(clock, requests=1)
    process.begun()
    assert process.over()
    process.ended()
    assert not process.over()


class LateClock(FakeClock):
    """A clock whose sleepers wake `late_s` after their time."""

    late_s = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + self.late_s)


async def test_the_loop_is_measured_by_how_late_a_sleep_ends() -> None:
    clock = LateClock()
    process = overload(clock, lag_s=0.5)
    watching = asyncio.create_task(process.watch())
    clock.late_s = 0.6
    await clock.until_sleeping()
    await clock.advance(3 * (SAMPLE_S + 0.6))
    assert process.over()
    clock.late_s = 0.0
    await clock.advance(2.0)
    assert not process.over()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Allow a test as many open sockets as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def crowd(port: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Open connections without number, each having said the same."""
    clients = []
    try:
        for _ in range(IDLE):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(said)
            clients.append(client)
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("said", [b"", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: "])
async def test_thousands_of_idle_connections_harm_nobody(descriptors: None, clock: FakeClock, said: bytes) -> None:
    async with site(clock=clock, patience=Patience(head_s=10)) as server:
        loop = asyncio.get_running_loop()
        opening = crowd(server.port, said)
        before = resident_bytes()
        clients = await loop.run_in_executor(None, opening.__enter__)
        await server.until("lockgate_connections", IDLE)
        assert resident_bytes() - before < IDLE * 15_000
        assert (await one(server, LAST)).body == b"hello"
        await server.until("lockgate_connections", IDLE)
        await clock.advance(12)
        told = [await loop.sock_recv(nonblocking(client), 12) for client in clients[:100]]
        assert set(told) == {b"HTTP/1.1 408" if said else b""}
        await clock.advance(4)
        await server.until("lockgate_connections", 0)
        await loop.run_in_executor(None, opening.__exit__, None, None, None)


async def test_a_slow_reader_of_a_fast_stream_costs_no_memory() -> None:
    async with site() as server:
        before = resident_bytes()
        readers = [slow_reader(server.port, b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(10)]
        for _ in readers:
            await server.held.acquire()
        sent = -1
        while sent < server.sent:
            sent = server.sent
            await server.arrived()
        # The kernel holds some megabytes for each; the process one buffer, and the event that waits to be written.
        assert resident_bytes() - before < len(readers) * 600_000
        assert (await one(server, LAST)).body == b"hello"
        for reader in readers:
            reader.close()
        for _ in readers:
            await server.left.acquire()
        assert server.metric("lockgate_requests_in_flight") == 0


async def test_pipelined_requests_are_not_stored_without_bound() -> None:
    async with site() as server:
        reader, writer = await server.connect()
        writer.write(HELD)
        await server.held.acquire()
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000 + LAST)
        await server.arrived()
        server.release.set()
        assert len(answers(await everything(reader))) == 1_002
        await gone(writer)


def resident_bytes() -> int:
    """Return how much memory this process takes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def nonblocking(client: socket.socket) -> socket.socket:
    """Return the socket, for the event loop."""
    client.setblocking(False)
    return client
