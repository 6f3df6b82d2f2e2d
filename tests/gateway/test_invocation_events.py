"""A stream's events over HTTP: read again from anywhere, followed while it runs, refused where they are not kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway import replay
from gateway.sse import RETRY
from tenancy.data_models import InvocationRecord, Status
from tenancy.ids import InvocationId
from tenancy.tiers import LimitOverrides
from tests.agents.upstream import Received, Script, Upstream, chunk, http, refuse, upstream
from tests.conftest import Aws
from tests.gateway.logs import forgotten, until_stored, without_tail
from tests.gateway.test_upstream_trouble import FAILED, nothing_is_held, streamed
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

STREAM = {"Accept": "text/event-stream"}
DETACH = STREAM | {"Prefer": "detach-on-disconnect"}
STOPPED = http(200, {})


@dataclass
class Told:
    """Says an event whenever it is told to, and ends when told so."""

    left: asyncio.Event = field(default_factory=asyncio.Event)
    words: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def __call__(self, _: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        watching = asyncio.ensure_future(self._watch(reader))
        writer.write(streamed(b'data: {"n": 0}\n\n', end=False))
        while word := await self.words.get():
            writer.write(chunk(b"data: " + word + b"\n\n"))
        writer.write(chunk(b""))
        await writer.drain()
        watching.cancel()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.left.set()

    def say(self, *words: bytes) -> None:
        for word in words:
            self.words.put_nowait(word)


@dataclass(frozen=True)
class Running:
    """A gateway on a runtime."""

    whole: Whole
    runtime: Upstream

    async def post(self, headers: dict[str, str] | None = None) -> tuple[InvocationId, bytes]:
        async with self.whole.session.post(
            self.whole.url + self.whole.path, json={"input": 1}, headers=headers or STREAM
        ) as got:
            return InvocationId(got.headers["X-Invocation-Id"]), await got.read()

    @asynccontextmanager
    async def left_behind(self, headers: dict[str, str]) -> AsyncIterator[InvocationId]:
        """Invoke, read the first chunk, and leave; the block begins when the connection is closed."""
        async with self.whole.session.post(self.whole.url + self.whole.path, json={"input": 1}, headers=headers) as got:
            assert got.status == 200
            read = b""
            while b"agent.chunk" not in read:
                read += await got.content.readany()
            assert got.headers.get("Preference-Applied") == headers.get("Prefer")
            got.close()
        yield InvocationId(got.headers["X-Invocation-Id"])

    async def read(self, invocation: str, query: str = "", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        url = f"{self.whole.url}/v1/invocations/{invocation}/events{query}"
        async with self.whole.session.get(url, headers=headers) as got:
            return got.status, await got.read()

    async def until(self, invocation: str, status: Status) -> None:
        async with asyncio.timeout(10):
            while (await self.whole.get(f"/v1/invocations/{invocation}")).body["status"] != status:
                await asyncio.sleep(0.02)

    @property
    def asked(self) -> list[str]:
        """What the runtime was asked for."""
        return [one.target.split("?")[0].rsplit("/", 1)[1] for one in self.runtime.received]


Runnings = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def running(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Runnings:
    """Return what runs a gateway on a runtime that plays these scripts."""

    @asynccontextmanager
    async def run(*scripts: Script | bytes, limits: LimitOverrides | None = None) -> AsyncIterator[Running]:
        async with (
            upstream(*scripts) as runtime,
            whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False, limits=limits) as whole,
        ):
            yield Running(whole, runtime)

    return run


EVENTS = streamed(*(b'data: {"n":  %d}\n\n' % number for number in range(8)))


def from_event(read: bytes, after: int) -> bytes:
    """Return what a reader that has come to an event is still to be sent."""
    return RETRY + b"".join(frame + b"\n\n" for frame in read.removeprefix(RETRY).split(b"\n\n")[after:-1])


async def test_a_stream_is_read_again_byte_for_byte_from_every_event(running: Runnings, redis_url: str) -> None:
    async with running(EVENTS) as one:
        invocation, read = await one.post()
        assert read.count(b"\n\n") == 10
        fresh = [await one.read(invocation, f"?startingAfter={after}") for after in range(10)]
        await until_stored(one.whole, invocation, 10)
        await without_tail(redis_url, one.whole, invocation)
        stored = [await one.read(invocation, headers={"Last-Event-ID": str(after)}) for after in range(10)]
        assert fresh == stored == [(200, from_event(read, after)) for after in range(10)]
        assert await one.read(invocation) == (200, read)
        assert await one.read(invocation, "?startingAfter=10") == (204, b"")
        assert await one.read(invocation, "?startingAfter=9", {"Last-Event-ID": "10"}) == (204, b"")


async def test_an_event_the_stream_does_not_have_is_refused(running: Runnings) -> None:
    told = Told()
    async with running(told) as one, one.left_behind(DETACH) as invocation:
        for unknown in ("3", "999999", "-1", "one", "1.0", "", "٣"):
            status, body = await one.read(invocation, headers={"Last-Event-ID": unknown})
            assert (status, b'"event_unknown"' in body) == (400, True)
        told.say(b"1", b"")
        await one.until(invocation, Status.SUCCEEDED)
        await until_stored(one.whole, invocation, 4)
        assert (await one.read(invocation, "?startingAfter=5"))[0] == 400


async def test_what_is_no_stream_of_the_tenants_is_not_found(
    running: Runnings, aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(EVENTS) as one, running(http(200, {})) as other:
        invocation, _ = await one.post()
        answer = await other.whole.sync()
        foreign, own = await other.read(invocation), await other.read(answer.headers["X-Invocation-Id"])
        unknown = await other.read("inv_00000000000000000000000000")
        assert (foreign[0], own[0], unknown[0]) == (404, 404, 404)


async def test_a_running_stream_is_followed_to_its_end(running: Runnings, redis_url: str) -> None:
    told = Told()
    async with running(told) as one:
        posted = asyncio.ensure_future(one.post())
        async with asyncio.timeout(20):
            while not (found := await one.whole.records()):
                await asyncio.sleep(0.02)
        invocation = found[0].invocation_id
        early = asyncio.ensure_future(one.read(invocation))
        told.say(b"1", b"2")
        await until_stored(one.whole, invocation, 4)
        late = asyncio.ensure_future(one.read(invocation, "?startingAfter=1"))
        await without_tail(redis_url, one.whole, invocation)
        told.say(b"3", b"")
        _, read = await posted
        assert await early == (200, read)
        assert await late == (200, from_event(read, 1))
        assert read.count(b"agent.chunk") == 4


async def test_a_reader_holds_one_of_the_tenants_places(running: Runnings) -> None:
    told = Told()
    async with running(told, limits=LimitOverrides(concurrent_streams=2)) as one:
        async with one.left_behind(DETACH) as invocation:
            url = f"{one.whole.url}/v1/invocations/{invocation}/events"
            async with one.whole.session.get(url) as first:
                assert first.status == 200
                status, body = await one.read(invocation)
                assert (status, b'"concurrency_limit"' in body) == (429, True)
            told.say(b"")
            await one.until(invocation, Status.SUCCEEDED)
        await nothing_is_held(one.whole)


async def test_a_stream_that_goes_on_alone_ends_as_if_it_were_read(running: Runnings) -> None:
    told = Told()
    async with running(told) as one, one.left_behind(DETACH) as invocation:
        told.say(b"1", b"2", b"")
        status, read = await one.read(invocation)
        assert status == 200
        assert [line for line in read.splitlines() if line.startswith(b"data")][1:4] == [
            b'data: {"n": 0}',
            b"data: 1",
            b"data: 2",
        ]
        assert read.count(b"event: invocation.completed") == 1
        await one.until(invocation, Status.SUCCEEDED)
        await nothing_is_held(one.whole)
        assert one.asked == ["invocations"]


async def test_a_reader_that_leaves_without_a_word_cancels_and_the_log_says_so(running: Runnings) -> None:
    told = Told()
    async with running(told, STOPPED) as one, one.left_behind(STREAM) as invocation:
        await told.left.wait()
        status, read = await one.read(invocation)
        assert status == 200
        assert b'event: invocation.cancelled\ndata: {"invocationId":' in read
        assert b'"code":"client_disconnected"' in read
        assert one.asked == ["invocations", "stopruntimesession"]


async def test_a_stream_that_goes_on_alone_can_be_cancelled(running: Runnings) -> None:
    told = Told()
    async with running(told, STOPPED) as one, one.left_behind(DETACH) as invocation:
        reading = asyncio.ensure_future(one.read(invocation))
        async with one.whole.session.post(f"{one.whole.url}/v1/invocations/{invocation}/cancel") as cancelled:
            assert cancelled.status == 202
        _, read = await reading
        assert read.count(b"event: invocation.cancelled") == 1
        await told.left.wait()
        await nothing_is_held(one.whole)


async def test_a_key_is_held_by_a_stream_that_goes_on_alone(running: Runnings) -> None:
    told, keyed = Told(), DETACH | {"Idempotency-Key": "k"}
    async with running(told) as one, one.left_behind(keyed) as invocation:
        async with one.whole.session.post(one.whole.url + one.whole.path, json={"input": 1}, headers=keyed) as refused:
            assert refused.status == 409
        told.say(b"1", b"")
        _, read = await one.read(invocation)
        async with one.whole.session.post(one.whole.url + one.whole.path, json={"input": 1}, headers=keyed) as again:
            assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
            assert (again.headers["X-Invocation-Id"], await again.read()) == (invocation, read)
        assert one.asked == ["invocations"]


async def test_events_are_kept_for_the_tiers_replay_time(running: Runnings) -> None:
    async with running(EVENTS, limits=LimitOverrides(replay_s=3600)) as one:
        invocation, _ = await one.post()
        db = one.whole.stores.db(one.whole.tenant_id)
        [record] = await one.whole.records()
        assert record.ended_at is not None
        before = record.model_copy(update={"ended_at": record.ended_at.replace(year=record.ended_at.year - 1)})
        await db.put(before)
        status, body = await one.read(invocation)
        assert (status, b'"replay_expired"' in body) == (410, True)


async def test_events_that_are_lost_are_not_passed_over(
    running: Runnings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PATIENCE_S", 0.0)
    async with running(EVENTS) as one:
        invocation, _ = await one.post()
        await forgotten(redis_url, one.whole, invocation, 10)
        status, body = await one.read(invocation)
        assert (status, b'"replay_expired"' in body) == (410, True)


async def test_a_stream_that_never_began_is_told_from_its_record(running: Runnings) -> None:
    async with running(refuse(424, "RuntimeClientError")) as one:
        answer, _ = await one.whole.stream()
        assert answer is not None
        status, read = await one.read(answer.headers["X-Invocation-Id"])
        assert status == 200
        assert read.startswith(RETRY + b"id: 1\nevent: invocation.started\n")
        assert b"id: 2\nevent: invocation.failed\n" in read
        assert b'"code":"agent_error"' in read


async def test_an_agent_that_failed_is_told_of_again(running: Runnings) -> None:
    async with running(streamed(b'data: {"n": 1}\n\n', FAILED), STOPPED) as one:
        invocation, read = await one.post()
        assert b"event: invocation.failed" in read
        assert await one.read(invocation) == (200, read)


async def test_a_suspended_tenants_reader_is_told_where_it_stopped(running: Runnings) -> None:
    told = Told()
    async with running(told, STOPPED) as one, one.left_behind(DETACH) as invocation:
        url = f"{one.whole.url}/v1/invocations/{invocation}/events"
        async with one.whole.session.get(url) as got:
            read = b""
            while b"agent.chunk" not in read:
                read += await got.content.readany()
            assert one.whole.process.live.end_tenant(one.whole.tenant_id) == 2
            read += await got.content.read()
        # Its own last word, or that of the stream that was ended with it.
        assert read.count(b'"code":"tenant_suspended"') == 1


async def test_no_record_is_mistaken_for_a_segment(running: Runnings) -> None:
    async with running(EVENTS) as one:
        invocation, _ = await one.post()
        await until_stored(one.whole, invocation, 10)
        assert [type(record) for record in await one.whole.records()] == [InvocationRecord]
