"""A caller that leaves while the agent is silent: the lease is free, the record written, the upstream closed."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tenancy.data_models import Status
from tests.agents.upstream import Received, http, upstream
from tests.conftest import Aws
from tests.gateway.test_upstream_trouble import nothing_is_held, streamed
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack


@dataclass
class Silent:
    """Says `first`, then nothing; knows when it was asked and when its caller hung up."""

    first: bytes = b""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.first)
        self.asked.set()
        await reader.read()
        self.left.set()


async def left_behind(gateway: Whole, silent: Silent) -> None:
    """Assert what must be true soon after the caller has gone."""
    async with asyncio.timeout(10):
        await silent.left.wait()
        while [record.status for record in await gateway.records()] != [Status.CANCELLED]:
            await asyncio.sleep(0.01)
    await nothing_is_held(gateway)
    [record] = await gateway.records()
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.CANCELLED, "client_disconnected")


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_a_caller_that_leaves_before_the_first_byte_stops_the_agent(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    silent = Silent()
    async with (
        upstream(silent, http(200, {})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False) as gateway,
    ):
        asking = asyncio.ensure_future(gateway.sync() if mode == "sync" else gateway.stream())
        await silent.asked.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await left_behind(gateway, silent)
        assert [request.target.split("?")[0].rsplit("/", 1)[1] for request in runtime.received] == [
            "invocations",
            "stopruntimesession",
        ]


async def test_a_caller_that_leaves_mid_stream_frees_everything_while_the_agent_is_idle(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Silent(first=streamed(b'data: {"n": 1}\n\n', end=False))
    async with (
        upstream(silent, http(200, {})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False) as gateway,
    ):
        async with gateway.streaming() as events:
            async for event in events:
                if event.name == "agent.chunk":
                    break
        await left_behind(gateway, silent)
        assert runtime.received[-1].target.split("?")[0].endswith("/stopruntimesession")
