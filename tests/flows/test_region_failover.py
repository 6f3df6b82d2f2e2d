"""Dublin goes silent under load: agents run in Frankfurt, every accepted job ends, and then all goes back."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest

from ops.devstack.stack import Stack
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion
from tenancy.ids import AgentName
from tests.flows.conftest import Caller
from tests.flows.events import events_of
from tests.flows.test_takeover import platform

pytestmark = pytest.mark.stack

REGION = "/v1/admin/region"
PHOENIX, ECHO = "phoenix", "echo-agent"
STREAM = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
LONG = {"prompt": "one two three four", "chunks": 4, "delayMs": 1000}


def path(agent: str) -> str:
    return f"/v1/agents/{agent}/invocations"


@asynccontextmanager
async def silent(stack: Stack) -> AsyncIterator[None]:
    """Have Dublin answer nothing for the block: its connections stay, as in an outage of a network."""
    pid = stack.parts.pids["runtime"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def switched(operator: Caller, verb: str) -> None:
    """Switch, and return once every gateway process serves the other region."""
    answer, told = await operator.post(f"{REGION}/{verb}", {"reason": "a drill"})
    assert answer.status == 200, told
    async with asyncio.timeout(20):
        while not (await operator.get(REGION))[1]["settled"]:
            await asyncio.sleep(0.1)


async def submitted(acme: Caller, agent: str, count: int, **fields: object) -> list[str]:
    jobs = []
    for _ in range(count):
        answer, told = await acme.post(path(agent), acme.echo(**fields), ASYNC)
        assert answer.status == 202, told
        jobs.append(str(told["jobId"]))
    return jobs


async def ends(acme: Caller, jobs: list[str]) -> Counter[tuple[object, object]]:
    """Return how jobs ended, once they all have."""
    found: dict[str, tuple[object, object]] = {}
    async with asyncio.timeout(60):
        while len(found) < len(jobs):
            for job in jobs:
                _, told = await acme.get(f"/v1/jobs/{job}")
                if told["status"] not in {"queued", "running"}:
                    error = told.get("error")
                    found[job] = (told["status"], error["code"] if isinstance(error, dict) else None)
            await asyncio.sleep(0.2)
    return Counter(found.values())


async def running(acme: Caller, jobs: list[str]) -> None:
    async with asyncio.timeout(30):
        while {(await acme.get(f"/v1/jobs/{job}"))[1]["status"] for job in jobs} != {"running"}:
            await asyncio.sleep(0.1)


async def charged(acme: Caller, jobs: list[str]) -> Counter[object]:
    """Return what the month's ledger holds of jobs: the outcome of each, as often as there is a line of it."""
    url = f"{acme.gateway}/v1/usage/export?month={SystemClock().now():%Y-%m}"
    async with acme.session.get(url, headers={"Accept": "application/x-ndjson"}) as answer:
        *lines, total = [orjson.loads(line) for line in (await answer.read()).splitlines()]
    assert total["type"] == "total"
    return Counter(line["outcome"] for line in lines if line["recordId"] in jobs)


@asynccontextmanager
async def have_phoenix(stack: Stack) -> AsyncIterator[None]:
    """Have the echo agent also as one whose jobs may be begun anew."""
    async with AsyncExitStack() as closing:
        store = await platform(stack, closing)
        [echo] = [agent for agent in await store.promoted_agents() if agent.name == ECHO]
        assert len(echo.runtime_arns) == 1
        anew: AgentVersion = echo.model_copy(update={"name": AgentName(PHOENIX), "restartable": True})
        await store.put_agent_version(anew)
        yield


@pytest.fixture
async def phoenix(stack: Stack) -> AsyncIterator[None]:
    async with have_phoenix(stack):
        yield


async def until_known(caller: Caller) -> None:
    """Return once a gateway knows phoenix."""
    async with asyncio.timeout(40):
        while (await caller.get(f"/v1/agents/{PHOENIX}"))[0] != 200:
            await asyncio.sleep(0.2)


async def test_agents_fail_over_and_back_and_every_job_and_its_usage_is_accounted_for(
    stack: Stack, acme: Caller, operator: Caller, phoenix: None
) -> None:
    await until_known(acme)
    keyed = STREAM | {"Idempotency-Key": "failover"}
    anew, lost = await submitted(acme, PHOENIX, 4, durationS=6), await submitted(acme, ECHO, 2, durationS=6)
    await running(acme, [*anew, *lost])
    async with acme.session.post(acme.gateway + path(ECHO), json={"input": LONG}, headers=keyed) as answer:
        events = events_of(answer.content)
        assert (await anext(events)).name == "invocation.started"
        assert (await anext(events)).name == "agent.chunk"
        async with silent(stack):
            await switched(operator, "fail-over")
            [last] = [event async for event in events]
            assert (last.name, last.json["code"]) == ("invocation.failed", "region_failover")
            again, told = await acme.post(path(ECHO), acme.echo())
            assert (again.status, told["echo"]) == (200, "one two three")
            assert await ends(acme, lost) == {("failed", "region_failover"): 2}
            assert await ends(acme, anew) == {("succeeded", None): 4}
    async with acme.session.post(acme.gateway + path(ECHO), json={"input": LONG}, headers=keyed) as answer:
        assert "Idempotency-Replayed" not in answer.headers
        repeated = [event.name async for event in events_of(answer.content)]
    assert repeated[-1] == "invocation.completed"
    on_the_way_back = await submitted(acme, ECHO, 2, durationS=4)
    await running(acme, on_the_way_back)
    await switched(operator, "fail-back")
    # The region that was left still answers: they go on there.
    assert await ends(acme, on_the_way_back) == {("succeeded", None): 2}
    ended = {"succeeded": len(anew) + len(on_the_way_back), "failed": len(lost)}
    assert await charged(acme, [*anew, *lost, *on_the_way_back]) == ended
