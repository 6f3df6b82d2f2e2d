"""A request that comes again with its Idempotency-Key: one works, all are given the same answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway import replay
from tenancy.ids import InvocationId
from tests.agents.upstream import Received, Script, Upstream, chunk, http, refuse, says, upstream
from tests.conftest import Aws
from tests.gateway.logs import forgotten
from tests.gateway.test_caller_leaves import Silent
from tests.gateway.test_upstream_trouble import FAILED, streamed
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

STREAM = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
STOPPED = http(200, {})


@dataclass(frozen=True)
class Given:
    """An answer as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotency-Replayed") == "true"

    def alike(self, other: "Given") -> bool:
        """Tell whether both are one answer: what names the exchange itself differs."""
        own = ("X-Invocation-Id", "X-Session-Id", "Content-Type", "Location", "Preference-Applied")
        return (self.status, self.body) == (other.status, other.body) and all(
            self.headers.get(name) == other.headers.get(name) for name in own
        )


@dataclass(frozen=True)
class Keyed:
    """A gateway, its runtime, and requests with a key."""

    whole: Whole
    runtime: Upstream

    async def post(
        self, key: str, body: bytes = b'{"input": 1}', headers: dict[str, str] | None = None, path: str | None = None
    ) -> Given:
        sent = {"Content-Type": "application/json", "Idempotency-Key": key} | (headers or {})
        async with self.whole.session.post(self.whole.url + (path or self.whole.path), data=body, headers=sent) as got:
            return Given(got.status, dict(got.headers), await got.read())

    @property
    def invoked(self) -> int:
        """How often the agent was invoked."""
        return sum(asked.target.split("?")[0].endswith("/invocations") for asked in self.runtime.received)


Keyeds = Callable[..., AbstractAsyncContextManager[Keyed]]


@pytest.fixture
def keyed(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Keyeds:
    """Return what runs a gateway on a runtime that plays these scripts."""

    @asynccontextmanager
    async def run(*scripts: Script | bytes) -> AsyncIterator[Keyed]:
        async with (
            upstream(*scripts) as runtime,
            whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False) as running,
        ):
            yield Keyed(running, runtime)

    return run


@dataclass
class Slow:
    """Answers once it is told to."""

    answer: bytes
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.go.wait()
        writer.write(self.answer)
        await writer.drain()


@dataclass
class Turning:
    """Answers as it is set to."""

    answer: bytes

    async def __call__(self, asked: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(self.answer)(asked, reader, writer)


EVENTS = streamed(b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n')


@pytest.mark.parametrize(
    ("headers", "script"), [({}, http(200, b'{"a":  1}')), (STREAM, EVENTS)], ids=["sync", "stream"]
)
async def test_a_repeat_is_given_the_answer_byte_for_byte(
    keyed: Keyeds, headers: dict[str, str], script: bytes
) -> None:
    async with keyed(script) as running:
        first = await running.post("k", headers=headers)
        again = [await running.post("k", headers=headers) for _ in range(3)]
        assert (first.status, first.replayed) == (200, False)
        assert all(one.replayed and one.alike(first) for one in again)
        assert first.headers["X-Invocation-Id"].startswith("inv_")
        assert running.invoked == 1


@pytest.mark.parametrize(
    ("headers", "script"), [({}, http(200, b'{"a":  1}')), (STREAM, EVENTS)], ids=["sync", "stream"]
)
async def test_while_the_original_runs_a_repeat_is_told_so(
    keyed: Keyeds, headers: dict[str, str], script: bytes
) -> None:
    slow = Slow(script)
    async with keyed(slow) as running:
        original = asyncio.ensure_future(running.post("k", headers=headers))
        await slow.asked.wait()
        refused = await running.post("k", headers=headers)
        assert (refused.status, refused.headers["Retry-After"], refused.replayed) == (409, "1", False)
        assert b'"idempotency_running"' in refused.body
        slow.go.set()
        first = await original
        assert (await running.post("k", headers=headers)).alike(first)
        assert running.invoked == 1


OTHERS: dict[str, tuple[dict[str, str], bytes]] = {
    "other input": ({}, b'{"input": 2}'),
    "less whitespace": ({}, b'{"input":1}'),
    "more whitespace": ({}, b'{"input": 1} '),
    "streamed": (STREAM, b'{"input": 1}'),
    "a job": (ASYNC, b'{"input": 1}'),
}


async def test_a_key_used_for_another_request_is_refused(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        await running.post("k")
        refused = {name: await running.post("k", body, headers) for name, (headers, body) in OTHERS.items()}
        assert {name: (answer.status, answer.replayed) for name, answer in refused.items()} == dict.fromkeys(
            OTHERS, (422, False)
        )
        assert all(b'"idempotency_key_reused"' in answer.body for answer in refused.values())
        assert running.invoked == 1


async def test_another_key_is_another_request(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        first, second = await running.post("one"), await running.post("two")
        assert first.headers["X-Invocation-Id"] != second.headers["X-Invocation-Id"]
        assert running.invoked == 2


KEYS = ["x" * 255, "~!@#$%^&*()_+{}|:<>?", "a\\b", 'quo"te', "IDEM#x#y"]
NO_KEYS = ["", "x" * 256, "two words", "tab\tbed", "\x80", "ключ", '""', '" "', "\u200b"]


async def test_a_key_of_visible_ascii_is_taken(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        taken = [[(await running.post(key)).replayed for _ in range(2)] for key in KEYS]
        assert taken == [[False, True]] * len(KEYS)
        assert running.invoked == len(KEYS)


async def test_a_key_in_quotes_is_the_key(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        await running.post('a\\b"c')
        assert (await running.post('"a\\\\b\\"c"')).replayed


async def test_a_key_that_is_none_is_refused_by_name(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        refused = [await running.post(key) for key in NO_KEYS]
        assert [answer.status for answer in refused] == [422] * len(NO_KEYS)
        assert all(b'"pointer":"Idempotency-Key"' in answer.body for answer in refused)
        assert running.invoked == 0


async def test_two_keys_on_one_request_are_refused(keyed: Keyeds) -> None:
    async with keyed(http(200, {})) as running:
        url, two = running.whole.url + running.whole.path, [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        async with running.whole.session.post(url, json={"input": 1}, headers=two) as refused:
            assert refused.status == 422


NOTHING_RAN: dict[str, tuple[bytes, bytes, int]] = {
    "throttled": (refuse(429, "ThrottlingException"), b'{"input": 1}', 503),
    "full": (refuse(402, "ServiceQuotaExceededException"), b'{"input": 1}', 503),
    "missing": (refuse(404, "ResourceNotFoundException"), b'{"input": 1}', 502),
    "invalid": (http(200, {}), b'{"input": 1, "surprise": 2}', 422),
    "malformed": (http(200, {}), b"{nonsense", 400),
    "unknown session": (http(200, {}), b'{"input": 1, "sessionId": "somebody-elses"}', 404),
}


async def test_a_request_of_which_nothing_ran_leaves_its_key_free(keyed: Keyeds) -> None:
    turning = Turning(b"")
    async with keyed(turning) as running:
        for key, (script, body, status) in enumerate(NOTHING_RAN.values()):
            turning.answer = script
            assert (await running.post(str(key), body)).status == status
            turning.answer = http(200, {})
            again = await running.post(str(key))
            assert (again.status, again.replayed) == (200, False)


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (refuse(424, "RuntimeClientError"), 502, b'"agent_error"'),
        (refuse(500, "InternalServerException"), 502, b'"runtime_broken"'),
    ],
)
async def test_a_failure_of_what_ran_is_the_answer(keyed: Keyeds, script: bytes, status: int, code: bytes) -> None:
    async with keyed(script, STOPPED) as running:
        first = await running.post("k")
        again = await running.post("k")
        assert (first.status, first.replayed) == (status, False)
        assert code in first.body
        assert again.replayed
        assert again.alike(first)
        assert running.invoked == 1


async def test_a_stream_that_failed_is_given_again_with_its_failure(keyed: Keyeds) -> None:
    async with keyed(streamed(b'data: {"n": 1}\n\n', FAILED), STOPPED) as running:
        first, again = await running.post("k", headers=STREAM), await running.post("k", headers=STREAM)
        assert b"event: invocation.failed" in first.body
        assert again.replayed
        assert again.alike(first)


async def test_a_long_stream_is_given_again_whole(keyed: Keyeds) -> None:
    large = [b'data: "' + b"x" * 65_536 + b'"\n\n'] * 20
    async with keyed(streamed(*large)) as running:
        first = await running.post("k", headers=STREAM)
        again = await running.post("k", headers=STREAM)
        assert (first.body.count(b"event: agent.chunk"), again.replayed) == (20, True)
        assert again.alike(first)
        assert running.invoked == 1


async def test_a_stream_whose_log_is_lost_says_where_its_record_is(
    keyed: Keyeds, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PATIENCE_S", 0.0)
    async with keyed(EVENTS) as running:
        first = await running.post("k", headers=STREAM)
        invocation = InvocationId(first.headers["X-Invocation-Id"])
        await forgotten(redis_url, running.whole, invocation, 4)
        gone = await running.post("k", headers=STREAM)
        assert (first.status, gone.status) == (200, 410)
        assert b'"answer_not_kept"' in gone.body
        assert gone.headers["Location"] == f"/v1/invocations/{invocation}"
        assert (await running.whole.get(gone.headers["Location"])).body["status"] == "succeeded"
        assert running.invoked == 1


async def test_a_large_answer_is_given_again_whole(keyed: Keyeds) -> None:
    answer = b'"' + b"x" * 1_000_000 + b'"'
    async with keyed(http(200, answer)) as running:
        await running.post("k")
        again = await running.post("k")
        assert (again.replayed, again.body) == (True, answer)


@pytest.mark.parametrize("headers", [{}, STREAM], ids=["sync", "stream"])
async def test_a_caller_that_left_may_ask_again_with_its_key(keyed: Keyeds, headers: dict[str, str]) -> None:
    silent = Silent(first=streamed(b'data: {"n": 1}\n\n', end=False) if headers else b"")
    answer = EVENTS if headers else http(200, {})
    async with keyed(silent, STOPPED, answer) as running:
        asking = asyncio.ensure_future(running.post("k", headers=headers))
        await silent.asked.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(10):
            while (again := await running.post("k", headers=headers)).status == 409:
                await asyncio.sleep(0.05)
        assert (again.status, again.replayed) == (200, False)
        assert running.invoked == 2


async def test_a_comment_between_events_is_no_part_of_the_replay(
    keyed: Keyeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(chunk(b'data: {"n": 2}\n\n') + chunk(b""))

    async def script(request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(streamed(b'data: {"n": 1}\n\n', end=False))(request, reader, writer)
        await slow(request, reader, writer)

    async with keyed(script) as running:
        path = running.whole.process.parts.path
        object.__setattr__(path, "durations", type(path.durations)(60, 60, 0.05))
        url, sent = running.whole.url + running.whole.path, STREAM | {"Idempotency-Key": "k"}
        async with running.whole.session.post(url, json={"input": 1}, headers=sent) as got:
            read = b""
            while b": keep-alive" not in read:
                read += await got.content.readany()
            slow.go.set()
            read += await got.content.read()
        again = await running.post("k", b'{"input": 1}', STREAM)
        assert again.body == read.replace(b": keep-alive\n\n", b"")


async def test_a_key_is_free_for_a_second_tenant(
    keyed: Keyeds, aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keyed(http(200, b'"one"')) as one, keyed(http(200, b'"two"')) as two:
        await one.post("k")
        other = await two.post("k")
        assert (other.body, other.replayed) == (b'"two"', False)
