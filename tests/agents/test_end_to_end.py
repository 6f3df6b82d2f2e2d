"""The clients of both planes, the kit and echo-agent together, on the real local AgentCore."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import aioboto3
import orjson
import pytest
import pytest_asyncio

from agents.authorize import SigV4Authorizer
from agents.control import ControlPlane, WantedRuntime
from agents.errors import AgentFailedError, RuntimeMissingError, RuntimeRefusedError
from agents.inband import InbandStatus
from agents.invocation import AgentChunk, AgentError, AgentUsage, Invocation, TraceHeaders
from agents.runtime import AgentCore
from agents.sigv4 import SigV4Signer, StaticCredentials
from ops.devstack.runtime.callers import DevKey
from ops.devstack.runtime.server import LocalAgentCore, Options
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, Mode
from tenancy.ids import JobId, SessionId, new_invocation_id, new_job_id, new_session_id
from tests.agents.given import NOW, TIMEOUTS, agent, agentcore, context, one_by_one, permit

pytestmark = [
    pytest.mark.stack,
    pytest.mark.asyncio(loop_scope="module"),
]

AGENTS = Path(__file__).parents[2] / "agents"
REGION = "eu-west-1"
CLOCK = SystemClock()
KEY = DevKey("AKIDLOCAL", "local secret")
WANTED = WantedRuntime(
    "echo_agent", "000000000000.dkr.ecr.local.amazonaws.com/echo-agent:1", "arn:aws:iam::000000000000:role/agent"
)


@dataclass(frozen=True)
class Running:
    """echo-agent on a local AgentCore that takes signed calls only."""

    core: AgentCore
    control: ControlPlane
    agent: AgentVersion

    def invocation(self, mode: Mode, session_id: SessionId, **payload: object) -> Invocation:
        body = orjson.dumps(payload)
        return Invocation(new_invocation_id(NOW), context(), self.agent, mode, session_id, body)

    async def read(self, session_id: SessionId, **payload: object) -> bytes:
        wanted = self.invocation(Mode.SYNC, session_id, **payload)
        async with self.core(permit(wanted), wanted) as answer:
            return await answer.read()

    async def ended(self, session_id: SessionId, job_id: JobId) -> InbandStatus:
        async with asyncio.timeout(10):
            while (status := await self.core.probe_job(self.agent, session_id, job_id)).state == "running":
                pass
        return status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    options = Options(
        state=tmp_path_factory.mktemp("agentcore"),
        code_root=AGENTS,
        python=AGENTS / "echo-agent/.venv/bin/python",
        key=KEY,
        region=REGION,
        require_auth=True,
    )
    aws = aioboto3.Session(aws_access_key_id=KEY.access_key, aws_secret_access_key=KEY.secret_key, region_name=REGION)
    authorizer = SigV4Authorizer(SigV4Signer(REGION), StaticCredentials(KEY.access_key, KEY.secret_key), CLOCK)
    async with (
        LocalAgentCore(options) as local,
        aws.client("bedrock-agentcore-control", endpoint_url=local.control_url) as client,
        agentcore(local.data_url, CLOCK, authorizer=lambda _: authorizer, timeouts=TIMEOUTS) as core,
    ):
        control = ControlPlane(client, clock=CLOCK)
        ref = await control.ensure_runtime(WANTED)
        yield Running(core, control, agent(arn=ref.arn).model_copy(update={"qualifier": "DEFAULT"}))


async def test_registering_again_changes_nothing(running: Running) -> None:
    again = await running.control.ensure_runtime(WANTED)
    assert (again.arn, again.version) == (running.agent.runtime_arn, "1")


async def test_a_sync_call_is_answered_by_the_agent(running: Running) -> None:
    assert await running.read(new_session_id(), prompt="hé") == '{"echo": "hé"}'.encode()


async def test_a_stream_is_the_agents_events_byte_for_byte(running: Running) -> None:
    wanted = running.invocation(Mode.STREAM, new_session_id(), prompt="hé you", failAfter=2)
    async with running.core(permit(wanted), wanted) as answer, aclosing(one_by_one(answer)) as events:
        assert [event async for event in events] == [
            AgentUsage(2, 2),
            AgentChunk('{"index": 0, "text": "hé "}'.encode()),
            AgentChunk(b'{"index": 1, "text": "you"}'),
            AgentError("RuntimeError"),
        ]


async def test_an_agent_that_raises_is_a_fault(running: Running) -> None:
    with pytest.raises(AgentFailedError):
        await running.read(new_session_id(), prompt="x", failAfter=0)


async def test_a_job_runs_to_its_result_and_is_lost_with_its_session(running: Running) -> None:
    session_id, job_id = new_session_id(), new_job_id(NOW)
    body = b'{"prompt": "a b", "durationS": 0.2}'
    begun = await running.core.start_job(running.agent, session_id, job_id, body, TraceHeaders())
    assert (begun.state, begun.ping) == ("running", "HealthyBusy")
    over = await running.ended(session_id, job_id)
    assert (over.state, over.result_json, over.boot_id) == ("succeeded", b'{"echo": "a b"}', begun.boot_id)
    await running.core.stop(running.agent, session_id)
    lost = await running.core.probe_job(running.agent, session_id, job_id)
    assert lost.state == "unknown"
    assert lost.boot_id != begun.boot_id


async def test_a_turn_stopped_in_band_ends_its_stream_and_keeps_its_session(running: Running) -> None:
    session_id = new_session_id()
    boot_id = (await running.core.probe_job(running.agent, session_id, new_job_id(NOW))).boot_id
    wanted = running.invocation(Mode.STREAM, session_id, prompt="a b", delayMs=600_000)
    async with running.core(permit(wanted), wanted) as answer, aclosing(one_by_one(answer)) as events:
        assert [await anext(events) for _ in range(2)] == [AgentUsage(2, 2), AgentChunk(b'{"index": 0, "text": "a "}')]
        assert await running.core.stop_turn(running.agent, session_id, wanted.id)
        assert [event async for event in events] == [AgentError("StoppedError")]
    assert (await running.core.probe_job(running.agent, session_id, new_job_id(NOW))).boot_id == boot_id


async def test_leaving_a_silent_stream_frees_its_session_for_the_next_turn(running: Running) -> None:
    session_id = new_session_id()
    wanted = running.invocation(Mode.STREAM, session_id, prompt="a b", delayMs=600_000)
    async with running.core(permit(wanted), wanted) as answer, aclosing(one_by_one(answer)) as events:
        await anext(events)
    assert await running.read(session_id, prompt="next") == b'{"echo": "next"}'


async def test_a_session_is_stopped_once_and_then_gone(running: Running) -> None:
    session_id = new_session_id()
    await running.read(session_id, prompt="x")
    await running.core.stop(running.agent, session_id)
    await running.core.stop(running.agent, session_id)


async def test_an_unknown_runtime_is_missing(running: Running) -> None:
    gone = running.agent.model_copy(update={"runtime_arn": running.agent.runtime_arn[:-4] + "gone"})
    with pytest.raises(RuntimeMissingError):
        await Running(running.core, running.control, gone).read(new_session_id(), prompt="x")


async def test_a_wrong_secret_is_refused(running: Running) -> None:
    wrong = SigV4Authorizer(SigV4Signer(REGION), StaticCredentials(KEY.access_key, "another"), CLOCK)
    endpoint = f"http://{running.core._regions.home.upstream.host}"
    async with agentcore(endpoint, CLOCK, authorizer=lambda _: wrong) as core:
        with pytest.raises(RuntimeRefusedError):
            await Running(core, running.control, running.agent).read(new_session_id(), prompt="x")
