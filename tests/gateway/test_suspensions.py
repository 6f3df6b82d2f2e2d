"""A tenant that may not be served any more: what runs for it ends, what is about to run does not begin."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from agents.sessions import Session, Sessions
from tenancy.data_models import Status, Tenant, TenantStatus
from tests.agents.upstream import Upstream, http, upstream
from tests.conftest import Aws
from tests.gateway.test_caller_leaves import Silent
from tests.gateway.test_upstream_trouble import nothing_is_held
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

WAIT_S = 10.0
EVENT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b'data: {"n": 1}\n\n'


@pytest.fixture
def silent() -> Silent:
    return Silent()


@pytest.fixture
async def runtime(silent: Silent) -> AsyncIterator[Upstream]:
    async with upstream(silent, http(200, {})) as running:
        yield running


@pytest.fixture
async def gateway(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch, runtime: Upstream) -> AsyncIterator[Whole]:
    async with whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False) as running:
        yield running


async def suspend(gateway: Whole) -> None:
    await gateway.process.parts.admin.tenants.registry.suspend(gateway.tenant_id, "abuse")


async def suspend_silently(gateway: Whole) -> None:
    """Suspend as a process that died before it could say so."""
    key = Tenant.key_of(gateway.tenant_id, "METADATA")
    await gateway.stores.db(gateway.tenant_id).update(Tenant, key, {"status": TenantStatus.SUSPENDED})


async def ended(gateway: Whole, runtime: Upstream, code: str = "tenant_suspended") -> None:
    """Assert that the agent was stopped and the record says why."""
    await nothing_is_held(gateway)
    assert [one.target.split("?")[0].rsplit("/", 1)[1] for one in runtime.received] == [
        "invocations",
        "stopruntimesession",
    ]
    [record] = await gateway.records()
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, code)


async def test_a_sync_invocation_is_answered_with_the_reason(gateway: Whole, silent: Silent, runtime: Upstream) -> None:
    asking = asyncio.ensure_future(gateway.sync())
    await silent.asked.wait()
    await suspend(gateway)
    async with asyncio.timeout(WAIT_S):
        answer = await asking
    assert (answer.status, answer.code) == (403, "tenant_suspended")
    await ended(gateway, runtime)


async def test_a_stream_ends_with_the_reason(gateway: Whole, silent: Silent, runtime: Upstream) -> None:
    silent.first = EVENT
    async with asyncio.timeout(WAIT_S), gateway.streaming() as events:
        names = []
        async for event in events:
            names.append(event.name)
            if event.name == "agent.chunk":
                await suspend(gateway)
    assert names == ["invocation.started", "agent.chunk", "invocation.failed"]
    assert event.json["code"] == "tenant_suspended"
    await ended(gateway, runtime)


async def test_what_runs_for_a_deleted_tenant_ends_and_says_why(
    gateway: Whole, silent: Silent, runtime: Upstream
) -> None:
    asking = asyncio.ensure_future(gateway.sync())
    await silent.asked.wait()
    await gateway.process.parts.admin.tenants.registry.delete(gateway.tenant_id, "contract ended")
    async with asyncio.timeout(WAIT_S):
        answer = await asking
    assert (answer.status, answer.code) == (403, "tenant_deleted")
    await ended(gateway, runtime, "tenant_deleted")


async def test_what_runs_ends_also_where_word_of_the_suspension_was_lost(
    gateway: Whole, silent: Silent, runtime: Upstream, redis_url: str
) -> None:
    asking = asyncio.ensure_future(gateway.sync())
    await silent.asked.wait()
    await suspend_silently(gateway)
    async with Redis.from_url(redis_url) as redis:
        await redis.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(WAIT_S):
        answer = await asking
    assert (answer.status, answer.code) == (403, "tenant_suspended")
    await ended(gateway, runtime)


async def test_what_runs_ends_while_redis_says_nothing_at_all(gateway: Whole, silent: Silent, redis_url: str) -> None:
    asking = asyncio.ensure_future(gateway.sync())
    await silent.asked.wait()
    await suspend_silently(gateway)
    async with Redis.from_url(redis_url) as redis:
        server: int = (await redis.info("server"))["process_id"]
    os.kill(server, signal.SIGSTOP)
    try:
        async with asyncio.timeout(WAIT_S):
            answer = await asking
    finally:
        os.kill(server, signal.SIGCONT)
    assert (answer.status, answer.code) == (403, "tenant_suspended")


async def test_what_was_admitted_before_the_suspension_does_not_begin_after_it(
    gateway: Whole, runtime: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Sessions.open

    async def open_late(sessions: Sessions, *asked: Any) -> Session:  # noqa: ANN401 passed on as it came
        await suspend(gateway)
        return await opened(sessions, *asked)

    monkeypatch.setattr(Sessions, "open", open_late)
    answer = await gateway.sync()
    assert (answer.status, answer.code) == (403, "tenant_suspended")
    assert runtime.received == []
    [record] = await gateway.records()
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, "tenant_suspended")
