"""The main job: an agent answers at once, as a stream and as a job."""

import asyncio

import pytest

from tests.flows.conftest import ECHO, Caller

pytestmark = pytest.mark.stack


async def until_ended(caller: Caller, path: str) -> dict[str, object]:
    """Poll as a client would, until the record is terminal."""
    async with asyncio.timeout(30):
        while True:
            status, record = await caller.get(path)
            assert status == 200
            if record["status"] not in ("queued", "running"):
                return record
            await asyncio.sleep(0.05)


async def test_sync_answers_with_the_agents_own_json(acme: Caller) -> None:
    answer, body = await acme.post(ECHO, acme.echo())
    assert (answer.status, body) == (200, {"echo": "one two three"})
    assert answer.headers["X-Session-Id"].startswith("ses_")
    status, record = await acme.get(f"/v1/invocations/{answer.headers['X-Invocation-Id']}")
    assert status == 200
    assert (record["status"], record["mode"], record["agent"]) == ("succeeded", "sync", "echo-agent")


async def test_a_stream_arrives_event_by_event(acme: Caller) -> None:
    events = [event async for event in acme.stream(acme.echo())]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.name for event in events] == [
        "invocation.started",
        "agent.chunk",
        "agent.chunk",
        "agent.chunk",
        "invocation.completed",
    ]
    assert [event.json for event in events[1:-1]] == [
        {"index": 0, "text": "one "},
        {"index": 1, "text": "two "},
        {"index": 2, "text": "three"},
    ]
    assert set(events[0].json) == {"invocationId", "sessionId"}
    record = await until_ended(acme, f"/v1/invocations/{events[0].json['invocationId']}")
    assert (record["status"], record["chunks"]) == ("succeeded", 3)


async def test_the_first_chunk_arrives_before_the_last_is_made(acme: Caller) -> None:
    async for event in acme.stream(acme.echo(chunks=2, delayMs=3_000_000)):
        if event.name == "agent.chunk":
            assert event.json["index"] == 0
            break
    else:
        pytest.fail("no chunk came")


async def test_a_job_is_accepted_and_polled_to_its_result(acme: Caller) -> None:
    answer, accepted = await acme.post(ECHO, acme.echo(durationS=0.3), {"Prefer": "respond-async"})
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/jobs/{accepted['jobId']}"
    assert int(answer.headers["Retry-After"]) > 0
    job = await until_ended(acme, answer.headers["Location"])
    assert (job["status"], job["result"]) == ("succeeded", {"echo": "one two three"})
    assert job["progress"] == {"percent": 100, "message": "done"}


async def test_a_large_input_and_result_make_the_round_trip(acme: Caller) -> None:
    prompt = "a" * 40_000
    answer, accepted = await acme.post(ECHO, acme.echo(prompt=prompt), {"Prefer": "respond-async"})
    assert answer.status == 202
    assert (await until_ended(acme, f"/v1/jobs/{accepted['jobId']}"))["result"] == {"echo": prompt}


async def test_jobs_are_listed_newest_first_page_by_page(globex: Caller) -> None:
    made = []
    for _ in range(3):
        _, accepted = await globex.post(ECHO, globex.echo(), {"Prefer": "respond-async"})
        made.append(accepted["jobId"])
    _, first = await globex.get("/v1/jobs?limit=2")
    _, second = await globex.get(f"/v1/jobs?limit=2&cursor={first['nextCursor']}")
    listed = [job["jobId"] for page in (first, second) for job in page["items"]]  # type: ignore[attr-defined]
    assert listed[:3] == made[::-1]


async def test_an_agent_that_fails_at_once_is_a_502_that_says_so(acme: Caller) -> None:
    answer, problem = await acme.post(ECHO, acme.echo(failAfter=0))
    assert (answer.status, problem["code"]) == (502, "agent_error")
    assert answer.content_type == "application/problem+json"
    assert "failed as asked" not in str(problem)


async def test_an_agent_that_fails_mid_stream_ends_it_with_one_failed_event(acme: Caller) -> None:
    events = [event async for event in acme.stream(acme.echo(chunks=4, failAfter=2))]
    assert [event.name for event in events] == [
        "invocation.started",
        "agent.chunk",
        "agent.chunk",
        "invocation.failed",
    ]
    assert events[-1].json["code"] == "agent_error"
    record = await until_ended(acme, f"/v1/invocations/{events[0].json['invocationId']}")
    assert (record["status"], record["chunks"]) == ("failed", 2)


async def test_a_job_that_raises_ends_failed_with_its_cause(acme: Caller) -> None:
    _, accepted = await acme.post(ECHO, acme.echo(failAfter=0), {"Prefer": "respond-async"})
    job = await until_ended(acme, f"/v1/jobs/{accepted['jobId']}")
    assert job["status"] == "failed"
    assert job["error"]["code"] == "agent_error"  # type: ignore[index]
    assert "result" not in job


async def test_a_session_keeps_its_agent_process(acme: Caller) -> None:
    answer, _ = await acme.post(ECHO, acme.echo())
    session = answer.headers["X-Session-Id"]
    again, _ = await acme.post(ECHO, acme.echo() | {"sessionId": session})
    assert (again.status, again.headers["X-Session-Id"]) == (200, session)


async def test_a_second_concurrent_turn_of_a_session_is_refused(acme: Caller) -> None:
    answer, _ = await acme.post(ECHO, acme.echo())
    turn = acme.echo(chunks=2, delayMs=3_000_000) | {"sessionId": answer.headers["X-Session-Id"]}
    async for event in acme.stream(turn):
        if event.name == "agent.chunk":
            second, problem = await acme.post(ECHO, turn)
            assert (second.status, problem["code"]) == (409, "session_busy")
            break
