"""Every fault on demand, as a caller meets it, by the Python object and by the private routes."""

import asyncio

import aiohttp
import pytest
from aiohttp import ClientSession

from ops.devstack.runtime.faults import AnswerKind, Fault, RefusalKind
from ops.devstack.runtime.server import LocalAgentCore
from tests.clock import FakeClock
from tests.devstack.runtime.sdk import Refused, Sdk, post, session_id

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]
A = session_id("a")


def identity(arn: str) -> str:
    return arn.rpartition("/")[2]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("throttle", (429, "ThrottlingException")),
        ("conflict", (409, "RetryableConflictException")),
        ("quota", (402, "ServiceQuotaExceededException")),
        ("internalError", (500, "InternalServerException")),
    ],
)
async def test_a_refusal_hits_as_many_calls_as_told_and_runs_nothing(
    sdk: Sdk, core: LocalAgentCore, kind: RefusalKind, expected: tuple[int, str]
) -> None:
    arn = await sdk.create("agent", "sdk")
    core.faults.inject(identity(arn), Fault(kind=kind, times=2))
    for _ in range(2):
        refused = await sdk.refused(sdk.invoke(arn, "tell", A))
        assert (refused.status, refused.kind) == expected
    assert not core.supervisor.sessions()
    await sdk.invoke(arn, "tell", A)


async def test_a_fault_hits_its_own_runtime_alone(sdk: Sdk, core: LocalAgentCore) -> None:
    one, two = await sdk.create("one", "sdk"), await sdk.create("two", "sdk")
    core.faults.inject(identity(one), Fault(kind="throttle"))
    await sdk.invoke(two, "tell", A)
    assert (await sdk.refused(sdk.invoke(one, "tell", A))).status == 429


async def test_a_slow_start_makes_the_session_wait(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk")
    timed.faults.inject(identity(arn), Fault(kind="slowStart", delay_s=10))
    call = asyncio.create_task(sdk.invoke(arn, "tell", A))
    await clock.until_sleeping(2)
    assert [session.state for session in timed.supervisor.sessions()] == ["starting"]
    await clock.advance(10)
    assert (await call)["pid"]


async def test_a_start_slower_than_the_limit_is_424(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk")
    timed.faults.inject(identity(arn), Fault(kind="slowStart", delay_s=31))
    call = asyncio.create_task(sdk.refused(sdk.invoke(arn, "tell", A)))
    await clock.until_sleeping(2)
    await clock.advance(30)
    assert (await call).message.startswith("Runtime initialization time exceeded")


async def test_a_hang_before_the_first_byte_sends_nothing(
    timed: LocalAgentCore, clock: FakeClock, http: ClientSession
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk")
    timed.faults.inject(identity(arn), Fault(kind="hang"))
    call: asyncio.Task[Refused] = asyncio.create_task(sdk.refused(sdk.invoke(arn, "tell", A)))
    await clock.until_sleeping(2)
    [session] = timed.supervisor.sessions()
    session.seen.failed_pings = -1000
    await clock.advance(899)
    assert not call.done()
    await clock.advance(1)
    assert (await call).status == 504


async def test_a_hang_in_the_middle_stops_after_its_bytes(
    timed: LocalAgentCore, clock: FakeClock, http: ClientSession
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk")
    timed.faults.inject(identity(arn), Fault(kind="hang", after_bytes=10))
    async with post(http, timed, arn, A, do="stream", chunks=100) as stream:
        assert await stream.content.readexactly(10) == b'data: {"in'
        rest = asyncio.create_task(stream.content.read(1))
        [session] = timed.supervisor.sessions()
        assert session.seen.in_flight == 1
        assert not rest.done()
        rest.cancel()
        await asyncio.wait({rest})


async def test_a_reset_cuts_the_connection_after_its_bytes(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    arn = await sdk.create("agent", "sdk")
    core.faults.inject(identity(arn), Fault(kind="reset", after_bytes=10))
    async with post(http, core, arn, A, do="stream", chunks=100) as stream:
        assert await stream.content.readexactly(10) == b'data: {"in'
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()


@pytest.mark.parametrize("kind", ["reset", "garbage"])
async def test_a_reset_or_garbage_before_the_first_byte_is_no_answer(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession, kind: AnswerKind
) -> None:
    arn = await sdk.create("agent", "sdk")
    core.faults.inject(identity(arn), Fault(kind=kind))
    with pytest.raises(aiohttp.ClientError):
        async with post(http, core, arn, A):
            raise AssertionError("answered")
    async with post(http, core, arn, A) as answer:
        assert answer.status == 200


async def test_a_crash_before_the_first_byte_is_424_and_the_next_call_has_a_new_process(
    sdk: Sdk, core: LocalAgentCore
) -> None:
    arn = await sdk.create("agent", "sdk")
    before = await sdk.invoke(arn, "tell", A)
    core.faults.inject(identity(arn), Fault(kind="crash"))
    assert (await sdk.refused(sdk.invoke(arn, "tell", A))).status == 424
    assert (await sdk.invoke(arn, "tell", A))["pid"] != before["pid"]


async def test_a_crash_in_the_middle_cuts_the_stream(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    arn = await sdk.create("agent", "sdk")
    core.faults.inject(identity(arn), Fault(kind="crash", after_bytes=10))
    async with post(http, core, arn, A, do="stream", chunks=100) as stream:
        assert await stream.content.readexactly(10) == b'data: {"in'
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()


async def test_the_private_routes_inject_list_and_forget(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    arn = await sdk.create("agent", "sdk")
    url = f"{core.control_url}/_local/faults"
    wish = {"agentRuntimeId": identity(arn), "kind": "hang", "times": 2, "afterBytes": 5}
    async with http.post(url, json=wish) as answer:
        assert answer.status == 201
    async with http.get(url) as answer:
        [fault] = (await answer.json())["faults"][identity(arn)]
    assert fault == {"kind": "hang", "times": 2, "afterBytes": 5, "delayS": 0.0}
    async with http.delete(url) as answer:
        assert answer.status == 200
    assert core.faults.waiting() == {}
    async with http.post(url, json={"kind": "boredom"}) as answer:
        assert answer.status == 400


async def test_the_private_routes_show_what_runs(sdk: Sdk, core: LocalAgentCore, http: ClientSession) -> None:
    arn = await sdk.create("agent", "sdk")
    said = await sdk.invoke(arn, "tell", A)
    async with http.get(f"{core.control_url}/_local/sessions") as answer:
        [shown] = (await answer.json())["sessions"]
    assert shown["pid"] == said["pid"]
    assert (shown["sessionId"], shown["state"], shown["ping"], shown["inFlight"]) == (A, "ready", "Healthy", 0)
    async with http.get(f"{core.control_url}/_local/health") as answer:
        assert answer.status == 200
