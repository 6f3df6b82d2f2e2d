"""A job on the real SDK outlives the workers that drive it, at ten times the speed of a deployment.

The stack looks at jobs every half second, a deployment every five; so a second here is ten there. The reaper of idle
sessions is on. `make long-job` runs it for longer.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from ops.devstack.ports import Ports
from ops.devstack.stack import Stack, running_stack
from tenancy.clock import SystemClock
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO, Caller
from tests.flows.events import events_of
from tests.flows.test_webhooks import ASYNC, registered

pytestmark = pytest.mark.stack

LOOK_S = 0.1


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a whole stack whose parts this test may end."""
    async with running_stack(tmp_path / "stack", Ports.free()) as stack:
        yield stack


async def driven(caller: Caller, path: str, before: dict[str, Any]) -> dict[str, Any]:
    """Return a job once a worker has driven it on."""
    while True:
        await SystemClock().sleep(LOOK_S)
        job = (await caller.get(path))[1]
        if (job["status"], job.get("progress")) != (before["status"], before.get("progress")):
            return job


async def replaced(stack: Stack, *, killed: bool) -> None:
    """End the worker, by kill -9 or as a deployment does, and start another one."""
    if killed:
        os.kill(stack.parts.pids["worker"], signal.SIGKILL)
        while "worker" in stack.parts.pids:
            await asyncio.sleep(0.01)
    else:
        await stack.parts.stop("worker")
    await stack.parts.start("worker")


async def test_a_job_outlives_one_worker_after_the_other_and_is_told_of_once(
    own: Stack, request: pytest.FixtureRequest
) -> None:
    work_s = float(request.config.getoption("job_s"))
    headers = {"Authorization": f"Bearer {own.tenants[TenantId('acme')].token}"}
    async with ClientSession(headers=headers) as session:
        acme = Caller(session, own.gateway)
        async with registered(own, acme) as hook, asyncio.timeout(work_s + 120):
            _, accepted = await acme.post(ECHO, acme.echo(durationS=work_s), ASYNC)
            path, restarts, job = f"/v1/jobs/{accepted['jobId']}", 0, accepted
            seen: list[str] = []
            for killed in itertools.cycle((False, True)):
                job = await driven(acme, path, job)
                seen.append(str(job["status"]))
                if job["status"] not in ("queued", "running"):
                    break
                await replaced(own, killed=killed)
                restarts += 1
            assert (job["status"], job["result"], job["run"]) == ("succeeded", {"echo": "one two three"}, 1)
            # A deployment and a kill at least, and no going back.
            assert restarts >= 2
            assert seen == sorted(seen, key=["queued", "running", "succeeded"].index)

            [told] = await hook.came()
            assert (told["verified"], told["payload"]["data"]["jobId"]) == (True, accepted["jobId"])
            async with session.get(own.gateway + path + "/events") as answer:
                names = [event.name async for event in events_of(answer.content)]
            assert [name for name in names if name != "job.progress"] == ["job.queued", "job.started", "job.succeeded"]
