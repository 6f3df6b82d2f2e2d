"""What is said in-band to agents built with the kit."""

import asyncio

import orjson
import pytest

from agents.errors import RuntimeBrokenError, RuntimeRefusedError, RuntimeTimeoutError
from agents.inband import ACTION_HEADER, REF_HEADER, TokenUsage
from agents.invocation import TraceHeaders
from agents.runtime import SESSION_HEADER
from tenancy.data_models import Progress
from tenancy.ids import JobId
from tests.agents.given import INVOCATION, SESSION, agent, agentcore
from tests.agents.upstream import hangs, http, refuse, upstream

JOB = JobId("job_" + "2" * 26)


def told(state: str, ref: str = JOB, *, result: bytes = b"null", **more: object) -> bytes:
    head = {"bootId": "b", "ref": ref, "state": state, "ping": "Healthy", "progress": None, "error": None} | more
    return orjson.dumps(head)[:-1] + b', "result": ' + result + b"}"


async def test_starting_a_job_sends_its_input_untouched() -> None:
    body = b'{"same": 1,  "same": 2}'
    async with upstream(http(body=told("running"))) as server, agentcore(server.url) as core:
        status = await core.start_job(agent(), SESSION, JOB, body, TraceHeaders("00-trace"))
    [received] = server.received
    assert received.body == body
    sent = {name: received.headers[name] for name in (ACTION_HEADER, REF_HEADER, SESSION_HEADER, "traceparent")}
    assert sent == {ACTION_HEADER: "start", REF_HEADER: JOB, SESSION_HEADER: SESSION, "traceparent": "00-trace"}
    assert status.state == "running"


async def test_a_probe_tells_how_the_job_stands() -> None:
    result = b'{"float": 1e2, "big": 123456789012345678901234567890, "result": {"same": 1, "same": 2}}'
    answer = told(
        "succeeded",
        result=result,
        progress={"percent": 40, "message": 'says ", "result": 1}'},
        usage={"inputTokens": 1, "outputTokens": 2},
    )
    async with upstream(http(body=answer)) as server, agentcore(server.url) as core:
        status = await core.probe_job(agent(), SESSION, JOB)
    assert server.received[0].headers[ACTION_HEADER] == "status"
    assert status.result_json == result
    assert status.progress == Progress(percent=40, message='says ", "result": 1}')
    assert status.usage == TokenUsage(inputTokens=1, outputTokens=2)


@pytest.mark.parametrize(
    "answer",
    [
        told("running", "job_" + "3" * 26),
        told("sleeping"),
        told("running", result=b"{"),
        told("running", progress={"percent": 101}),
        b'{"echo": "hi"}',
        b"[]",
    ],
)
async def test_an_answer_that_is_not_the_kits_is_a_fault(answer: bytes) -> None:
    async with upstream(http(body=answer)) as server, agentcore(server.url) as core:
        with pytest.raises(RuntimeBrokenError) as raised:
            await core.probe_job(agent(), SESSION, JOB)
    assert raised.value.__cause__ is None


async def test_an_agent_without_the_kit_is_never_asked() -> None:
    async with upstream(http(body=told("running"))) as server, agentcore(server.url) as core:
        with pytest.raises(RuntimeRefusedError):
            await core.start_job(agent(kit=False), SESSION, JOB, b"{}", TraceHeaders())
        assert await core.stop_turn(agent(kit=False), SESSION, INVOCATION) is False
    assert server.received == []


@pytest.mark.parametrize(("state", "stopped"), [("cancelled", True), ("unknown", True), ("running", False)])
async def test_a_turn_is_stopped_when_its_agent_says_it_no_longer_runs(state: str, *, stopped: bool) -> None:
    async with upstream(http(body=told(state, INVOCATION))) as server, agentcore(server.url) as core:
        assert await core.stop_turn(agent(), SESSION, INVOCATION) is stopped
    assert server.received[0].headers[ACTION_HEADER] == "stop"


async def test_a_stop_that_fails_says_so_without_raising(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.runtime.STOP_TURN_TIMEOUT_S", 0.1)
    async with upstream(refuse(424, "RuntimeClientError"), hangs) as server, agentcore(server.url) as core:
        assert await core.stop_turn(agent(), SESSION, INVOCATION) is False
        assert await core.stop_turn(agent(), SESSION, INVOCATION) is False


async def test_a_probe_that_is_not_answered_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.runtime.PROBE_TIMEOUT_S", 0.05)
    async with upstream(hangs) as server, agentcore(server.url) as core, asyncio.timeout(5):
        with pytest.raises(RuntimeTimeoutError):
            await core.probe_job(agent(), SESSION, JOB)
