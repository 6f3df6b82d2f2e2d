import asyncio

import pytest
from aiohttp import ClientSession, HttpVersion10, HttpVersion11, web
from aiohttp.http import HttpVersion
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from pytest_aiohttp.plugin import AiohttpClient

from gateway.sse import HEADERS, EventStream, frame
from tests.clock import FakeClock


def test_an_event_carries_its_id_its_name_and_the_agents_own_bytes() -> None:
    assert frame(7, b"agent.chunk", b'{"a":  1.10}') == b'id: 7\nevent: agent.chunk\ndata: {"a":  1.10}\n\n'


@given(st.lists(st.binary().filter(lambda part: b"\n" not in part and b"\r" not in part), min_size=2, max_size=4))
def test_data_with_line_breaks_stays_one_event(lines: list[bytes]) -> None:
    framed = frame(1, b"agent.chunk", b"\n".join(lines))
    assert framed.count(b"\n\n") == 1
    assert framed.endswith(b"\n\n")


async def test_a_silent_stream_is_kept_alive_by_comments(aiohttp_client: AiohttpClient, clock: FakeClock) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        events = EventStream(response, clock)
        await events.started({})
        async with events.heartbeat(15.0):
            await clock.sleep(40.0)
        await events.ended("invocation.completed", {})
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    client: TestClient[web.Request, web.Application] = await aiohttp_client(app)
    answer = await client.get("/")
    await clock.until_sleeping(2)
    await clock.advance(40.0)
    text = await answer.text()
    assert text.count(": keep-alive\n\n") == 2
    assert text.index("invocation.started") < text.index("keep-alive") < text.index("invocation.completed")
    assert "id: 1\n" in text
    assert "id: 2\n" in text


async def test_events_that_came_together_are_numbered_one_by_one(
    aiohttp_client: AiohttpClient, clock: FakeClock
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        events = EventStream(response, clock)
        await events.chunk(b"1", b"2")
        await events.chunk()
        await events.chunk(b"3")
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    client: TestClient[web.Request, web.Application] = await aiohttp_client(app)
    answer = await client.get("/")
    assert await answer.read() == b"".join(frame(number, b"agent.chunk", b"%d" % number) for number in (1, 2, 3))


class Keeping(web.StreamResponse):
    """Does more with what is written than writing it."""


@pytest.mark.parametrize(
    ("version", "kind", "at_once"),
    [
        (HttpVersion11, web.StreamResponse, True),
        (HttpVersion10, web.StreamResponse, False),
        (HttpVersion11, Keeping, False),
    ],
)
async def test_an_event_is_written_at_once_where_that_is_all_there_is_to_do(
    version: HttpVersion, kind: type[web.StreamResponse], *, at_once: bool, clock: FakeClock
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = kind(headers=HEADERS)
        await response.prepare(request)
        events = EventStream(response, clock, request.protocol)
        written.append(events.chunk_now(b"0"))
        await events.started({})
        await events.chunk(b"1")
        written.append(events.chunk_now(b"2"))
        if not written[-1]:
            await events.chunk(b"2")
        await events.chunk(b"3")
        await events.ended("invocation.completed", {})
        return response

    written: list[bool] = []
    app = web.Application()
    app.router.add_get("/", handler)
    async with (
        TestServer(app) as server,
        ClientSession(version=version) as client,
        client.get(server.make_url("/"), headers={"Connection": "close"}) as answer,
    ):
        text = await answer.text()
    assert written == [False, at_once]
    assert [line for line in text.splitlines() if line.startswith(("id:", "data: 1", "data: 2", "data: 3"))] == [
        "id: 1",
        "id: 2",
        "data: 1",
        "id: 3",
        "data: 2",
        "id: 4",
        "data: 3",
        "id: 5",
    ]


async def test_nothing_is_written_at_once_to_a_reader_that_is_slow_or_gone(clock: FakeClock) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        slow, gone = EventStream(response, clock, request.protocol), EventStream(response, clock, request.protocol)
        await slow.started({})
        await gone.started({})
        while slow.chunk_now(b"x" * 65_536):
            pass
        last = slow.last_id
        assert not slow.chunk_now(b"x")
        request.protocol.resume_writing()
        assert request.transport is not None
        request.transport.abort()
        assert not gone.chunk_now(b"x")
        seen.set_result((last == slow.last_id, gone.last_id))
        return response

    seen = asyncio.get_running_loop().create_future()
    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server, asyncio.timeout(20):
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await seen == (True, 1)
        writer.close()
