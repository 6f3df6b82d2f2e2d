"""The data-plane client against an upstream that answers exactly what a test wants."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import cast

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from agents.answer import AnswerLimits, HttpAnswer
from agents.authorize import BearerAuthorizer
from agents.breaker import FAULTS_TO_OPEN
from agents.errors import (
    AgentAnswerTooLargeError,
    AgentFailedError,
    RuntimeBrokenError,
    RuntimeBusyError,
    RuntimeFaultError,
    RuntimeMissingError,
    RuntimeQuotaError,
    RuntimeRefusedError,
    RuntimeSparedError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
    RuntimeUnreachableError,
    StreamInterruptedError,
)
from agents.inband import ACTION_HEADER, REF_HEADER
from agents.invocation import AgentChunk, AgentError, AgentEvent, Invocation, TraceHeaders
from agents.runtime import AgentCore, RuntimeTimeouts
from ops.devstack.process import free_port
from tenancy.admission import Permit
from tenancy.data_models import Mode
from tenancy.errors import TenantAccessViolation
from tests.agents.given import (
    CREDENTIALS,
    INVOCATION,
    REGION,
    SESSION,
    agent,
    agentcore,
    context,
    invocation,
    one_by_one,
    permit,
)
from tests.agents.upstream import SESSION as SESSION_HEADER
from tests.agents.upstream import Received, breaks_after, chunk, chunked, hangs, http, refuse, upstream
from tests.clock import FakeClock

ERROR_EVENT = b'data: {"error": "x", "error_type": "ValueError", "message": "An error occurred during streaming"}\n\n'


async def read(core: AgentCore, wanted: Invocation | None = None) -> bytes:
    wanted = wanted or invocation()
    async with core(permit(wanted), wanted) as answer:
        return await answer.read()


@asynccontextmanager
async def streaming(core: AgentCore) -> AsyncIterator[AsyncGenerator[AgentEvent, None]]:
    wanted = invocation(Mode.STREAM)
    async with core(permit(wanted), wanted) as answer, aclosing(one_by_one(answer)) as events:
        yield events


async def stream(core: AgentCore) -> list[AgentEvent]:
    async with streaming(core) as events:
        return [event async for event in events]


def signature_of(received: Received, clock: FakeClock) -> str:
    """Return what botocore would have signed the request with."""
    names = received.headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    headers = {name: received.headers[name] for name in names if name not in ("x-amz-date", "x-amz-security-token")}
    request = AWSRequest(
        received.method, f"http://{headers.pop('host')}{received.target}", headers=headers, data=received.body
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: clock.now().replace(tzinfo=None))
        SigV4Auth(
            Credentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token), "bedrock-agentcore", REGION
        ).add_auth(request)
    signature: str = request.headers["Authorization"]
    return signature


async def test_an_invocation_is_the_call_that_agentcore_documents() -> None:
    wanted = invocation(Mode.STREAM, body=b'{"same": 1,  "same": 2}')
    async with upstream(http(body=1)) as server, agentcore(server.url) as core, core(permit(wanted), wanted):
        pass
    [received] = server.received
    assert (received.method, received.target) == (
        "POST",
        (
            "/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aeu-west-2%3A123456789012%3Aruntime%2Fecho-a/invocations"
            "?qualifier=prod"
        ),
    )
    assert received.body == wanted.body
    sent = {name.lower(): value for name, value in received.headers.items()}
    del sent["authorization"], sent["x-amz-date"], sent["x-amz-security-token"]
    assert sent == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "content-length": str(len(wanted.body)),
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",
        "user-agent": "lockgate",
        SESSION_HEADER.lower(): SESSION,
        REF_HEADER.lower(): INVOCATION,
        "traceparent": wanted.trace.traceparent,
        "tracestate": wanted.trace.tracestate,
    }


async def test_what_is_sent_carries_the_signature_botocore_would_give_it(clock: FakeClock) -> None:
    async with upstream(http(body=1)) as server, agentcore(server.url, clock) as core:
        await read(core)
    [received] = server.received
    assert received.headers["Authorization"] == signature_of(received, clock)


async def test_a_header_of_two_lines_is_not_sent() -> None:
    wanted = replace(invocation(), trace=TraceHeaders("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a=1\r\nEvil: 1"))
    async with upstream(http(body=1)) as server, agentcore(server.url) as core:
        assert await _fault_of(read(core, wanted)) is RuntimeRefusedError
    assert server.received == []


async def test_a_long_body_is_signed_like_a_short_one(clock: FakeClock) -> None:
    async with upstream(http(body=1)) as server, agentcore(server.url, clock) as core:
        await read(core, invocation(body=b'"' + b"x" * 2_000_000 + b'"'))
    [received] = server.received
    assert received.headers["Authorization"] == signature_of(received, clock)


async def test_a_bearer_runtime_is_shown_a_token_of_the_moment() -> None:
    tokens = iter(("one", "two"))

    async def token() -> str:
        return next(tokens)

    async with (
        upstream(http(body=1)) as server,
        agentcore(server.url, authorizer=lambda _: BearerAuthorizer(token)) as core,
    ):
        await read(core)
        await read(core)
    assert [received.headers["Authorization"] for received in server.received] == ["Bearer one", "Bearer two"]
    assert not any(name.lower().startswith("x-amz-") for received in server.received for name in received.headers)


async def test_a_sync_answer_is_the_agents_own_bytes() -> None:
    body = b'{"float": 1e2,  "same": 1, "same": 2}'
    async with upstream(http(body=body)) as server, agentcore(server.url) as core:
        assert await read(core) == body


async def test_answers_share_a_connection() -> None:
    async with upstream(http(body=1)) as server, agentcore(server.url) as core:
        await read(core)
        await read(core)
    assert server.connections == 1


async def test_each_event_is_yielded_before_the_next_is_made() -> None:
    go_on = asyncio.Event()

    async def script(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked() + chunk(b"data: 1\n\n"))
        await go_on.wait()
        writer.write(chunk(b"data: 2\n\n") + chunk(b""))

    async with upstream(script) as server, agentcore(server.url) as core, streaming(core) as events:
        assert await anext(events) == AgentChunk(b"1")
        go_on.set()
        assert [event async for event in events] == [AgentChunk(b"2")]


async def test_an_agent_that_raises_ends_its_stream_with_an_error() -> None:
    async with (
        upstream(chunked() + chunk(b"data: 1\n\n") + chunk(ERROR_EVENT) + chunk(b"")) as server,
        agentcore(server.url) as core,
    ):
        assert await stream(core) == [AgentChunk(b"1"), AgentError("ValueError")]


async def test_a_whole_answer_to_a_stream_is_one_event_on_one_line() -> None:
    async with upstream(http(body=b'{"a":\r\n 1}')) as server, agentcore(server.url) as core:
        assert await stream(core) == [AgentChunk(b'{"a": \n 1}')]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (refuse(400, "ValidationException"), RuntimeRefusedError),
        (refuse(401, "UnauthorizedException"), RuntimeRefusedError),
        (refuse(402, "ServiceQuotaExceededException"), RuntimeQuotaError),
        (refuse(403, "AccessDeniedException"), RuntimeRefusedError),
        (refuse(403, "RuntimeClientError"), AgentFailedError),
        (refuse(404, "ResourceNotFoundException"), RuntimeMissingError),
        (refuse(409, "ConflictException"), RuntimeBusyError),
        (refuse(409, "RetryableConflictException"), RuntimeBusyError),
        (refuse(424, "RuntimeClientError"), AgentFailedError),
        (refuse(429, "ThrottlingException"), RuntimeThrottledError),
        (refuse(500, "InternalServerException"), RuntimeBrokenError),
        (refuse(599, "ThrottlingException:http://internal.amazon.com/coral/"), RuntimeThrottledError),
        (refuse(402, "Unheard"), RuntimeQuotaError),
        (http(424, b"<html>"), AgentFailedError),
        (http(502, b""), RuntimeBrokenError),
        (http(504, b""), RuntimeTimeoutError),
        (http(302, b"", location="/elsewhere"), RuntimeBrokenError),
        (http(204, b""), RuntimeBrokenError),
    ],
)
async def test_each_refusal_is_its_own_fault(answer: bytes, fault: type[RuntimeFaultError], clock: FakeClock) -> None:
    async with upstream(answer) as server, agentcore(server.url, clock) as core:
        ticking = asyncio.create_task(_tick(clock))
        assert await _fault_of(read(core)) is fault
        ticking.cancel()


async def _tick(clock: FakeClock) -> None:
    while True:
        await clock.until_sleeping()
        await clock.advance(10)


@pytest.mark.parametrize("answer", [refuse(409, "RetryableConflictException"), refuse(429, "ThrottlingException")])
async def test_what_agentcore_refused_to_run_is_sent_again(answer: bytes, clock: FakeClock) -> None:
    async with upstream(answer, answer, http(body=1)) as server, agentcore(server.url, clock) as core:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(read(core))
            await clock.until_sleeping()
            assert len(server.received) == 1
            await clock.advance(0.5)
            await clock.until_sleeping()
            assert len(server.received) == 2
            await clock.advance(1.5)
        assert asked.result() == b"1"
    assert len({received.body for received in server.received}) == 1
    assert server.connections == 1


async def test_a_refusal_is_sent_again_twice_at_most_within_two_seconds(clock: FakeClock) -> None:
    began = clock.monotonic()
    async with upstream(refuse(409, "ConflictException")) as server, agentcore(server.url, clock) as core:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(_fault_of(read(core)))
            for wait_s in (0.5, 1.5):
                await clock.until_sleeping()
                await clock.advance(wait_s)
        assert asked.result() is RuntimeBusyError
    assert len(server.received) == 3
    assert clock.monotonic() - began == 2.0


async def _fault_of(asked: Awaitable[bytes]) -> type[RuntimeFaultError]:
    with pytest.raises(RuntimeFaultError) as raised:
        await asked
    return type(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        refuse(402, "ServiceQuotaExceededException"),
        refuse(424, "RuntimeClientError"),
        refuse(500, "InternalServerException"),
        http(504, b""),
    ],
)
async def test_what_may_have_run_is_never_sent_again(answer: bytes) -> None:
    async with upstream(answer) as server, agentcore(server.url) as core:
        await _fault_of(read(core))
    assert len(server.received) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with upstream(http(302, b"", location="/elsewhere"), http(body=1)) as server, agentcore(server.url) as core:
        assert await _fault_of(read(core)) is RuntimeBrokenError
    assert len(server.received) == 1


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    async with agentcore(f"http://127.0.0.1:{free_port()}") as core:
        assert await _fault_of(read(core)) is RuntimeUnreachableError


@pytest.mark.parametrize("mode", [Mode.SYNC, Mode.STREAM])
async def test_an_answer_that_does_not_begin_in_time_is_a_timeout(mode: Mode) -> None:
    timeouts = RuntimeTimeouts(sync_s=0.05, stream_s=20)
    async with upstream(hangs) as server, agentcore(server.url, timeouts=timeouts) as core:
        assert await _fault_of(read(core, invocation(mode))) is RuntimeTimeoutError


async def test_a_stream_that_lasts_too_long_is_a_timeout() -> None:
    async def script(_: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked() + chunk(b"data: 1\n\n"))
        await reader.read()

    timeouts = RuntimeTimeouts(sync_s=20, stream_s=0.2)
    async with upstream(script) as server, agentcore(server.url, timeouts=timeouts) as core, streaming(core) as events:
        assert await anext(events) == AgentChunk(b"1")
        with pytest.raises(RuntimeTimeoutError):
            await anext(events)


async def test_a_stream_that_breaks_gives_what_came_then_says_so() -> None:
    broken = breaks_after(chunked() + chunk(b"data: 1\n\ndata: 2"))
    async with upstream(broken) as server, agentcore(server.url) as core, streaming(core) as events:
        assert await anext(events) == AgentChunk(b"1")
        with pytest.raises(StreamInterruptedError):
            await anext(events)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (breaks_after(b""), RuntimeBrokenError),
        (breaks_after(b"HTTP/1.1 200 OK\r\ncontent-ty"), RuntimeBrokenError),
        (b"220 mail.example ESMTP\r\n\r\n", RuntimeBrokenError),
        (breaks_after(http(body="a whole answer")[:-3]), StreamInterruptedError),
        (http(body=b"{'not': json}"), RuntimeBrokenError),
        (http(body=b""), RuntimeBrokenError),
        (http(body=b"NaN"), RuntimeBrokenError),
        (http(body=b"<html>", content_type="text/html"), RuntimeBrokenError),
        (http(body=b"data: 1\n\n", content_type="text/event-stream"), RuntimeBrokenError),
        (http(body=1, x_amzn_bedrock_agentcore_runtime_session_id="ses_" + "6" * 48), RuntimeBrokenError),
        (http(body=b'"' + b"x" * 999 + b'"'), AgentAnswerTooLargeError),
        (chunked("application/json") + chunk(b'"' + b"x" * 999 + b'"') + chunk(b""), AgentAnswerTooLargeError),
    ],
)
async def test_an_answer_that_is_not_an_agents_is_a_fault(script: bytes, fault: type[RuntimeFaultError]) -> None:
    async with upstream(script) as server, agentcore(server.url) as core:
        assert await _fault_of(read(core)) is fault
    assert len(server.received) == 1


async def test_events_of_one_read_come_together() -> None:
    wanted = invocation(Mode.STREAM)
    body = chunked() + chunk(b"data: 1\n\ndata: 2\n\n") + chunk(b"")
    async with upstream(body) as server, agentcore(server.url) as core, core(permit(wanted), wanted) as answer:
        assert await anext(answer.events()) == [AgentChunk(b"1"), AgentChunk(b"2")]


async def test_an_event_that_comes_alone_is_offered_and_any_other_is_yielded() -> None:
    taken: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked() + chunk(b": begins\n\n"))
        begun.set()
        await waiting.wait()
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            writer.write(chunk(part))
            seen.append(await taken.get())
        for part in (b"data: 3\n\ndata: 4\n\n", ERROR_EVENT, b""):
            writer.write(chunk(part))

    def offer(data: bytes) -> bool:
        taken.put_nowait(data)
        return True

    async def read_on() -> list[AgentEvent]:
        return [event async for events in answer.events(offer) for event in events]

    begun, waiting, seen = asyncio.Event(), asyncio.Event(), list[bytes]()
    wanted = invocation(Mode.STREAM)
    async with upstream(script) as server, agentcore(server.url) as core, core(permit(wanted), wanted) as answer:
        reading = asyncio.create_task(read_on())
        await begun.wait()
        while cast("HttpAnswer", answer)._exchange._offer is None:
            await asyncio.sleep(0)
        waiting.set()
        events = await reading
    assert seen == [b"1", b"2"]
    assert events == [AgentChunk(b"3"), AgentChunk(b"4"), AgentError("ValueError")]


async def test_what_came_with_an_event_too_large_is_there_before_the_fault() -> None:
    body = chunked() + chunk(b"data: 1\n\ndata: " + b"x" * 1000 + b"\n\n")
    async with upstream(body) as server, agentcore(server.url) as core, streaming(core) as events:
        assert await anext(events) == AgentChunk(b"1")
        with pytest.raises(AgentAnswerTooLargeError):
            await anext(events)


async def test_an_event_too_large_ends_the_stream() -> None:
    big = chunk(b"data: " + b"x" * 1000 + b"\n\n")
    limits = AnswerLimits(answer_bytes=10, event_bytes=1000)
    async with (
        upstream(chunked() + chunk(b"data: 1\n\n") + big) as server,
        agentcore(server.url, limits=limits) as core,
    ):
        with pytest.raises(AgentAnswerTooLargeError):
            await stream(core)


async def test_leaving_a_silent_stream_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def script(_: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked() + chunk(b"data: 1\n\n"))
        await reader.read()
        closed.set()

    async with upstream(script) as server, agentcore(server.url) as core, asyncio.timeout(5):
        async with streaming(core) as events:
            await anext(events)
        await closed.wait()


async def test_a_caller_cancelled_before_the_answer_closes_its_connection() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(_: Received, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        closed.set()

    async with upstream(script) as server, agentcore(server.url) as core:
        task = asyncio.create_task(read(core))
        await asked.wait()
        task.cancel()
        async with asyncio.timeout(5):
            await closed.wait()
        assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_permit_of_another_tenant_or_agent_opens_nothing() -> None:
    wanted = invocation()
    others = (
        Permit(context("globex"), wanted.agent),
        Permit(wanted.ctx, wanted.agent.model_copy(update={"version": "2.0.0"})),
    )
    async with upstream(http(body=1)) as server, agentcore(server.url) as core:
        for other in others:
            with pytest.raises(TenantAccessViolation):
                async with core(other, wanted):
                    pass
    assert server.received == []


@pytest.mark.parametrize("answer", [http(body={}), refuse(404, "ResourceNotFoundException")])
async def test_stopping_a_session_is_done_when_it_is_gone(answer: bytes) -> None:
    async with upstream(answer) as server, agentcore(server.url) as core:
        await core.stop(agent(), SESSION)
    [received] = server.received
    assert received.target.endswith("%2Fecho-a/stopruntimesession?qualifier=prod")
    assert received.headers[SESSION_HEADER] == SESSION
    assert REF_HEADER not in received.headers
    assert 33 <= len(orjson.loads(received.body)["clientToken"]) <= 256


async def test_a_session_that_was_not_stopped_is_a_fault() -> None:
    async with upstream(refuse(500, "InternalServerException")) as server, agentcore(server.url) as core:
        with pytest.raises(RuntimeBrokenError):
            await core.stop(agent(), SESSION)


async def test_that_sessions_can_be_stopped_keeps_no_failing_runtime_open() -> None:
    def answer(received: Received) -> bytes:
        stops = "/stopruntimesession" in received.target
        return http(body={}) if stops else refuse(500, "InternalServerException")

    async def script(received: Received, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(received))

    async with upstream(script) as server, agentcore(server.url) as core:
        for _ in range(FAULTS_TO_OPEN):
            assert await _fault_of(read(core)) is RuntimeBrokenError
            await core.stop(agent(), SESSION)
        assert await _fault_of(read(core)) is RuntimeSparedError
        await core.stop(agent(), SESSION)


async def test_the_client_session_keeps_nothing_between_calls() -> None:
    async with upstream(http(body=1, set_cookie="a=b")) as server, agentcore(server.url) as core:
        await read(core)
        await read(core)
    assert "Cookie" not in server.received[1].headers
    assert ACTION_HEADER not in server.received[1].headers
