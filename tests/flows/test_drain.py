"""A gateway that is told to end: what it serves goes on, what takes too long is ended with a reason."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout
from redis.asyncio import Redis

from ops.devstack.stack import Stack
from tenancy.ids import SessionId, TenantId
from tenancy.keys import slots_key, turn_key
from tests.flows.conftest import ECHO, Caller
from tests.flows.gateways import Joined, joined
from tests.flows.test_leaving import live_sessions, until_no_request_runs

pytestmark = pytest.mark.stack

GLOBEX = TenantId("globex")
NEVER_MS = 3_000_000


@asynccontextmanager
async def calling(stack: Stack, gateway: Joined) -> AsyncIterator[Caller]:
    headers = {"Authorization": f"Bearer {stack.tenants[GLOBEX].token}"}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=30)) as session:
        yield Caller(session, gateway.url)


async def held(stack: Stack, session_id: str) -> tuple[int, int]:
    """Return how many slots globex holds, and whether the session's turn is held."""
    async with Redis.from_url(stack.variables["LOCKGATE_REDIS_URL"]) as redis:
        return await redis.zcard(slots_key(GLOBEX)), await redis.exists(turn_key(GLOBEX, SessionId(session_id)))


async def test_a_stream_finishes_within_the_grace_and_nothing_new_is_taken(stack: Stack, tmp_path: Path) -> None:
    async with joined(stack, tmp_path) as gateway, calling(stack, gateway) as globex:
        names: list[str] = []
        ids: dict[str, object] = {}
        async for event in globex.stream(globex.echo(chunks=2, delayMs=2000)):
            names.append(event.name)
            ids = ids or event.json
            if names == ["invocation.started", "agent.chunk"]:
                gateway.signal(signal.SIGTERM)
                await gateway.until_refused()
                status, told = (await gateway.private("/ready"))[0], await gateway.ready()
                assert (status, told["draining"]) == (503, True)
        assert names == ["invocation.started", "agent.chunk", "agent.chunk", "invocation.completed"]
        assert await gateway.ended() == 0
        assert await held(stack, str(ids["sessionId"])) == (0, 0)


async def test_a_stream_that_outlasts_the_grace_ends_with_its_reason(
    stack: Stack, globex: Caller, tmp_path: Path
) -> None:
    async with joined(stack, tmp_path, LOCKGATE_DRAIN_GRACE_S="0.2") as gateway, calling(stack, gateway) as there:
        events = []
        async for event in there.stream(there.echo(chunks=2, delayMs=NEVER_MS)):
            events.append(event)
            if event.name == "agent.chunk":
                gateway.signal(signal.SIGTERM)
        assert [event.name for event in events] == ["invocation.started", "agent.chunk", "invocation.failed"]
        assert events[-1].json["code"] == "draining"
        assert await gateway.ended() == 0
        session_id = str(events[0].json["sessionId"])
        # Written before the process ended: another one shows it at once.
        _, record = await globex.get(f"/v1/invocations/{events[0].json['invocationId']}")
        assert (record["status"], record["error"]["code"]) == ("failed", "draining")  # type: ignore[index]
        assert await held(stack, session_id) == (0, 0)
        await until_no_request_runs(stack, session_id)
        assert {line["code"] for line in gateway.lines() if line["event"] == "invocation"} == {"draining"}


async def hang_once(stack: Stack, session_id: str) -> None:
    """Let the next call of the session's runtime hang before its first byte."""
    runtime = (await live_sessions(stack))[session_id]["agentRuntimeId"]
    wish = {"agentRuntimeId": runtime, "kind": "hang"}
    async with (
        ClientSession() as http,
        http.post(stack.ports.url("runtime_control") + "/_local/faults", json=wish) as answer,
    ):
        assert answer.status == 201


async def test_a_sync_call_that_outlasts_the_grace_is_told_to_try_again(
    stack: Stack, globex: Caller, tmp_path: Path
) -> None:
    async with joined(stack, tmp_path, LOCKGATE_DRAIN_GRACE_S="0.2") as gateway, calling(stack, gateway) as there:
        first, _ = await there.post(ECHO, there.echo())
        session_id = first.headers["X-Session-Id"]
        await hang_once(stack, session_id)
        call = asyncio.create_task(there.post(ECHO, there.echo() | {"sessionId": session_id}))
        async with asyncio.timeout(20):
            while "lockgate_invocations_in_flight 1.0" not in (await gateway.private("/metrics"))[1]:
                await asyncio.sleep(0.01)
        gateway.signal(signal.SIGTERM)
        answer, problem = await call
        assert (answer.status, problem["code"], answer.headers["Retry-After"]) == (503, "draining", "1")
        assert answer.headers["Connection"] == "close"
        assert await gateway.ended() == 0
        line = next(line for line in gateway.lines() if line.get("code") == "draining" and "invocation" in line)
        _, record = await globex.get(f"/v1/invocations/{line['invocation']}")
        assert (record["status"], record["error"]["code"]) == ("failed", "draining")  # type: ignore[index]
        assert await held(stack, session_id) == (0, 0)


async def test_a_log_that_nobody_reads_holds_up_no_request(stack: Stack, tmp_path: Path) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    # Open, so that the gateway can open its end, and never read.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with joined(stack, tmp_path, log=pipe) as gateway, ClientSession() as http:
            for _ in range(800):
                async with http.get(gateway.url + "/v1/health") as answer:
                    assert answer.status == 200
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
    finally:
        os.close(reader)
