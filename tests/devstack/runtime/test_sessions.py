"""A session's life: started once, kept while it is in use, ended for each of AWS's reasons."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from ops.devstack.runtime.faults import Fault
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.server import LocalAgentCore
from ops.devstack.runtime.session import Session
from tests.clock import FakeClock
from tests.devstack.runtime.conftest import Start
from tests.devstack.runtime.processes import process_lives, until_dead
from tests.devstack.runtime.sdk import Sdk, post, session_id

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]
A = session_id("a")
SHORT = {"idleRuntimeSessionTimeout": 60, "maxLifetime": 120}


def only(core: LocalAgentCore) -> Session:
    [session] = core.supervisor.sessions()
    return session


async def live(clock: FakeClock, core: LocalAgentCore, seconds: int) -> None:
    """Let a session live for so long, pinged every two seconds."""
    for _ in range(seconds // 2):
        session = only(core)
        heard = session.seen.pings
        await clock.until_sleeping(1 + session.seen.in_flight)  # its watcher, and each call's deadline
        await clock.advance(2)
        while session.seen.pings == heard and session.state == "ready":
            await asyncio.sleep(0)


def gone(core: LocalAgentCore) -> bool:
    return not core.supervisor.sessions()


async def until_gone(session: Session) -> None:
    async with asyncio.timeout(10):
        await asyncio.shield(session.running().exited)


# Stopping


async def ending(
    core: LocalAgentCore, clock: FakeClock, sdk: Sdk, arn: str
) -> tuple[Session, int, asyncio.Task[dict[str, Any]]]:
    """Return the session of an agent that is told to stop and is deaf, its process, and what waits for its end."""
    pid = (await sdk.invoke(arn, "ignore-sigterm", A))["pid"]
    session = only(core)
    await clock.until_sleeping()
    stop = asyncio.create_task(sdk.stop(arn, A))
    while session.state != "ending":
        await asyncio.sleep(0)
    return session, pid, stop


async def test_a_stopped_session_id_starts_a_fresh_process_next_time(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    before = await sdk.invoke(arn, "tell", A)
    stopped = await sdk.stop(arn, A)
    assert (stopped["statusCode"], stopped["runtimeSessionId"]) == (200, A)
    assert not process_lives(before["pid"])
    assert (await sdk.invoke(arn, "tell", A))["pid"] != before["pid"]


async def test_stopping_an_unknown_session_is_404(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    refused = await sdk.refused(sdk.stop(arn, A))
    assert (refused.status, refused.message) == (404, "Session not found or already terminated")


async def test_a_stop_cuts_open_streams_at_once_even_of_an_agent_that_goes_on(
    timed: LocalAgentCore, clock: FakeClock, http: ClientSession
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet")
    pid = (await sdk.invoke(arn, "ignore-sigterm", A))["pid"]
    async with post(http, timed, arn, A, do="stream", chunks=["a", "b"], type="text/event-stream") as stream:
        assert await stream.content.readexactly(1) == b"a"
        stop = asyncio.create_task(sdk.stop(arn, A))
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.read()
    assert process_lives(pid)
    await clock.advance(15)
    assert (await stop)["statusCode"] == 200


async def test_a_call_in_flight_when_its_session_stops_is_424(start: Start) -> None:
    core = await start(limits=Limits(stop_grace_s=0))
    sdk = Sdk(core)
    arn = await sdk.create("agent", "puppet")
    await sdk.invoke(arn, "pid", A)
    call = asyncio.create_task(sdk.refused(sdk.invoke(arn, "hang", A)))
    while only(core).seen.in_flight == 0:
        await asyncio.sleep(0)
    await sdk.stop(arn, A)
    assert (await call).status == 424


async def test_an_agent_deaf_to_sigterm_is_killed_after_the_grace_and_meanwhile_busy(
    timed: LocalAgentCore, clock: FakeClock
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet")
    session, pid, stop = await ending(timed, clock, sdk, arn)
    for call in (sdk.invoke(arn, "pid", A), sdk.stop(arn, A)):
        refused = await sdk.refused(call)
        assert (refused.status, refused.kind) == (409, "RetryableConflictException")
        assert refused.message == "Session operation in progress, please retry"
    await clock.advance(14)
    assert (await stop)["statusCode"] == 200
    assert process_lives(pid)
    await clock.advance(1)
    await until_gone(session)
    assert not process_lives(pid)


async def test_a_session_that_is_ending_when_all_is_closed_ends_at_once_and_leaves_nothing_open(
    start: Start, clock: FakeClock
) -> None:
    core = await start(clock)
    sdk = Sdk(core)
    session, pid, stop = await ending(core, clock, sdk, await sdk.create("agent", "puppet"))
    await core.supervisor.aclose()
    await until_dead(pid)
    assert (session.closed, gone(core)) == (True, True)
    assert (await stop)["statusCode"] == 200


async def test_what_an_agent_started_ends_with_its_session(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "puppet")
    child = (await sdk.invoke(arn, "have-child", A))["pid"]
    assert process_lives(child)
    await sdk.stop(arn, A)
    await until_dead(child)


# Starting


async def test_an_agent_that_never_serves_is_424_after_the_start_limit(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sleepy")
    call = asyncio.create_task(sdk.refused(sdk.invoke(arn, "pid", A)))
    while gone(timed):
        await asyncio.sleep(0)
    await clock.until_sleeping()
    second = await sdk.refused(sdk.invoke(arn, "pid", A))
    assert (second.status, second.kind) == (409, "RetryableConflictException")
    assert (await sdk.refused(sdk.stop(arn, A))).status == 409
    await clock.advance(30)
    refused = await call
    assert (refused.status, refused.kind) == (424, "RuntimeClientError")
    assert refused.message.endswith("initialization completes in 30s.")


async def test_an_agent_that_ends_while_starting_is_424_at_once(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "broken")
    call = asyncio.create_task(sdk.refused(sdk.invoke(arn, "pid", A)))
    assert (await call).status == 424
    assert clock.monotonic() == 0
    assert gone(timed)


async def test_a_caller_that_leaves_during_the_start_leaves_a_ready_session(
    timed: LocalAgentCore, clock: FakeClock, http: ClientSession
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk")
    timed.faults.inject(arn.rpartition("/")[2], Fault(kind="slowStart", delay_s=10))

    async def call_and_wait() -> None:
        async with post(http, timed, arn, A):
            raise AssertionError("answered before the session was ready")

    call = asyncio.create_task(call_and_wait())
    await clock.until_sleeping(2)
    session = only(timed)
    call.cancel()
    await clock.advance(10)
    while session.state == "starting":
        await asyncio.sleep(0)
    assert session.state == "ready"


async def test_a_session_keeps_its_version_when_the_runtime_is_updated(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk", environmentVariables={"GENERATION": "1"})
    await sdk.invoke(arn, "tell", A)
    await sdk.update(arn, "sdk", environmentVariables={"GENERATION": "2"})
    old, new = await sdk.invoke(arn, "tell", A), await sdk.invoke(arn, "tell", session_id("b"))
    assert [said["environment"]["GENERATION"] for said in (old, new)] == ["1", "2"]


# Quotas


async def test_sessions_above_the_cap_are_402_until_one_ends(start: Start) -> None:
    core = await start(limits=Limits(active_sessions=1))
    sdk = Sdk(core)
    arn = await sdk.create("agent", "sdk")
    await sdk.invoke(arn, "tell", A)
    refused = await sdk.refused(sdk.invoke(arn, "tell", session_id("b")))
    assert (refused.status, refused.kind) == (402, "ServiceQuotaExceededException")
    assert refused.message == "maxVms limit exceeded"
    await sdk.invoke(arn, "tell", A)
    await sdk.stop(arn, A)
    await sdk.invoke(arn, "tell", session_id("b"))


async def test_new_sessions_above_the_rate_are_429_and_known_ones_go_on(start: Start, clock: FakeClock) -> None:
    core = await start(clock, limits=Limits(new_sessions_per_s=1))
    sdk = Sdk(core)
    arn = await sdk.create("agent", "sdk")
    await sdk.invoke(arn, "tell", A)
    refused = await sdk.refused(sdk.invoke(arn, "tell", session_id("b")))
    assert (refused.status, refused.kind) == (429, "ThrottlingException")
    await sdk.invoke(arn, "tell", A)
    await clock.advance(1)
    await sdk.invoke(arn, "tell", session_id("b"))


# Ageing


async def test_an_idle_session_ends_at_its_idle_timeout_and_not_before(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk", lifecycleConfiguration=SHORT)
    await sdk.invoke(arn, "tell", A)
    await live(clock, timed, 58)
    session = only(timed)
    assert session.state == "ready"
    await live(clock, timed, 2)
    await until_gone(session)


async def test_an_invocation_restarts_the_idle_time(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk", lifecycleConfiguration=SHORT)
    await sdk.invoke(arn, "tell", A)
    await live(clock, timed, 58)
    await sdk.invoke(arn, "tell", A)
    await live(clock, timed, 58)
    assert only(timed).state == "ready"


async def test_a_call_in_flight_keeps_its_session(timed: LocalAgentCore, clock: FakeClock, http: ClientSession) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet", lifecycleConfiguration=SHORT)
    async with post(http, timed, arn, A, do="stream", chunks=["a", "b"], type="text/event-stream") as stream:
        await live(clock, timed, 100)
        await sdk.invoke(arn, "go", A)
        assert await stream.read() == b"ab"


async def test_background_work_keeps_a_session_until_it_is_done(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk", lifecycleConfiguration={"idleRuntimeSessionTimeout": 60})
    await sdk.invoke(arn, "begin", A)
    await live(clock, timed, 100)
    session = only(timed)
    assert session.seen.ping.status == "HealthyBusy"
    await sdk.invoke(arn, "finish", A)
    await live(clock, timed, 58)
    assert session.state == "ready"
    await live(clock, timed, 2)
    await live(clock, timed, 2)
    await until_gone(session)


async def test_a_busy_session_ends_at_its_lifetime(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "sdk", lifecycleConfiguration=SHORT)
    await sdk.invoke(arn, "begin", A)
    await live(clock, timed, 118)
    session = only(timed)
    assert session.state == "ready"
    await live(clock, timed, 2)
    await until_gone(session)


async def test_an_agent_that_fails_its_pings_is_ended(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet")
    await sdk.invoke(arn, "ping", A, status=500, body={})
    session = only(timed)
    await live(clock, timed, 4)
    assert session.state == "ready"
    await live(clock, timed, 2)
    await until_gone(session)


async def test_a_process_that_dies_is_forgotten_and_its_streams_are_cut(
    sdk: Sdk, core: LocalAgentCore, http: ClientSession
) -> None:
    arn = await sdk.create("agent", "puppet")
    async with post(http, core, arn, A, do="stream", chunks=["a", "b"], type="text/event-stream") as stream:
        session = only(core)
        os.kill(session.running().pid, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()
        await until_gone(session)
        while not gone(core):
            await asyncio.sleep(0)
        await sdk.invoke(arn, "pid", A)


# Caps


async def test_a_sync_call_is_504_after_fifteen_minutes(timed: LocalAgentCore, clock: FakeClock) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet")
    call = asyncio.create_task(sdk.refused(sdk.invoke(arn, "hang", A)))
    while gone(timed) or only(timed).seen.in_flight == 0:
        await asyncio.sleep(0)
    await clock.until_sleeping(2)
    only(timed).seen.failed_pings = -1000
    await clock.advance(899)
    assert not call.done()
    await clock.advance(1)
    assert (await call).status == 504


async def test_a_stream_is_cut_after_sixty_minutes(
    timed: LocalAgentCore, clock: FakeClock, http: ClientSession
) -> None:
    sdk = Sdk(timed)
    arn = await sdk.create("agent", "puppet")
    async with post(http, timed, arn, A, do="stream", chunks=["a", "b"], type="text/event-stream") as stream:
        assert await stream.content.readexactly(1) == b"a"
        await clock.until_sleeping(2)
        await clock.advance(3599)
        assert only(timed).seen.in_flight == 1
        await clock.advance(1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()


# Leaving nothing behind


async def test_a_runtime_that_closes_leaves_no_process(start: Start) -> None:
    core = await start()
    sdk = Sdk(core)
    arn = await sdk.create("agent", "sdk")
    pid = (await sdk.invoke(arn, "tell", A))["pid"]
    await core.__aexit__(None, None, None)
    assert not process_lives(pid)
