from aiohttp import web
from aiohttp.test_utils import TestClient
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
