"""What ticks rely on, asked of the fake agent host and of the real one alike.

The real one is the AgentCore client, speaking to the local AgentCore, which runs echo-agent on its SDK.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agents.inband import ALLOWED_HEADERS, InbandStatus
from agents.invocation import TraceHeaders
from jobs.runtime import JobRuntime
from ops.devstack.runtime.server import LocalAgentCore, Options
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, JobRecord
from tests.agents.given import agentcore
from tests.devstack.runtime.sdk import PYTHON, Sdk
from tests.jobs.parts import FakeRuntime, make_agent, make_job

pytestmark = pytest.mark.stack

AGENTS = Path(__file__).parents[2] / "agents"
NO_TRACE = TraceHeaders()


class Host:
    """An agent host and the agent it runs."""

    def __init__(self, runtime: JobRuntime, agent: AgentVersion) -> None:
        self._runtime = runtime
        self._agent = agent

    async def start(self, job: JobRecord, body: bytes) -> InbandStatus:
        return await self._runtime.start_job(self._agent, job.session_id, job.job_id, body, NO_TRACE)

    async def probe(self, job: JobRecord) -> InbandStatus:
        return await self._runtime.probe_job(self._agent, job.session_id, job.job_id)

    async def stop(self, job: JobRecord) -> None:
        await self._runtime.stop(self._agent, job.session_id)

    async def ended(self, job: JobRecord) -> InbandStatus:
        while (status := await self.probe(job)).state == "running":
            await SystemClock().sleep(0.02)
        return status


@asynccontextmanager
async def _fake(_: Path) -> AsyncIterator[Host]:
    yield Host(FakeRuntime(SystemClock()), make_agent())


@asynccontextmanager
async def _real(folder: Path) -> AsyncIterator[Host]:
    async with AsyncExitStack() as stack:
        options = Options(state=folder, code_root=AGENTS, python=PYTHON)
        core = await stack.enter_async_context(LocalAgentCore(options))
        allowed = {"requestHeaderAllowlist": list(ALLOWED_HEADERS)}
        arn = await Sdk(core).create("echo", "echo-agent", requestHeaderConfiguration=allowed)
        client = await stack.enter_async_context(agentcore(core.data_url, SystemClock()))
        yield Host(client, make_agent().model_copy(update={"runtime_arn": arn}))


@pytest.fixture(params=[_fake, _real], ids=["fake", "real"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    async with request.param(tmp_path) as host:
        yield host


async def test_jobs_as_ticks_need_them(host: Host) -> None:
    await _a_fresh_session_does_not_know_the_job(host)
    await _a_job_started_twice_runs_once_and_its_result_is_the_agents_json(host)
    await _what_the_agent_raises_is_a_failure(host)
    await _a_stopped_session_has_forgotten_and_may_be_stopped_again(host)


async def _a_fresh_session_does_not_know_the_job(host: Host) -> None:
    job = make_job()
    status = await host.probe(job)
    assert (status.state, status.ref, status.result_json) == ("unknown", job.job_id, b"null")


async def _a_job_started_twice_runs_once_and_its_result_is_the_agents_json(host: Host) -> None:
    job = make_job()
    first = await host.start(job, b'{"prompt":"h\xc3\xa9","durationS":0.4}')
    again = await host.start(job, b'{"prompt":"another","durationS":60}')
    assert (first.state, first.ref, again.boot_id) == ("running", job.job_id, first.boot_id)
    ended = await host.ended(job)
    assert (ended.state, ended.boot_id, ended.error) == ("succeeded", first.boot_id, None)
    assert ended.result_json == '{"echo": "hé"}'.encode()


async def _what_the_agent_raises_is_a_failure(host: Host) -> None:
    job = make_job()
    await host.start(job, b'{"prompt":"hi","failAfter":0}')
    ended = await host.ended(job)
    assert (ended.state, ended.result_json) == ("failed", b"null")
    assert ended.error is not None


async def _a_stopped_session_has_forgotten_and_may_be_stopped_again(host: Host) -> None:
    job = make_job()
    started = await host.start(job, b'{"prompt":"hi","durationS":60}')
    busy = await host.probe(job)
    assert (busy.state, busy.ping) == ("running", "HealthyBusy")
    await host.stop(job)
    await host.stop(job)
    fresh = await host.probe(job)
    assert fresh.state == "unknown"
    assert fresh.boot_id != started.boot_id
