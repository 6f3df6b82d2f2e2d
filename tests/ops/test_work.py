"""The worker as operators run it: a process of its own, on every real part."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import pytest

from agents.inband import ALLOWED_HEADERS
from jobs.ticks import connect
from ops.devstack.runtime.server import LocalAgentCore, Options
from tenancy.clock import SystemClock
from tenancy.data_models import JobRecord, Status
from tenancy.errors import TenantAccessViolation
from tenancy.ids import AgentName, TenantId
from tenancy.platform_store import PlatformStore
from tests.conftest import REGION, Aws
from tests.devstack.runtime.sdk import PYTHON, Sdk
from tests.jobs.conftest import Floor, make_floor
from tests.jobs.parts import make_agent, make_context

pytestmark = pytest.mark.stack

AGENTS = Path(__file__).parents[2] / "agents"


@dataclass(frozen=True, slots=True)
class Working:
    """A worker process and the jobs floor it shares with the test."""

    process: asyncio.subprocess.Process
    private_url: str
    floor: Floor

    async def ended(self, job: JobRecord) -> JobRecord:
        while not (found := await self.floor.job(job)).status.terminal:
            await SystemClock().sleep(0.05)
        return found

    async def drained(self) -> tuple[int, list[str]]:
        """Return the exit code after SIGTERM, and the events it still logged."""
        self.process.send_signal(signal.SIGTERM)
        told, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, [orjson.loads(line)["event"] for line in told.splitlines()]


def _raise(violation: TenantAccessViolation) -> None:
    raise violation


@pytest.fixture
async def working(
    aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId], tmp_path: Path
) -> AsyncIterator[Working]:
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(
            LocalAgentCore(Options(state=tmp_path / "agentcore", code_root=AGENTS, python=PYTHON))
        )
        allowed = {"requestHeaderAllowlist": list(ALLOWED_HEADERS)}
        arn = await Sdk(core).create("echo", "echo-agent", requestHeaderConfiguration=allowed)
        agent = make_agent().model_copy(update={"name": AgentName(f"echo-{tenant_id()}"), "runtime_arn": arn})
        platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=_raise)
        await platform.put_agent_version(agent)
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        floor = make_floor(aws, redis, SystemClock(), tenant_id(), agent)
        # A tenant that is not served has its jobs wait.
        await floor.stores.db(floor.tenant_id).put(make_context(floor.tenant_id).tenant)
        variables = {
            "LOCKGATE_REDIS_URL": redis_url,
            "LOCKGATE_TABLE_PREFIX": aws.table_prefix,
            "LOCKGATE_BUCKET": aws.bucket,
            "LOCKGATE_HOME_REGION": REGION,
            "LOCKGATE_JOB_POLL_S": "0.5",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": aws.endpoint_url,
            "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": core.data_url,
        }
        async with _process(variables) as (process, port):
            yield Working(process, f"http://127.0.0.1:{port}", floor)


@asynccontextmanager
async def _process(variables: dict[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.cli.main", "work", env=variables, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        told = {"event": ""}
        while told["event"] != "working":
            told = orjson.loads(await process.stdout.readline())
        yield process, int(told["private_port"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_worker_runs_a_job_on_the_real_agent_and_ends_cleanly_when_told_to(working: Working) -> None:
    job = await working.floor.submit(b'{"prompt":"a real one","durationS":0.8}')
    done = await working.ended(job)
    assert (done.status, done.run, done.error) == (Status.SUCCEEDED, 1, None)
    assert await working.floor.store.result(done) == b'{"echo": "a real one"}'
    async with aiohttp.ClientSession() as http:
        async with http.get(working.private_url + "/ready") as answer:
            ready = orjson.loads(await answer.read())
            assert (answer.status, ready["checks"]["queue"]) == (200, "ok")
        async with http.get(working.private_url + "/metrics") as answer:
            assert 'lockgate_jobs_ended_total{status="succeeded"} 1.0' in await answer.text()
    code, events = await working.drained()
    assert (code, events[-1]) == (0, "ended")
    assert "job.ended" in events


async def test_a_job_its_agent_fails_ends_failed(working: Working) -> None:
    done = await working.ended(await working.floor.submit(b'{"prompt":"hi","failAfter":0}'))
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "agent_error")
