"""What lockgate-kit promises, shown on agents that strain it."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from tests.kit.conftest import LOCKGATE, Agents

pytestmark = pytest.mark.stack

SSE = "text/event-stream"


async def ended(agents: Agents, ref: str, agent: str = "probe") -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (status := await agents.ask(agent, "status", ref))["state"] == "running":
            pass
    return status


async def test_a_job_runs_once_however_often_it_is_started(agents: Agents) -> None:
    payload = {"name": "once", "do": "wait"}
    starts = [agents.ask("probe", "start", "once", payload) for _ in range(12)]
    assert {status["state"] for status in await asyncio.gather(*starts)} == {"running"}
    await agents.happen("once.go")
    assert (await ended(agents, "once"))["state"] == "succeeded"
    assert (await agents.ask("probe", "start", "once", payload))["state"] == "succeeded"
    assert await agents.count("once") == 1


async def test_a_job_keeps_its_session_busy_until_its_end_was_told(agents: Agents) -> None:
    await agents.ask("probe", "start", "busy", {"name": "busy", "do": "wait"})
    assert await agents.ping("probe") == "HealthyBusy"
    await agents.happen("busy.go")
    told = await ended(agents, "busy")
    assert (told["state"], told["ping"]) == ("succeeded", "Healthy")
    assert await agents.ping("probe") == "Healthy"


async def test_a_job_that_ended_while_nobody_asked_keeps_its_session_until_somebody_does(agents: Agents) -> None:
    await agents.ask("probe", "start", "unread", {"name": "unread", "do": "wait"})
    await agents.happen("unread.go")
    await agents.until("unread.end")
    # One after it on the same loop has ended too: the first one's end is settled.
    await agents.ask("probe", "start", "later", {"name": "later", "do": "raise"})
    await ended(agents, "later")
    assert await agents.ping("probe") == "HealthyBusy"
    assert (await ended(agents, "unread"))["state"] == "succeeded"
    assert await agents.ping("probe") == "Healthy"


async def test_a_result_arrives_as_the_bytes_it_was_made(agents: Agents) -> None:
    await agents.happen("bytes.go")
    await agents.ask("probe", "start", "bytes", {"name": "bytes", "do": "wait"})
    await ended(agents, "bytes")
    async with agents.invoke("probe", {}, action="status", ref="bytes") as answer:
        text = await answer.text()
    assert text.endswith('"result": {"name": "bytes", "exact": 123456789012345678901234567890, "float": 100.0}}')


async def test_progress_is_kept_in_bounds_and_usage_adds_up(agents: Agents) -> None:
    await agents.ask("probe", "start", "bounds", {"name": "bounds", "do": "raise"})
    status = await ended(agents, "bounds")
    assert status["progress"] == {"percent": 100, "message": "m" * 500}
    assert status["usage"] == {"inputTokens": 2, "outputTokens": 7}
    assert status["error"] == {"type": "LookupError", "message": "e" * 500}


@pytest.mark.parametrize(("do", "kind"), [("raise", "LookupError"), ("nan", "ValueError"), ("exit", "RuntimeError")])
async def test_a_job_that_raises_has_failed_and_harms_no_other(agents: Agents, do: str, kind: str) -> None:
    await agents.ask("probe", "start", "bad-" + do, {"name": do, "do": do})
    status = await ended(agents, "bad-" + do)
    assert status["state"] == "failed"
    assert status["error"]["type"] == kind
    assert await agents.value("coroutine-quick", "still here") == "still here"


async def test_a_ref_nobody_started_is_unknown(agents: Agents) -> None:
    status = await agents.ask("probe", "status", "never")
    assert (status["state"], status["ref"], status["result"]) == ("unknown", "never", None)


async def test_the_last_hundred_ended_jobs_are_remembered(agents: Agents) -> None:
    for number in range(102):
        await agents.ask("blocker", "start", f"many-{number}", {"name": "many", "do": "end"})
        await ended(agents, f"many-{number}", "blocker")
    states = [(await agents.ask("blocker", "status", f"many-{number}"))["state"] for number in (0, 101)]
    assert states == ["unknown", "succeeded"]


async def test_a_stopped_job_has_ended_and_run_its_finally(agents: Agents) -> None:
    await agents.ask("probe", "start", "halt", {"name": "halt", "do": "idle"})
    assert (await agents.ask("probe", "stop", "halt"))["state"] == "cancelled"
    assert await agents.until("halt.end")
    assert (await agents.ask("probe", "status", "halt"))["state"] == "cancelled"


async def test_what_was_stopped_before_it_came_never_runs(agents: Agents) -> None:
    assert (await agents.ask("probe", "stop", "early"))["state"] == "unknown"
    started = await agents.ask("probe", "start", "early", {"name": "early", "do": "idle"})
    assert started["state"] == "cancelled"
    assert await agents.count("early") == 0
    async with agents.invoke("probe", {"name": "early", "do": "idle"}, ref="early", accept=SSE) as answer:
        assert answer.status == 409


async def test_status_is_answered_while_a_job_blocks_the_loop(agents: Agents) -> None:
    await agents.ask("blocker", "start", "block", {"name": "block", "do": "block"})
    await agents.until("block")
    status = await agents.ask("blocker", "status", "block")
    assert (status["state"], status["ping"]) == ("running", "HealthyBusy")
    assert (await agents.ask("blocker", "stop", "block"))["state"] == "running"
    await agents.happen("block.go")
    await ended(agents, "block", "blocker")


async def test_a_stream_stopped_while_it_is_silent_ends_at_once_and_says_so(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "mute", "do": "idle"}, ref="turn-1", accept=SSE) as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert first == b'data: {"ref": "turn-1", "session": "' + b"s" * 40 + b'"}\n\n'
        assert (await agents.ask("probe", "stop", "turn-1"))["state"] == "cancelled"
        assert b'"error_type": "StoppedError"' in await answer.content.read()
    assert await agents.until("mute")


async def test_a_reader_that_leaves_a_silent_stream_ends_its_agent(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "left", "do": "idle"}, accept=SSE) as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    assert await agents.until("left")


async def test_a_reader_that_does_not_read_holds_its_agent_back(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "flood", "do": "flood"}, accept=SSE) as answer:
        await answer.content.readuntil(b"\n\n")
        seen = list(range(20))
        while len(set(seen[-20:])) > 1 and seen[-1] < 1000:
            seen.append(await agents.count("flood"))
        assert 0 < seen[-1] < 1000
        answer.close()
    assert await agents.until("flood")


async def test_who_attaches_goes_on_after_the_event_it_names_though_that_was_read_before(agents: Agents) -> None:
    payload = {"name": "handed-on", "do": "numbers"}
    async with agents.invoke("probe", payload, ref="handed-on", accept=SSE) as answer:
        while b"data: 99\n" not in await answer.content.readuntil(b"\n\n"):
            pass
        answer.close()
    await agents.happen("handed-on.go")
    assert await attached(agents, "handed-on", 40) == b"".join(b"data: %d\n\n" % number for number in range(41, 200))


async def test_a_stream_can_be_attached_to_after_its_end(agents: Agents) -> None:
    await agents.happen("over.go")
    async with agents.invoke("probe", {"name": "over", "do": "numbers"}, ref="over", accept=SSE) as answer:
        whole = await answer.read()
    assert await attached(agents, "over", 0) == whole
    assert await attached(agents, "over", 199) == b""


async def test_who_attaches_is_told_again_of_what_was_used(agents: Agents) -> None:
    async with agents.invoke("echo", {"prompt": "one two"}, ref="told", accept=SSE) as answer:
        assert (await answer.read()).count(b": lockgate-usage 2-2\n") == 1
    async with agents.invoke("echo", {"after": 1}, action="attach", ref="told") as answer:
        rest = await answer.read()
    assert rest == b': lockgate-usage 2-2\ndata: {"index": 1, "text": "two"}\n\n'


async def test_who_attaches_to_what_failed_is_told_of_the_failure_alone(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "bad", "do": "nan"}, ref="bad-turn", accept=SSE) as answer:
        whole = await answer.read()
    assert (await attached(agents, "bad-turn", 1)).startswith(b'data: {"error": ')
    assert whole.endswith(await attached(agents, "bad-turn", 1))


async def test_the_reader_that_another_one_replaces_is_cut_off_and_not_told_of_an_end(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "two", "do": "numbers"}, ref="two", accept=SSE) as answer:
        await answer.content.readuntil(b"data: 99\n\n")
        async with agents.invoke("probe", {"after": 99}, action="attach", ref="two") as second:
            with pytest.raises(ClientPayloadError):
                await answer.content.read()
            await agents.happen("two.go")
            assert (await second.read()).startswith(b"data: 100\n\n")
    assert await agents.until("two")


async def test_a_turn_with_a_ref_outlasts_its_reader_and_is_held_back_meanwhile(agents: Agents) -> None:
    async with agents.invoke("probe", {"name": "alone", "do": "flood"}, ref="alone", accept=SSE) as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    seen = list(range(20))
    while len(set(seen[-20:])) > 1 and seen[-1] < 1000:
        seen.append(await agents.count("alone"))
    assert 0 < seen[-1] < 1000
    assert (await agents.ask("probe", "status", "alone"))["state"] == "running"
    assert (await agents.ask("probe", "stop", "alone"))["state"] == "cancelled"
    assert await agents.until("alone")


@pytest.mark.parametrize(
    ("ref", "after", "status"),
    [("never", 0, 404), ("large", 0, 410), ("large", 102, 410), ("large", -1, 400), ("large", True, 400)],
)
async def test_what_is_not_kept_cannot_be_attached_to(agents: Agents, ref: str, after: int | str, status: int) -> None:
    async with agents.invoke("probe", {"name": "large", "do": "large"}, ref="large", accept=SSE) as answer:
        await answer.read()
    async with agents.invoke("probe", {"after": after}, action="attach", ref=ref) as refused:
        assert refused.status == status


@pytest.mark.parametrize(("do", "kind"), [("exit", b"RuntimeError"), ("nan", b"ValueError")])
async def test_a_stream_that_raises_ends_with_the_sdks_error_event(agents: Agents, do: str, kind: bytes) -> None:
    async with agents.invoke("probe", {"name": "bad", "do": do}, accept=SSE) as answer:
        last = (await answer.read()).split(b"\n\n")[-2]
    assert b'"error_type": "' + kind in last
    assert last.endswith(b'"message": "An error occurred during streaming"}')


async def test_a_plain_function_asked_to_stop_finds_it_out(agents: Agents) -> None:
    turn = asyncio.create_task(_status(agents, "plain", {"name": "plain"}, "turn-2"))
    await agents.until("plain")
    assert (await agents.ask("plain", "stop", "turn-2"))["state"] == "cancelled"
    assert await turn == 409


async def test_a_coroutine_asked_to_stop_is_cancelled(agents: Agents) -> None:
    turn = asyncio.create_task(_status(agents, "coroutine", {"name": "coroutine"}, "turn-3"))
    await agents.until("coroutine")
    assert (await agents.ask("coroutine", "stop", "turn-3"))["state"] == "cancelled"
    assert await turn == 409
    assert (await agents.ask("coroutine", "status", "turn-3"))["state"] == "unknown"


async def test_a_payload_is_never_read_for_control(agents: Agents) -> None:
    payload = {LOCKGATE + "Action": "stop", "_agent_core_app_action": "force_busy", "action": "stop"}
    assert await agents.value("coroutine-quick", payload) == payload
    assert await agents.ping("coroutine-quick") == "Healthy"


@pytest.mark.parametrize(
    ("agent", "accept", "kind"),
    [
        ("probe", SSE, SSE),
        ("probe", "application/json, text/event-stream;q=0.9", SSE),
        ("probe", "*/*", "application/json"),
        ("stream-only", "*/*", SSE),
        ("coroutine-quick", SSE, "application/json"),
    ],
)
async def test_the_answer_is_of_the_kind_that_is_accepted(agents: Agents, agent: str, accept: str, kind: str) -> None:
    async with agents.invoke(agent, {"name": "kind", "do": "end"}, accept=accept) as answer:
        assert (answer.status, answer.content_type) == (200, kind)


@pytest.mark.parametrize(
    ("agent", "accept", "action", "status", "says"),
    [
        ("stream-only", "application/json", None, 406, "this agent answers stream only"),
        ("plain", "*/*", "start", 406, "this agent answers sync only"),
        ("probe", "*/*", "begin", 400, "Action is not one of start, status, stop, attach"),
    ],
)
async def test_what_an_agent_cannot_do_is_refused(
    agents: Agents, agent: str, accept: str, action: str | None, status: int, says: str
) -> None:
    async with agents.invoke(agent, {}, accept=accept, action=action, ref="x") as answer:
        assert answer.status == status
        assert says in (await answer.json())["error"]


async def test_an_action_without_a_ref_is_refused(agents: Agents) -> None:
    async with agents.invoke("probe", {}, action="status") as answer:
        assert answer.status == 400


async def test_the_agent_of_the_documentation_does_what_it_shows(agents: Agents) -> None:
    assert await agents.value("documented", {"prompt": "hi"}) == {"answer": "HI"}
    async with agents.invoke("documented", {"prompt": "one two"}, accept=SSE) as answer:
        assert await answer.read() == b'data: {"text": "one"}\n\ndata: {"text": "two"}\n\n'
    await agents.ask("documented", "start", "shown", {"sources": ["doc-a", "doc-b"]})
    status = await ended(agents, "shown", "documented")
    assert status["progress"] == {"percent": 50, "message": "reading doc-b"}
    assert status["usage"] == {"inputTokens": 1200, "outputTokens": 300}
    assert status["result"] == {"report": "…"}


async def attached(agents: Agents, ref: str, after: int) -> bytes:
    async with agents.invoke("probe", {"after": after}, action="attach", ref=ref) as answer:
        assert (answer.status, answer.content_type) == (200, SSE)
        return await answer.read()


async def _status(agents: Agents, agent: str, payload: object, ref: str) -> int:
    async with agents.invoke(agent, payload, ref=ref) as answer:
        status: int = answer.status
        return status
