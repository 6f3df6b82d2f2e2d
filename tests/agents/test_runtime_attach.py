"""Going on with a streamed turn that another gateway had begun."""

from contextlib import aclosing

import pytest

from agents.errors import AgentFailedError, RuntimeBrokenError, RuntimeRefusedError
from agents.inband import ACTION_HEADER, REF_HEADER
from agents.invocation import AgentChunk
from agents.runtime import SESSION_HEADER
from tests.agents.given import INVOCATION, SESSION, agent, agentcore
from tests.agents.upstream import http, upstream


async def test_an_attach_names_the_turn_and_the_last_event_and_brings_what_follows() -> None:
    rest = b'data: {"n": 18}\n\ndata: {"n": 19}\n\n'
    async with (
        upstream(http(body=rest, content_type="text/event-stream")) as server,
        agentcore(server.url) as core,
        core.attach(agent(), SESSION, INVOCATION, 17) as answer,
        aclosing(answer.events()) as arrivals,
    ):
        events = [event async for arrived in arrivals for event in arrived]
    [received] = server.received
    sent = {name: received.headers[name] for name in (ACTION_HEADER, REF_HEADER, SESSION_HEADER, "Accept")}
    assert sent == {
        ACTION_HEADER: "attach",
        REF_HEADER: INVOCATION,
        SESSION_HEADER: SESSION,
        "Accept": "text/event-stream",
    }
    assert received.body == b'{"after":17}'
    assert events == [AgentChunk(b'{"n": 18}'), AgentChunk(b'{"n": 19}')]


async def test_a_turn_that_its_agent_keeps_no_more_is_a_fault() -> None:
    refused = http(424, body=b'{"message":"no"}')
    async with upstream(refused) as server, agentcore(server.url) as core:
        with pytest.raises(AgentFailedError):
            async with core.attach(agent(), SESSION, INVOCATION, 17):
                pass


async def test_an_answer_that_is_neither_a_stream_nor_json_is_not_passed_on() -> None:
    odd = http(body=b"<html>", content_type="text/html")
    async with upstream(odd) as server, agentcore(server.url) as core:
        with pytest.raises(RuntimeBrokenError):
            async with core.attach(agent(), SESSION, INVOCATION, 17):
                pass


async def test_an_agent_without_the_kit_is_never_asked_to_go_on() -> None:
    async with upstream(http(body=b"{}")) as server, agentcore(server.url) as core:
        with pytest.raises(RuntimeRefusedError):
            async with core.attach(agent(kit=False), SESSION, INVOCATION, 17):
                pass
    assert server.received == []
