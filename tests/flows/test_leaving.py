"""An invocation that is not to go on: its caller leaves, or cancels it, here or on another process."""

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import ClientSession

from ops.devstack.stack import Stack
from tests.flows.conftest import ECHO, Caller
from tests.flows.test_three_modes import until_ended

pytestmark = pytest.mark.stack

NEVER_MS = 3_000_000


async def live_sessions(stack: Stack) -> dict[str, dict[str, object]]:
    """Return what the local runtime says of its sessions, by id."""
    async with (
        ClientSession() as session,
        session.get(stack.ports.url("runtime_control") + "/_local/sessions") as answer,
    ):
        listed = await answer.json()
    return {one["sessionId"]: one for one in listed["sessions"]}


async def until_no_request_runs(stack: Stack, session_id: str) -> None:
    """Return once the runtime has no invocation of this session under way."""
    async with asyncio.timeout(10):
        while (await live_sessions(stack)).get(session_id, {}).get("inFlight", 0) != 0:
            await asyncio.sleep(0.02)


async def test_a_caller_that_leaves_mid_stream_stops_the_agent(stack: Stack, acme: Caller) -> None:
    ids: dict[str, object] = {}
    async with aclosing(acme.stream(acme.echo(chunks=2, delayMs=NEVER_MS))) as events:  # type: ignore[type-var]
        async for event in events:
            ids = ids or event.json
            if event.name == "agent.chunk":
                break
    record = await until_ended(acme, f"/v1/invocations/{ids['invocationId']}")
    assert (record["status"], record["error"]["code"]) == ("cancelled", "client_disconnected")  # type: ignore[index]
    await until_no_request_runs(stack, str(ids["sessionId"]))


async def test_a_cancel_ends_the_stream_with_one_cancelled_event(acme: Caller) -> None:
    names: list[str] = []
    invocation = ""
    async for event in acme.stream(acme.echo(chunks=2, delayMs=NEVER_MS)):
        names.append(event.name)
        invocation = invocation or str(event.json["invocationId"])
        if event.name == "agent.chunk":
            answer, record = await acme.post(f"/v1/invocations/{invocation}/cancel")
            assert (answer.status, record["invocationId"]) == (202, invocation)
            assert "cancelRequestedAt" in record
    assert names == ["invocation.started", "agent.chunk", "invocation.cancelled"]
    assert (await until_ended(acme, f"/v1/invocations/{invocation}"))["status"] == "cancelled"
    answer, record = await acme.post(f"/v1/invocations/{invocation}/cancel")
    assert (answer.status, record["status"]) == (200, "cancelled")


async def test_a_finished_invocation_cannot_be_cancelled_any_more(acme: Caller) -> None:
    first, _ = await acme.post(ECHO, acme.echo())
    answer, record = await acme.post(f"/v1/invocations/{first.headers['X-Invocation-Id']}/cancel")
    assert (answer.status, record["status"]) == (200, "succeeded")


async def test_a_session_goes_on_after_a_cancelled_turn(acme: Caller) -> None:
    async for event in acme.stream(acme.echo(chunks=2, delayMs=NEVER_MS)):
        if event.name == "invocation.started":
            session_id = str(event.json["sessionId"])
            await acme.post(f"/v1/invocations/{event.json['invocationId']}/cancel")
    again, body = await acme.post(ECHO, acme.echo() | {"sessionId": session_id})
    assert (again.status, body) == (200, {"echo": "one two three"})
