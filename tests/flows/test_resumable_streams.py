"""Two gateway processes on one stack: what one streams, the other gives again and follows, byte for byte."""

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import ClientSession

from gateway.sse import RETRY
from ops.devstack.stack import Stack
from tests.flows.conftest import ECHO, Caller
from tests.flows.test_three_modes import until_ended

pytestmark = pytest.mark.stack

STREAM = {"Accept": "text/event-stream"}
DETACH = STREAM | {"Prefer": "detach-on-disconnect"}


def events_path(invocation: object) -> str:
    return f"/v1/invocations/{invocation}/events"


async def whole(caller: Caller, path: str) -> bytes:
    """Read a stream to its end."""
    async with caller.session.get(caller.gateway + path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def left_after(caller: Caller, body: object, chunks: int, headers: dict[str, str]) -> tuple[str, bytes]:
    """Invoke, leave after some chunks; return the invocation's id and all that was read."""
    async with caller.session.post(caller.gateway + ECHO, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        read = b""
        while read.count(b"event: agent.chunk") < chunks or not read.endswith(b"\n\n"):
            read += await answer.content.readany()
        answer.close()
    return answer.headers["X-Invocation-Id"], read


async def test_a_stream_that_one_process_serves_is_followed_at_another(acme: Caller, acme_elsewhere: Caller) -> None:
    body = acme.echo(chunks=40, delayMs=50)
    async with acme.session.post(acme.gateway + ECHO, json=body, headers=STREAM) as answer:
        path = events_path(answer.headers["X-Invocation-Id"])
        followers = [asyncio.ensure_future(whole(acme_elsewhere, path)) for _ in range(3)]
        here = asyncio.ensure_future(whole(acme, path))
        told = await answer.read()
    assert told.count(b"event: agent.chunk") == 40
    assert [await follower for follower in followers] == [told] * 3
    assert await here == told


async def test_a_reader_that_drops_goes_on_at_another_process_without_gap_or_double(
    acme: Caller, acme_elsewhere: Caller
) -> None:
    body = acme.echo(chunks=60, delayMs=30)
    invocation, read = await left_after(acme, body, 10, DETACH)
    last = read.count(b"\nevent: ")
    async with acme_elsewhere.session.get(
        acme_elsewhere.gateway + events_path(invocation), headers={"Last-Event-ID": str(last)}
    ) as answer:
        assert answer.status == 200
        rest = await answer.read()
    everything = await whole(acme, events_path(invocation))
    assert read + rest.removeprefix(RETRY) == everything
    assert everything.count(b"event: agent.chunk") == 60
    assert everything.count(b"event: invocation.completed") == 1
    record = await until_ended(acme, f"/v1/invocations/{invocation}")
    assert (record["status"], record["chunks"]) == ("succeeded", 60)
    async with acme.session.get(acme.gateway + events_path(invocation) + "?startingAfter=62") as over:
        assert over.status == 204


async def test_another_tenant_learns_nothing_of_a_stream(acme: Caller, globex: Caller) -> None:
    invocation, _ = await left_after(acme, acme.echo(chunks=2), 2, STREAM)
    refused = await globex.get(events_path(invocation))
    unknown = await globex.get(events_path("inv_00000000000000000000000000"))
    same = ("type", "title", "status", "detail", "code")
    assert (refused[0], unknown[0]) == (404, 404)
    assert [refused[1][name] for name in same] == [unknown[1][name] for name in same]


async def test_a_browsers_reconnect_ends_when_the_stream_has(stack: Stack, acme: Caller) -> None:
    invocation = ""
    async with aclosing(acme.stream(acme.echo(chunks=2))) as events:  # type: ignore[type-var]
        async for event in events:
            invocation = invocation or str(event.json["invocationId"])
            last = event.id
    async with ClientSession(headers=acme.session.headers) as session:
        url = stack.gateway + events_path(invocation)
        async with session.get(url, headers={"Last-Event-ID": str(last)}) as again:
            assert again.status == 204
        async with session.get(url, headers={"Last-Event-ID": str(last - 1)}) as again:
            assert (await again.read()).startswith(RETRY + b"id: %d\nevent: invocation.completed\n" % last)
