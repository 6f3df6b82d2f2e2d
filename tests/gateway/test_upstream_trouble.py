"""Whatever the runtime does wrong, the caller gets one precise answer, and everything held is free again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest

from ops.devstack.process import free_port
from tenancy.data_models import Status
from tenancy.ids import InvocationId
from tenancy.tiers import LimitOverrides
from tests.agents.upstream import Received, Script, breaks_after, chunk, chunked, hangs, http, refuse, upstream
from tests.conftest import Aws
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

Wholes = Callable[..., AbstractAsyncContextManager[Whole]]
EVENT = b'data: {"n": 1}\n\n'
FAILED = b'data: {"error": "secret", "error_type": "ValueError", "message": "An error occurred during streaming"}\n\n'
LARGE = 17 * 1024 * 1024


@pytest.fixture
def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Wholes:
    """Return what runs a gateway on a runtime that plays these scripts."""

    @asynccontextmanager
    async def run(*scripts: Script | bytes, **overrides: object) -> AsyncIterator[Whole]:
        async with (
            upstream(*scripts) as runtime,
            whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False, overrides=overrides) as running,
        ):
            yield running

    return run


async def nothing_is_held(gateway: Whole) -> None:
    """Assert that no invocation is live and the only slot can be had again."""
    assert len(gateway.process.live) == 0
    async with gateway.process.parts.path.admission.slots.held(gateway.tenant_id, 1, InvocationId("inv_probe")):
        pass


# What the runtime says when it is told to stop the session.
STOPPED = http(200, {})
BEFORE_THE_FIRST_BYTE: dict[str, tuple[tuple[Script | bytes, ...], int, str]] = {
    "402": ((refuse(402, "ServiceQuotaExceededException"),), 503, "runtime_quota"),
    "404": ((refuse(404, "ResourceNotFoundException"),), 502, "runtime_missing"),
    "409": ((refuse(409, "RetryableConflictException"),), 503, "runtime_busy"),
    "424": ((refuse(424, "RuntimeClientError"),), 502, "agent_error"),
    "429": ((refuse(429, "ThrottlingException"),), 503, "runtime_throttled"),
    "500": ((refuse(500, "InternalServerException"), STOPPED), 502, "runtime_broken"),
    "403": ((refuse(403, "AccessDeniedException"),), 502, "runtime_refused"),
    "hang": ((hangs, STOPPED), 504, "upstream_timeout"),
    "garbage": ((b"what is this?\r\n\r\n", STOPPED), 502, "runtime_broken"),
    "html": ((http(200, b"<html>", content_type="text/html"), STOPPED), 502, "runtime_broken"),
    "reset": ((breaks_after(b""), STOPPED), 502, "runtime_broken"),
}


@pytest.mark.parametrize("mode", ["sync", "stream"])
@pytest.mark.parametrize("trouble", BEFORE_THE_FIRST_BYTE)
async def test_trouble_before_the_first_byte_is_a_problem(whole: Wholes, trouble: str, mode: str) -> None:
    scripts, status, code = BEFORE_THE_FIRST_BYTE[trouble]
    limit_s = 1 if trouble == "hang" else 60
    async with whole(*scripts, sync_timeout_s=limit_s, stream_timeout_s=limit_s) as gateway:
        answer = await gateway.sync() if mode == "sync" else (await gateway.stream())[0]
        assert answer is not None
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert ("Retry-After" in answer.headers) == (status == 503)
        await nothing_is_held(gateway)
        [record] = await gateway.records()
        assert record.error is not None
        assert (record.status, record.error.code) == (Status.FAILED, code)
        assert answer.headers["X-Invocation-Id"] == record.invocation_id


async def test_a_runtime_nobody_listens_at_is_a_problem(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with whole_gateway(aws, redis_url, monkeypatch, nowhere, kit=False) as gateway:
        answers = [await gateway.sync() for _ in range(6)]
        assert [(answer.status, answer.code) for answer in answers] == [(502, "runtime_unreachable")] * 5 + [
            (503, "runtime_spared")
        ]
        assert answers[-1].headers["Retry-After"] == "5"
        await nothing_is_held(gateway)


SYNC_BODIES: dict[str, tuple[Script | bytes, str]] = {
    "broken off": (breaks_after(http(200, b"x" * 100)[:-50]), "stream_interrupted"),
    "too large": (http(200, b'"' + b"x" * LARGE + b'"'), "answer_too_large"),
    "not json": (http(200, b"{nonsense"), "runtime_broken"),
}


@pytest.mark.parametrize("trouble", SYNC_BODIES)
async def test_a_sync_answer_that_goes_wrong_is_a_problem(whole: Wholes, trouble: str) -> None:
    script, code = SYNC_BODIES[trouble]
    async with whole(script, STOPPED) as gateway:
        answer = await gateway.sync()
        assert (answer.status, answer.code) == (502, code)
        await nothing_is_held(gateway)


def streamed(*parts: bytes, end: bool = True) -> bytes:
    """Return a streamed answer of these chunks."""
    return chunked() + b"".join(map(chunk, parts)) + (chunk(b"") if end else b"")


@dataclass
class Staged:
    """A stream of one event, then `rest` once the caller has read that, then silence or a reset."""

    rest: bytes
    reset: bool = False
    read: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(streamed(EVENT, end=False))
        await self.read.wait()
        writer.write(self.rest)
        await writer.drain()
        if self.reset:
            writer.transport.abort()
        await hangs(request, reader, writer)


MID_STREAM: dict[str, tuple[Callable[[], Staged], str]] = {
    "agent error": (lambda: Staged(chunk(FAILED) + chunk(b"")), "agent_error"),
    "reset": (lambda: Staged(b"", reset=True), "stream_interrupted"),
    "bad chunk": (lambda: Staged(b"zzz\r\n"), "stream_interrupted"),
    "too large": (lambda: Staged(chunk(b"data: " + b"x" * LARGE)), "answer_too_large"),
    "silence": (lambda: Staged(b""), "upstream_timeout"),
}


@pytest.mark.parametrize("trouble", MID_STREAM)
async def test_trouble_in_a_stream_ends_it_with_one_failed_event(whole: Wholes, trouble: str) -> None:
    make, code = MID_STREAM[trouble]
    script = make()
    async with whole(script, STOPPED, stream_timeout_s=2 if trouble == "silence" else 60) as gateway:
        names, last = [], None
        async with gateway.streaming() as events:
            async for event in events:
                names.append(event.name)
                last = event
                if event.name == "agent.chunk":
                    script.read.set()
        assert names == ["invocation.started", "agent.chunk", "invocation.failed"]
        assert last is not None
        assert last.json["code"] == code
        assert "secret" not in last.data
        await nothing_is_held(gateway)
        [record] = await gateway.records()
        assert record.error is not None
        assert (record.status, record.error.code, record.chunks) == (Status.FAILED, code, 1)


async def test_an_agent_that_answers_a_stream_with_one_json_gives_one_chunk(whole: Wholes) -> None:
    async with whole(http(200, {"whole": True})) as gateway:
        _, events = await gateway.stream()
        assert [event.name for event in events] == ["invocation.started", "agent.chunk", "invocation.completed"]
        assert orjson.loads(events[1].data) == {"whole": True}


async def test_an_agent_that_says_nothing_completes(whole: Wholes) -> None:
    async with whole(streamed()) as gateway:
        _, events = await gateway.stream()
        assert [event.name for event in events] == ["invocation.started", "invocation.completed"]


async def test_a_refusal_is_repeated_only_where_nothing_ran(whole: Wholes) -> None:
    busy, fine, failed = refuse(409, "RetryableConflictException"), http(200, {"ok": 1}), refuse(500, "Oops")
    async with whole(busy, fine) as gateway:
        assert (await gateway.sync()).body == {"ok": 1}
    async with whole(failed, STOPPED, fine) as gateway:
        assert (await gateway.sync()).code == "runtime_broken"


async def test_one_tenants_cap_counts_open_streams_and_sync_calls_alike(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = LimitOverrides(concurrent_streams=1)
    async with (
        upstream(Staged(b""), STOPPED) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False, limits=limits) as gateway,
        gateway.session.post(
            gateway.url + gateway.path, json={"input": {}}, headers={"Accept": "text/event-stream"}
        ) as open_stream,
    ):
        assert open_stream.status == 200
        for answer in (await gateway.sync(), (await gateway.stream())[0]):
            assert answer is not None
            assert (answer.status, answer.code) == (429, "concurrency_limit")
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["RateLimit-Policy"] == '"default";q=100;w=2'
