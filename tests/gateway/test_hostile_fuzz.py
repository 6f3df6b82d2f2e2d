"""Bytes that hypothesis makes up, sent to the real server: always parseable answers or a close, never a hang.

Three kinds: bytes at random, requests built from parts that tend to hurt, and proper requests that were damaged.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies import Pace
from gateway.connection import Patience
from tests.gateway.hostile import Answer, Site, answers, everything, gone, site

QUICK = Patience(head_s=0.2, idle_s=0.2, stall_s=0.2, close_s=0.05)
LIMITS = settings(max_examples=120, deadline=None)

METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"PRI", b"", b"\x00"])
TARGETS = st.sampled_from([b"/hello", b"/body", b"*", b"//x", b"http://a/hello", b"/%00", b"", b"/?a=1&a=2", b"\xff"])
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"", b"ICE/1.0"])
LINES = st.tuples(METHODS, TARGETS, VERSIONS).map(b" ".join)
FRAMING = (b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Content-Type")
NAMES = st.sampled_from((*FRAMING, b"X-Request-Id", b"traceparent", b"Authorization", b"Origin", b" Host", b""))
NUMBERS = (b"0", b"3", b"-1", b"1025", b"99999999999999")
CODINGS = (b"chunked", b"gzip, chunked", b"close", b"keep-alive", b"100-continue", b"websocket", b"h2c", b"Upgrade")
VALUES = st.sampled_from((*NUMBERS, *CODINGS, b"a", b"application/json", b"\xff", b"\x00", b"", b"x" * 17_000))
FIELDS = st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=8).map(b"\r\n".join)
BODIES = st.sampled_from(
    [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n", b"0\r\n\r\n", b"1\r\nab", b"0\r\nA: b\r\n\r\n"]
)
BREAKS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
BUILT = st.tuples(LINES, BREAKS, FIELDS, st.just(b"\r\n\r\n"), BODIES).map(b"".join)
PROPER = st.sampled_from(
    [
        b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-1\r\n\r\n",
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]
)
DAMAGE = st.tuples(PROPER, st.integers(0, 200), st.integers(0, 6), st.binary(max_size=6))
DAMAGED = DAMAGE.map(lambda cut: cut[0][: cut[1]] + cut[3] + cut[0][cut[1] + cut[2] :])
SAID = st.lists(st.one_of(st.binary(max_size=300), BUILT, DAMAGED, PROPER), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def server(loop: asyncio.Runner) -> Iterator[Site]:
    opened = site(patience=QUICK, pace=Pace(grace_s=0.1))
    found = loop.run(opened.__aenter__())
    yield found
    loop.run(opened.__aexit__(None, None, None))


async def exchange(server: Site, said: list[bytes], cut: int, *, leave: bool) -> list[Answer]:
    """Send everything in two pieces; read until the server closes, as it has to by itself unless told that is all."""
    whole = b"".join(said)
    reader, writer = await server.connect()
    try:
        writer.write(whole[:cut])
        await asyncio.sleep(0)
        writer.write(whole[cut:])
        if leave:
            writer.write_eof()
        received = await everything(reader)
    finally:
        await gone(writer)
    return answers(received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))


def check(found: list[Answer]) -> None:
    for answer in found:
        assert answer.status in {200, 204, 400, 404, 405, 408, 411, 413, 414, 415, 417, 422, 431}
        if answer.status >= 400 and answer.body:
            assert answer.code


@given(said=SAID, cut=st.integers(0, 400))
@LIMITS
def test_whatever_is_said_the_answers_are_http_or_the_connection_closes(
    loop: asyncio.Runner, server: Site, said: list[bytes], cut: int
) -> None:
    check(loop.run(exchange(server, said, cut, leave=True)))


@given(said=SAID, cut=st.integers(0, 400))
@settings(LIMITS, max_examples=25)
def test_a_caller_that_waits_is_answered_or_closed_in_time(
    loop: asyncio.Runner, server: Site, said: list[bytes], cut: int
) -> None:
    check(loop.run(exchange(server, said, cut, leave=False)))


def test_nothing_is_left_of_all_that(loop: asyncio.Runner, server: Site) -> None:
    loop.run(server.until("lockgate_connections", 0))
    assert server.metric("lockgate_requests_in_flight") == 0
    (answer,) = loop.run(server.say(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert answer.body == b"hello"
