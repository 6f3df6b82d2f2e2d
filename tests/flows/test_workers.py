"""Several workers on one port, replaced one by one while they are asked."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO, Caller
from tests.flows.gateways import Joined, joined

pytestmark = pytest.mark.stack

CALLERS = 6
# Two cores serve callers, agents and starting workers: the load is steady, not all there is.
PAUSE_S = 0.05
WORKERS = {"gateway-1", "gateway-2"}


@dataclass(slots=True)
class Load:
    """Callers that ask one thing after the other, each in a session of its own; half keep their connection."""

    answers: list[int] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, stack: Stack, gateway: Joined, *, keep: bool) -> None:
        headers = {"Authorization": f"Bearer {stack.tenants[TenantId('acme')].token}"}
        connector = TCPConnector(force_close=not keep)
        async with ClientSession(headers=headers, connector=connector, timeout=ClientTimeout(total=30)) as session:
            caller = Caller(session, gateway.url)
            first, _ = await caller.post(ECHO, caller.echo())
            turn = caller.echo() | {"sessionId": first.headers["X-Session-Id"]}
            while not self.enough.is_set():
                answer, body = await caller.post(ECHO, turn)
                self.answers.append(answer.status)
                await asyncio.sleep(PAUSE_S)
                assert answer.status == 200, body
                assert body == {"echo": "one two three"}


@asynccontextmanager
async def load(stack: Stack, gateway: Joined) -> AsyncIterator[Load]:
    """Ask all the time until the block ends; raises what any caller met."""
    asked = Load()
    async with asyncio.TaskGroup() as callers:
        for number in range(CALLERS):
            callers.create_task(asked.ask(stack, gateway, keep=number % 2 == 0))
        yield asked
        asked.enough.set()


async def pids(gateway: Joined) -> set[int]:
    workers = (await gateway.ready())["workers"]
    assert isinstance(workers, dict)
    return {state["pid"] for state in workers.values()}


async def requests(gateway: Joined) -> float:
    """Return how many invocations all workers together have answered."""
    _, text = await gateway.private("/metrics")
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("lockgate_invocations_total{")
    )


async def test_workers_are_replaced_under_load_without_a_failed_request(stack: Stack, tmp_path: Path) -> None:
    async with joined(stack, tmp_path, "--workers", "2") as gateway:
        async with load(stack, gateway) as asked, asyncio.timeout(120):
            before = await pids(gateway)
            while len(asked.answers) < 100:
                await asyncio.sleep(0.01)
            gateway.signal(signal.SIGHUP)
            while before & await pids(gateway):
                await asyncio.sleep(0.05)
            seen = len(asked.answers)
            while len(asked.answers) < seen + 100:
                await asyncio.sleep(0.01)
        # Everything any worker has ever answered: those replaced are in the sum.
        assert await requests(gateway) == len(asked.answers) + CALLERS
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        served = {line["process"] for line in gateway.lines() if line["event"] == "invocation"}
        assert served == WORKERS


async def test_workers_end_with_a_parent_that_was_killed(stack: Stack, tmp_path: Path) -> None:
    async with joined(stack, tmp_path, "--workers", "2") as gateway:
        gateway.signal(signal.SIGKILL)
        await gateway.ended()
        await gateway.until_refused()
        async with asyncio.timeout(20):
            while {line["process"] for line in gateway.lines() if line["event"] == "ended"} < WORKERS:
                await asyncio.sleep(0.01)
