"""Gateways that die or stand still in the middle of streams: another one carries on what they were serving."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from os import EX_SOFTWARE
from pathlib import Path

import aioboto3
import pytest

from gateway.sse import RETRY
from gateway.usage_schemas import UsageView
from ops.devstack.stack import Stack
from tenancy.data_models import AgentVersion
from tenancy.ids import AgentName
from tenancy.platform_store import PlatformStore
from tests.flows.conftest import ECHO, Caller
from tests.flows.gateways import Joined, joined
from tests.flows.test_resumable_streams import events_path, whole
from tests.flows.test_suspension import ADMIN, Application
from tests.flows.test_three_modes import until_ended

pytestmark = pytest.mark.stack

PLAIN = "/v1/agents/plain-echo/invocations"
STREAM = {"Accept": "text/event-stream"}
# It is silent while its gateway is dead, and has most of it still to say then.
BODY = {"input": {"prompt": "What is said once is said for good. " * 20, "chunks": 100, "delayMs": 80}}


@dataclass
class Stream:
    """A stream that is read until its gateway is gone."""

    invocation: str
    session: str
    read: bytes = b""

    @property
    def last(self) -> int:
        return self.read.count(b"\nevent: ")

    @property
    def told(self) -> bytes:
        """What was said, whoever was told."""
        names = {self.invocation: b"invocation", self.session: b"session"}
        said = self.read
        for name, kind in names.items():
            said = said.replace(name.encode(), kind)
        return said


@asynccontextmanager
async def streaming(caller: Caller, path: str = ECHO) -> AsyncIterator[Stream]:
    """Begin a stream and keep its connection for the block; five chunks are read."""
    async with caller.session.post(caller.gateway + path, json=BODY, headers=STREAM) as answer:
        assert answer.status == 200, await answer.text()
        stream = Stream(answer.headers["X-Invocation-Id"], answer.headers["X-Session-Id"])
        while stream.read.count(b"event: agent.chunk") < 5 or not stream.read.endswith(b"\n\n"):
            stream.read += await answer.content.readany()
        yield stream


async def gone_on_with(caller: Caller, stream: Stream) -> None:
    """Read the rest at another gateway."""
    headers = {"Last-Event-ID": str(stream.last)}
    async with caller.session.get(caller.gateway + events_path(stream.invocation), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        stream.read += (await answer.read()).removeprefix(RETRY)


async def platform(stack: Stack, closing: AsyncExitStack) -> PlatformStore:
    given = stack.variables
    session = aioboto3.Session(
        given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], region_name=given["AWS_REGION"]
    )
    client = session.client("dynamodb", endpoint_url=given["AWS_ENDPOINT_URL_DYNAMODB"])
    dynamodb = await closing.enter_async_context(client)
    prefix = given["LOCKGATE_TABLE_PREFIX"]
    return PlatformStore(dynamodb, table_prefix=prefix, on_violation=lambda _: None)


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[PlatformStore]:
    async with AsyncExitStack() as closing:
        yield await platform(stack, closing)


@pytest.fixture
async def application(stack: Stack, operator: Caller, store: PlatformStore) -> Application:
    """Return the application of a tenant nobody else uses, which can also invoke an agent without the kit."""
    application, name = Application.of(stack), f"t{uuid.uuid4().hex[:12]}"
    body = {"id": name, "name": "Fresh", "tier": "standard", "bindings": [application.binding]}
    answer, created = await operator.post(ADMIN, body)
    assert answer.status == 201, created
    [echo] = [agent for agent in await store.promoted_agents() if agent.name == "echo-agent"]
    plain: AgentVersion = echo.model_copy(update={"name": AgentName("plain-echo"), "kit": False})
    await store.put_agent_version(plain)
    return application


async def workers(gateway: Joined) -> set[int]:
    told = (await gateway.ready())["workers"]
    assert isinstance(told, dict)
    return {state["pid"] for state in told.values()}


async def until_replaced(gateway: Joined, before: set[int]) -> None:
    async with asyncio.timeout(60):
        while before & (now := await workers(gateway)) or len(now) < len(before):
            await asyncio.sleep(0.1)


async def leases(store: PlatformStore, besides: set[str]) -> set[str]:
    """Return the processes that may live, as far as records say, and are none of these."""
    return {lease.process for lease in await store.processes() if not lease.taken} - besides


async def until_taken_for_dead(store: PlatformStore, processes: set[str]) -> None:
    async with asyncio.timeout(60):
        while processes & await leases(store, set()):
            await asyncio.sleep(0.1)


async def until_settled(caller: Caller, records: int) -> UsageView:
    async with asyncio.timeout(20):
        while True:
            _, body = await caller.get("/v1/usage")
            seen = UsageView.model_validate(body)
            if seen.totals.records >= records:
                return seen
            await asyncio.sleep(0.1)


async def test_what_dead_and_frozen_gateways_served_is_carried_on_whole(
    stack: Stack, application: Application, store: PlatformStore, tmp_path: Path
) -> None:
    (tmp_path / "killed").mkdir()
    async with AsyncExitStack() as closing:
        others = await leases(store, set())
        frozen = await closing.enter_async_context(joined(stack, tmp_path, "--workers", "2"))
        frozen_processes = await leases(store, others)
        assert len(frozen_processes) == 2
        killed = await closing.enter_async_context(joined(stack, tmp_path / "killed"))
        here, dying, freezing = (application.caller(stack, url) for url in (stack.gateway, killed.url, frozen.url))
        for caller in (here, dying, freezing):
            await closing.enter_async_context(caller.session)
        before = await workers(frozen)
        async with (
            streaming(dying) as cut,
            streaming(dying, PLAIN) as plain,
            streaming(freezing) as held,
            streaming(here) as undisturbed,
        ):
            killed.signal(signal.SIGKILL)
            for pid in before:
                os.kill(pid, signal.SIGSTOP)
            try:
                rest = [gone_on_with(here, stream) for stream in (cut, plain, held, undisturbed)]
                async with asyncio.timeout(100):
                    await asyncio.gather(*rest)
                await until_taken_for_dead(store, frozen_processes)
            finally:
                for pid in before:
                    os.kill(pid, signal.SIGCONT)
            await until_replaced(frozen, before)
        assert undisturbed.told.count(b"event: agent.chunk") == 100
        assert (cut.told, held.told) == (undisturbed.told, undisturbed.told)
        assert plain.told.endswith(b"\n\n")
        assert plain.told.count(b"event: invocation.failed") == 1
        assert b'"code":"stream_interrupted"' in plain.told.split(b"\n\n")[-2]
        ended = [await until_ended(here, f"/v1/invocations/{one.invocation}") for one in (cut, held, plain)]
        assert [(one["status"], one["chunks"]) for one in ended[:2]] == [("succeeded", 100)] * 2
        assert ended[2]["status"] == "failed"
        # What was frozen has written nothing since, and ended because of it.
        for stream in (cut, plain, held):
            assert (await whole(here, events_path(stream.invocation))).endswith(stream.read.removeprefix(RETRY))
        left = [line for line in frozen.lines() if line["event"] == "worker left by itself"]
        assert [line["code"] for line in left] == [EX_SOFTWARE] * 2
        usage = await until_settled(here, 4)
        assert usage.totals.records == 4
        for stream, path in ((cut, ECHO), (held, ECHO), (plain, PLAIN)):
            answer, told = await here.post(path, {"input": {"prompt": "on"}, "sessionId": stream.session})
            assert answer.status == 200, told
        assert len(await workers(frozen)) == 2


async def test_a_gateway_that_drains_leaves_nothing_to_take_over(
    stack: Stack, acme: Caller, store: PlatformStore, tmp_path: Path
) -> None:
    before = {lease.process for lease in await store.processes()}
    async with joined(stack, tmp_path) as gateway:
        [mine] = {lease.process for lease in await store.processes()} - before
        body = acme.echo(chunks=3, delayMs=200)
        async with acme.session.post(gateway.url + ECHO, json=body, headers=STREAM) as answer:
            assert len(await store.open_invocations(mine, limit=10)) == 1
            gateway.signal(signal.SIGTERM)
            assert (await answer.read()).count(b"event: invocation.completed") == 1
        assert await gateway.ended() == 0
    assert mine not in {lease.process for lease in await store.processes()}
    assert await store.open_invocations(mine, limit=10) == ()
