"""What runs in a region that is left or lost ends for that reason, and can be asked for again at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, RegionFlag
from tenancy.ids import AgentName
from tenancy.platform_store import PlatformStore
from tests.agents.upstream import Received, Script, Upstream, chunk, chunked, upstream
from tests.conftest import Aws
from tests.flows.events import events_of
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

FRANKFURT = "eu-central-1"
KEYED = {"Idempotency-Key": "once", "Accept": "text/event-stream"}
ANSWER = chunked() + chunk(b'data: {"from": "frankfurt"}\n\n') + chunk(b"")


@dataclass
class Two:
    """A gateway with two regions."""

    gateway: Whole
    platform: PlatformStore
    dublin: Upstream

    async def fail_over(self) -> None:
        await self.platform.put_region_flag(
            RegionFlag(
                region=FRANKFURT,
                fence=1,
                record_version="1",
                changed_by="anna",
                reason="Dublin is down",
                changed_at=SystemClock().now(),
            ),
            seen=None,
        )
        await self.gateway.process.parts.path.catalog._changes.publish("region", "1")


@asynccontextmanager
async def two(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch, script: Script | bytes) -> AsyncIterator[Two]:
    platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None)
    async with (
        upstream(script) as dublin,
        upstream(ANSWER) as frankfurt,
        whole_gateway(
            aws, redis_url, monkeypatch, dublin.url, kit=False, overrides={"failover_endpoint": frankfurt.url}
        ) as gateway,
    ):
        name = AgentName(gateway.path.split("/")[3])
        found = await platform.agent_version(name, "1.0.0")
        assert isinstance(found, AgentVersion)
        elsewhere = found.runtime_arn.replace(found.region, FRANKFURT)
        await gateway.process.parts.catalog.register(found.model_copy(update={"runtime_arns": (elsewhere,)}))
        yield Two(gateway, platform, dublin)


async def hangs_midway(_: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(chunked() + chunk(b'data: {"from": "dublin"}\n\n'))
    await reader.read()


async def test_a_stream_of_the_region_that_is_left_ends_and_its_key_is_free(
    fresh_aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(fresh_aws, redis_url, monkeypatch, hangs_midway) as stack:
        gateway, seen = stack.gateway, list[tuple[str, object]]()
        url = gateway.url + gateway.path
        body: dict[str, object] = {"input": {}}
        async with gateway.session.post(url, json=body, headers=KEYED) as answer:
            async for event in events_of(answer.content):
                seen.append((event.name, event.json.get("code")))
                if event.name == "agent.chunk":
                    await stack.fail_over()
        assert seen[-2:] == [("agent.chunk", None), ("invocation.failed", "region_failover")]
        async with gateway.session.post(url, json=body, headers=KEYED) as answer:
            again = [event async for event in events_of(answer.content)]
            assert "Idempotency-Replayed" not in answer.headers
        assert [event.json for event in again if event.name == "agent.chunk"] == [{"from": "frankfurt"}]
        assert again[-1].name == "invocation.completed"
        records = await gateway.records()
        assert sorted(record.error.code for record in records if record.error) == ["region_failover"]


async def test_an_answer_that_breaks_with_its_whole_region_says_so(
    fresh_aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop: list[Upstream] = []

    async def dies(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked() + chunk(b'data: {"from": "dublin"}\n\n'))
        await writer.drain()
        stop[0].close()
        writer.transport.abort()

    async with two(fresh_aws, redis_url, monkeypatch, dies) as stack:
        stop.append(stack.dublin)
        _, events = await stack.gateway.stream()
        assert (events[-1].name, events[-1].json["code"]) == ("invocation.failed", "region_failover")
        refused = await stack.gateway.sync()
        assert (refused.status, refused.code) == (502, "runtime_unreachable")
