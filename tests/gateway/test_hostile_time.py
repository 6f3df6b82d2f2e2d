"""Callers that take their time: every connection has a moment at which it ends, whatever it does to put it off.

Time stands still but for what a test moves.
"""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.connection import AHEAD_LIMIT_BYTES, Connection, Patience
from gateway.server import TURNED_AWAY_LIMIT, Capacity
from tests.clock import FakeClock
from tests.gateway.hostile import LAST, Site, answers, everything, gone, site, slow_reader

GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENCE = Patience(head_s=10, idle_s=75, stall_s=120, close_s=2)


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[Site]:
    async with site(clock=clock, patience=PATIENCE) as running:
        yield running


async def passed(server: Site, clock: FakeClock, seconds: float) -> None:
    """Let time pass, once what was sent before has arrived."""
    await server.arrived()
    await clock.advance(seconds)


async def stuck_at(server: Site) -> int:
    """Return how much a flood has written once it can write no more."""
    sent = -1
    while sent < server.sent:
        sent = server.sent
        await server.arrived()
    return sent


async def test_a_connection_that_says_nothing_is_closed_without_a_word(server: Site, clock: FakeClock) -> None:
    reader, writer = await server.connect()
    await passed(server, clock, 9)
    assert server.metric("lockgate_connections") == 1
    await passed(server, clock, 2)
    assert await everything(reader) == b""
    await gone(writer)


@pytest.mark.parametrize("part", [b"G", b"GET /hello HTTP/1.1\r\n", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n"])
async def test_half_a_head_is_answered_408(server: Site, clock: FakeClock, part: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(part)
    await passed(server, clock, 11)
    (answer,) = answers(await everything(reader))
    assert (answer.status, answer.code, answer.headers["connection"]) == (408, "request_timeout", "close")
    await gone(writer)


async def test_a_head_that_is_whole_at_the_last_moment_is_served(server: Site) -> None:
    reader, writer = await server.connect()
    await server.until("lockgate_connections", 1)
    (connection,) = server.connections()
    assert isinstance(connection, Connection)
    connection.data_received(LAST)
    connection.expire()
    (answer,) = answers(await everything(reader))
    assert (answer.status, answer.body) == (200, b"hello")
    await gone(writer)


async def test_a_header_now_and_then_puts_nothing_off(server: Site, clock: FakeClock) -> None:
    reader, writer = await server.connect()
    writer.write(GET.removesuffix(b"\r\n"))
    for _ in range(21):
        writer.write(b"X: y\r\n")
        await passed(server, clock, 0.5)
    (answer,) = answers(await everything(reader))
    assert answer.code == "request_timeout"
    await gone(writer)


async def test_an_idle_connection_is_kept_for_its_time_and_no_longer(server: Site, clock: FakeClock) -> None:
    reader, writer = await server.connect()
    for _ in range(3):
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b"hello")
        await passed(server, clock, 70)
    assert server.metric("lockgate_connections") == 1
    await passed(server, clock, 6)
    assert await everything(reader) == b""
    await gone(writer)


async def test_the_next_head_has_no_more_time_than_the_first(server: Site, clock: FakeClock) -> None:
    reader, writer = await server.connect()
    writer.write(GET)
    await reader.readuntil(b"hello")
    await passed(server, clock, 60)
    writer.write(b"GET /he")
    await passed(server, clock, 11)
    (answer,) = answers(await everything(reader))
    assert answer.code == "request_timeout"
    await gone(writer)


async def test_a_request_under_way_is_never_hurried(server: Site, clock: FakeClock) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)
    await server.held.acquire()
    await passed(server, clock, 400)
    server.release.set()
    held, last = answers(await everything(reader))
    assert (held.body, last.body) == (b"held", b"hello")
    await gone(writer)


async def test_a_caller_that_leaves_ends_what_was_done_for_it(server: Site) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.held.acquire()
    await gone(writer)
    async with asyncio.timeout(10):
        await server.left.acquire()
    await server.until("lockgate_connections", 0)
    assert await reader.read() == b""


async def test_a_reader_that_takes_nothing_is_given_up(server: Site, clock: FakeClock) -> None:
    stuck = slow_reader(server.port, b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.held.acquire()
    await stuck_at(server)
    await passed(server, clock, 119)
    assert server.metric("lockgate_connections") == 1
    # The kernel may have gone on sending for a moment after the process could not: that counts as taken, once.
    await passed(server, clock, 125)
    async with asyncio.timeout(10):
        await server.left.acquire()
    stuck.close()


async def test_a_reader_that_takes_a_little_is_not(server: Site, clock: FakeClock) -> None:
    slow = slow_reader(server.port, b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.held.acquire()
    sent = await stuck_at(server)
    for _ in range(4):
        assert await taken(slow, 5_000) == 5_000
        await passed(server, clock, 100)
    # So little that nothing more could be written to it.
    assert server.sent == sent
    assert server.metric("lockgate_connections") == 1
    slow.close()


async def test_a_reader_that_has_caught_up_may_wait_for_as_long_as_its_stream_does(
    server: Site, clock: FakeClock
) -> None:
    size = 20_000_000
    slow = slow_reader(server.port, b"GET /flood?bytes=%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
    await server.held.acquire()
    assert await stuck_at(server) < size
    assert await taken(slow, size) == size
    await server.arrived()
    await clock.advance(500)
    assert server.metric("lockgate_connections") == 1
    slow.close()


async def taken(client: socket.socket, size: int) -> int:
    """Read so many bytes of an answer."""
    client.setblocking(False)
    left = size
    async with asyncio.timeout(10):
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(client, left))
    return size


async def test_requests_sent_far_ahead_of_answers_end_the_connection(server: Site) -> None:
    _, writer = await server.connect()
    writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.held.acquire()
    writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
    sent = 0
    while server.left.locked() and sent < 4 * AHEAD_LIMIT_BYTES:
        writer.write(b"X: " + b"y" * 8_192 + b"\r\n")
        sent += 8_192
        await server.arrived()
    assert AHEAD_LIMIT_BYTES - 8_192 <= sent <= AHEAD_LIMIT_BYTES + 8_192
    writer.transport.abort()


async def test_a_few_requests_sent_ahead_are_served_in_order(server: Site) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.held.acquire()
    writer.write(GET * 50 + LAST)
    await server.arrived()
    server.release.set()
    held, *ahead = answers(await everything(reader))
    assert (held.body, [answer.body for answer in ahead]) == (b"held", [b"hello"] * 51)
    await gone(writer)


async def test_one_connection_too_many_is_told_so(clock: FakeClock) -> None:
    async with site(clock=clock, patience=PATIENCE, capacity=Capacity(connections=2)) as server:
        inside = [await server.connect() for _ in range(2)]
        await server.until("lockgate_connections", 2)
        reader, writer = await server.connect()
        (answer,) = answers(await everything(reader))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "1")
        assert answer.headers["connection"] == "close"
        await gone(writer)
        inside[0][1].write(LAST)
        assert (await everything(inside[0][0])).endswith(b"hello")
        await server.until("lockgate_connections", 1)
        assert [found.status for found in await server.say(LAST)] == [200]
        for _, end in inside:
            await gone(end)


async def test_those_turned_away_cannot_stay_either(clock: FakeClock) -> None:
    async with site(clock=clock, patience=PATIENCE, capacity=Capacity(connections=0)) as server:
        crowd = [await server.connect() for _ in range(TURNED_AWAY_LIMIT + 10)]
        told = [await reader.read(12) for reader, _ in crowd[:TURNED_AWAY_LIMIT]]
        assert set(told) == {b"HTTP/1.1 503"}
        for reader, _ in crowd[TURNED_AWAY_LIMIT:]:
            assert await everything(reader) == b""
        await passed(server, clock, 3)
        reader, writer = await server.connect()
        assert answers(await everything(reader))[0].status == 503
        for _, end in (*crowd, (reader, writer)):
            await gone(end)
