"""Bodies that are too large, too slow, packed, broken or withheld: asked for last, refused first."""

import socket
from collections.abc import AsyncIterator

import pytest

from gateway.bodies import Pace
from tests.gateway.hostile import BODY_LIMIT, LAST, Site, gone, site

HEAD = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
EXPECTS = HEAD + b"Expect: 100-continue\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Site]:
    async with site() as running:
        yield running


async def test_a_body_is_taken_by_its_length_or_in_chunks(server: Site) -> None:
    whole, chunked, _ = await server.say(
        HEAD + b"Content-Length: 3\r\n\r\nabc" + CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: x\r\n\r\n" + LAST
    )
    assert (whole.body, chunked.body) == (b"3", b"3")


@pytest.mark.parametrize("size", [70_000, 1_000_000])
async def test_a_large_body_in_pieces_is_no_flood(server: Site, size: int) -> None:
    head = HEAD.replace(b"/body", b"/upload") + b"Content-Length: %d\r\n\r\n" % size
    answer, _ = await server.say(head, b"x" * (size // 2), b"x" * (size // 2) + LAST)
    assert answer.body == b"%d" % size


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (b"", 411, "length_required"),
        (b"Content-Length: 3\r\nContent-Encoding: gzip\r\n", 415, "content_encoding_unsupported"),
        (b"Transfer-Encoding: chunked\r\nContent-Encoding: identity\r\n", 415, "content_encoding_unsupported"),
        (b"Content-Length: 1025\r\n", 413, "body_too_large"),
        (b"Content-Length: 100000000000000\r\n", 413, "body_too_large"),
    ],
)
@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_will_not_be_taken_is_refused_before_it_is_sent(
    server: Site, headers: bytes, status: int, code: str, expects: bytes
) -> None:
    (answer,) = await server.say(HEAD + headers + expects + b"Connection: close\r\n\r\n")
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("target", [b"/nowhere", b"/hello"])
async def test_nothing_is_asked_for_where_nothing_takes_it(server: Site, target: bytes) -> None:
    said = b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    (answer,) = await server.say(said)
    assert answer.status in (404, 405)
    assert answer.headers["connection"] == "close"


async def test_a_body_is_asked_for_once_all_before_it_is_right(server: Site) -> None:
    reader, writer = await server.connect()
    writer.write(EXPECTS + b"Content-Length: 3\r\nConnection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == CONTINUE
    writer.write(b"abc")
    assert (await reader.read()).endswith(b"\r\n\r\n3")
    await gone(writer)


async def test_a_body_that_grows_too_large_in_chunks_is_cut_off(server: Site) -> None:
    (answer,) = await server.say(CHUNKED + b"%x\r\n" % (BODY_LIMIT + 1) + b"x" * (BODY_LIMIT + 1))
    assert (answer.status, answer.code, answer.headers["connection"]) == (413, "body_too_large", "close")


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1\nx\n", b"f" * 17, b"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"]
)
async def test_chunks_that_go_wrong_end_the_request_and_its_connection(server: Site, chunks: bytes) -> None:
    (answer,) = await server.say(CHUNKED, chunks + LAST)
    assert (answer.status, answer.code) == (400, "body_malformed")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("framing", [b"Content-Length: 500\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_that_does_not_come_is_not_waited_for(framing: bytes) -> None:
    async with site(pace=Pace(grace_s=0.05)) as server:
        (answer,) = await server.say(HEAD + framing)
        assert (answer.status, answer.code) == (408, "request_timeout")


async def test_a_body_buys_time_by_what_came_of_it() -> None:
    # Two hundred bytes buy a minute: only this body can outlive a grace that is over at once.
    async with site(pace=Pace(grace_s=0.2, bytes_per_s=3)) as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"Content-Length: 201\r\nConnection: close\r\n\r\n" + b"x" * 200)
        (given_up,) = await server.say(HEAD + b"Content-Length: 201\r\n\r\n")
        assert given_up.status == 408
        writer.write(b"x")
        assert (await reader.read()).endswith(b"201")
        await gone(writer)


@pytest.mark.parametrize("part", [b"Content-Length: 5\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n5\r\nx"])
async def test_a_caller_that_leaves_inside_its_body_leaves_nothing_behind(server: Site, part: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(HEAD + part)
    writer.write_eof()
    assert await reader.read() == b""
    await gone(writer)
    assert server.metric("lockgate_connections") == 0
    assert server.metric("lockgate_requests_in_flight") == 0


async def test_the_rest_of_a_small_body_nobody_read_keeps_the_connection(server: Site) -> None:
    first, second = await server.say(
        b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", b"x" * 60_000 + LAST
    )
    assert (first.status, second.status) == (200, 200)


async def test_the_rest_of_a_large_body_nobody_read_ends_the_connection(server: Site) -> None:
    (answer,) = await server.say(b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + LAST)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_a_refusal_is_read_even_by_who_goes_on_sending(server: Site) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 30_000)
        for _ in range(3):
            # A connection closed by now would be reset, and the client would never get to read.
            await server.arrived()
            client.sendall(b"y" * 30_000)
        assert client.recv(16) == b"HTTP/1.1 431 Req"
