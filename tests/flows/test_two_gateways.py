"""Two gateway processes on one stack: either one knows and can end what the other serves."""

import pytest

from tests.flows.conftest import ECHO, Caller
from tests.flows.test_three_modes import until_ended

pytestmark = pytest.mark.stack

NEVER_MS = 3_000_000


async def test_a_record_is_readable_on_every_process_before_its_first_byte(
    acme: Caller, acme_elsewhere: Caller
) -> None:
    async for event in acme.stream(acme.echo(chunks=2, delayMs=NEVER_MS)):
        status, record = await acme_elsewhere.get(f"/v1/invocations/{event.json['invocationId']}")
        assert (status, record["status"]) == (200, "running")
        break


async def test_a_cancel_reaches_the_process_that_serves_the_invocation(acme: Caller, acme_elsewhere: Caller) -> None:
    names: list[str] = []
    invocation = ""
    async for event in acme.stream(acme.echo(chunks=2, delayMs=NEVER_MS)):
        names.append(event.name)
        invocation = invocation or str(event.json["invocationId"])
        if event.name == "agent.chunk":
            answer, _ = await acme_elsewhere.post(f"/v1/invocations/{invocation}/cancel")
            assert answer.status == 202
    assert names == ["invocation.started", "agent.chunk", "invocation.cancelled"]
    record = await until_ended(acme_elsewhere, f"/v1/invocations/{invocation}")
    assert record["status"] == "cancelled"


async def test_a_session_has_one_turn_at_a_time_across_processes(acme: Caller, acme_elsewhere: Caller) -> None:
    first, _ = await acme.post(ECHO, acme.echo())
    turn = acme.echo(chunks=2, delayMs=NEVER_MS) | {"sessionId": first.headers["X-Session-Id"]}
    async for event in acme.stream(turn):
        if event.name == "agent.chunk":
            answer, problem = await acme_elsewhere.post(ECHO, turn)
            assert (answer.status, problem["code"]) == (409, "session_busy")
            break


async def test_a_session_goes_on_at_another_process(acme: Caller, acme_elsewhere: Caller) -> None:
    first, _ = await acme.post(ECHO, acme.echo())
    session_id = first.headers["X-Session-Id"]
    again, body = await acme_elsewhere.post(ECHO, acme.echo() | {"sessionId": session_id})
    assert (again.status, body) == (200, {"echo": "one two three"})


async def test_a_job_accepted_here_is_known_there_at_once(acme: Caller, acme_elsewhere: Caller) -> None:
    _, accepted = await acme.post(ECHO, acme.echo(), {"Prefer": "respond-async"})
    status, job = await acme_elsewhere.get(f"/v1/jobs/{accepted['jobId']}")
    assert (status, job["jobId"]) == (200, accepted["jobId"])
