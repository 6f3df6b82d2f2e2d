"""Which turns of a session need a lease that every process sees."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.agents.upstream import SESSION, Received, Script, chunk, chunked, http, upstream
from tests.conftest import Aws
from tests.gateway.whole import whole_gateway

pytestmark = pytest.mark.stack

STREAMED = chunked() + chunk(b'data: {"n": 1}\n\n') + chunk(b"")


def looks(redis: Redis, seen: list[bool], answer: bytes) -> Script:
    """Answer after looking whether the session's turn is leased."""

    async def script(received: Received, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(bool(await redis.keys(f"lockgate:turn:*:{received.headers[SESSION]}")))
        writer.write(answer)
        await writer.drain()

    return script


async def test_only_a_turn_whose_session_somebody_may_know_is_leased(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    async with (
        Redis.from_url(redis_url) as redis,
        upstream(*(looks(redis, seen, answer) for answer in (http(200, {}), http(200, {}), STREAMED))) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url) as gateway,
    ):
        fresh = await gateway.sync()
        known = await gateway.sync(sessionId=fresh.headers["X-Session-Id"])
        await gateway.stream()
        assert (fresh.status, known.status, seen) == (200, 200, [False, True, True])
