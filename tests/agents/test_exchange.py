"""An answer as it comes over the wire, cut anywhere, broken anyhow."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import RuntimeBrokenError, RuntimeFaultError, RuntimeTimeoutError, StreamInterruptedError
from agents.exchange import HEAD_LIMIT_BYTES, UNREAD_LIMIT_BYTES, Exchange
from tests.agents.upstream import chunk, chunked, http

OK = b"HTTP/1.1 200 OK\r\n"


class Wire:
    """What an exchange has done to its connection."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def pause(self) -> None:
        self.done.append("paused")

    def resume(self) -> None:
        self.done.append("resumed")

    def abort(self) -> None:
        self.done.append("aborted")


def opened(wire: Wire | None = None, *, begin_s: float = 20, total_s: float = 20) -> Exchange:
    return Exchange(wire or Wire(), begin_s=begin_s, total_s=total_s)


async def read(exchange: Exchange) -> bytes:
    body = b""
    while part := await exchange.part():
        body += part
    return body


async def fault_of(exchange: Exchange) -> type[RuntimeFaultError]:
    with pytest.raises(RuntimeFaultError) as raised:
        await exchange.begun()
        await read(exchange)
    return type(raised.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 400), max_size=8))
async def test_an_answer_is_the_same_wherever_the_network_cuts_it(parts: list[bytes], cuts: list[int]) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" + chunked() + b"".join(map(chunk, parts)) + b"0\r\nx-sum: 1\r\n\r\n"
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    exchange = opened()
    for begin, end in pairwise(places):
        exchange.feed(wire[begin:end])
    await exchange.begun()
    assert (exchange.status, exchange.header(b"x-sum"), exchange.over, exchange.reusable) == (200, None, True, True)
    assert exchange.header(b"content-type") == "text/event-stream; charset=utf-8"
    assert await read(exchange) == b"".join(parts)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
async def test_whatever_comes_an_exchange_ends_when_its_connection_does(wire: bytes) -> None:
    exchange = opened()
    exchange.feed(wire)
    exchange.lost(None)
    assert await fault_of(exchange) is RuntimeBrokenError


async def test_what_came_with_interim_answers_is_not_the_answers() -> None:
    exchange = opened()
    exchange.feed(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
    assert not exchange.answered
    exchange.feed(http(200, 1))
    assert (exchange.header(b"link"), await read(exchange)) == (None, b"1")


@pytest.mark.parametrize(
    "head",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
        OK + b"content-length: +1\r\n\r\n",
        OK + b"content-length : 1\r\n\r\n",
        OK + b"x: a\r\n b\r\ncontent-length: 1\r\n\r\n",
        OK + b"x: a\0\r\ncontent-length: 1\r\n\r\n",
        OK + b"content-length: 1\n\n",
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_no_answer(head: bytes) -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(head + b"1")
    assert await fault_of(exchange) is RuntimeBrokenError
    assert wire.done == ["aborted"]


@pytest.mark.parametrize("rest", [b"zzz\r\n", b"1\r\nab\r\n", b"1\na\n0\n\n", b"f" * 20 + b"\r\n", b"-1\r\n"])
async def test_a_malformed_chunk_ends_an_answer_after_what_was_good(rest: bytes) -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(chunked() + chunk(b"good") + rest)
    assert (await exchange.part()).startswith(b"good")
    assert await fault_of(exchange) is StreamInterruptedError
    assert wire.done == ["aborted"]


@pytest.mark.parametrize(
    "wire",
    [OK + b"\r\nabc", OK + b"transfer-encoding: gzip\r\n\r\nabc", http(200, b"abcd")[:-1], chunked() + b"3\r\nabc"],
)
async def test_an_answer_that_ends_with_its_connection_is_not_whole(wire: bytes) -> None:
    exchange = opened()
    exchange.feed(wire)
    exchange.lost(None)
    assert await exchange.part() == b"abc"
    assert await fault_of(exchange) is StreamInterruptedError


@pytest.mark.parametrize(
    "wire",
    [
        http(200, 1) + http(200, 2),
        http(200, 1) + b"surplus",
        http(200, 1, connection="close"),
        http(200, 1, connection="close") + b"surplus",
        http(200, 1).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_a_connection_is_not_used_again_after_this(wire: bytes) -> None:
    exchange = opened()
    exchange.feed(wire)
    assert (exchange.over, exchange.reusable) == (True, False)
    assert await read(exchange) == b"1"


@pytest.mark.parametrize(
    "began", [OK + b"x: ", chunked() + chunk(b"1") + b"0\r\nx: ", chunked() + chunk(b"1") + b"1;x="]
)
async def test_what_is_no_body_may_not_go_on_for_ever(began: bytes) -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(began)
    for _ in range(HEAD_LIMIT_BYTES // 1024):
        assert wire.done == []
        exchange.feed(b"x" * 1024)
    exchange.feed(b"x" * 1024)
    assert wire.done == ["aborted"]


async def test_a_long_stream_of_short_parts_is_not_taken_for_a_head() -> None:
    exchange = opened()
    exchange.feed(chunked())
    for _ in range(HEAD_LIMIT_BYTES // 3):
        exchange.feed(chunk(b"1"))
        assert await exchange.part() == b"1"


async def test_a_reader_that_is_behind_pauses_the_connection_until_it_reads() -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(chunked() + chunk(b"x" * UNREAD_LIMIT_BYTES))
    assert wire.done == []
    exchange.feed(chunk(b"y"))
    assert wire.done == ["paused"]
    assert len(await exchange.part()) == UNREAD_LIMIT_BYTES + 1
    assert wire.done == ["paused", "resumed"]
    exchange.feed(chunk(b"x" * UNREAD_LIMIT_BYTES + b"y") + chunk(b""))
    assert (exchange.over, wire.done) == (True, ["paused", "resumed"])


async def test_an_answer_that_was_left_takes_its_connection_with_it() -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(chunked() + chunk(b"1"))
    exchange.close()
    assert wire.done == ["aborted"]
    exchange.feed(chunk(b"2"))
    assert await fault_of(exchange) is StreamInterruptedError


async def test_an_answer_that_is_all_here_leaves_its_connection_alone() -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(http(200, 1))
    exchange.close()
    exchange.lost(None)
    assert wire.done == []


@pytest.mark.parametrize(("begin_s", "total_s"), [(0, 20), (20, 0)])
async def test_an_answer_that_takes_too_long_takes_its_connection_with_it(begin_s: float, total_s: float) -> None:
    wire = Wire()
    assert await fault_of(opened(wire, begin_s=begin_s, total_s=total_s)) is RuntimeTimeoutError
    assert wire.done == ["aborted"]


async def test_an_answer_that_began_in_time_may_last() -> None:
    exchange = opened(begin_s=0, total_s=20)
    exchange.feed(chunked())
    # Behind the timer that would have ended it.
    asyncio.get_running_loop().call_later(0.01, exchange.feed, chunk(b"1") + chunk(b""))
    assert await read(exchange) == b"1"


async def test_a_part_that_is_taken_at_once_wakes_nobody() -> None:
    taken: list[bytes] = []

    def offer(part: bytes) -> bool:
        taken.append(part)
        return not part.startswith(b"no")

    exchange = opened()
    exchange.feed(chunked() + chunk(b"here before"))
    assert await exchange.part(offer) == b"here before"
    reading = asyncio.create_task(exchange.part(offer))
    await asyncio.sleep(0)
    exchange.feed(chunk(b"1"))
    exchange.feed(chunk(b"2"))
    exchange.feed(chunk(b"no"))
    assert taken == [b"1", b"2", b"no"]
    exchange.feed(chunk(b"later"))
    assert await reading == b"nolater"
    exchange.feed(chunk(b"unasked"))
    assert taken == [b"1", b"2", b"no"]
    assert await exchange.part(offer) == b"unasked"
    reading = asyncio.create_task(exchange.part(offer))
    await asyncio.sleep(0)
    exchange.feed(chunk(b"last") + chunk(b""))
    assert (await reading, taken[-1]) == (b"", b"last")


async def test_what_is_taken_at_once_is_not_counted_as_unread() -> None:
    wire = Wire()
    exchange = opened(wire)
    exchange.feed(chunked())
    reading = asyncio.create_task(exchange.part(lambda _: True))
    await asyncio.sleep(0)
    for _ in range(3):
        exchange.feed(chunk(b"x" * UNREAD_LIMIT_BYTES))
    exchange.feed(chunk(b""))
    assert (await reading, wire.done) == (b"", [])
