"""An invocation whose process has died, carried on by a whole gateway to an end that can be read."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from agents.inband import ACTION_HEADER
from gateway.sse import RETRY, frame
from tenancy.data_models import InvocationRecord, Mode, Status, Tenant, TenantStatus, UsageRecord
from tenancy.ids import AgentName, InvocationId, SessionId, new_invocation_id
from tenancy.prices import Price
from tests.agents.upstream import Received, Script, Upstream, http, refuse, upstream
from tests.conftest import Aws
from tests.gateway.test_metering import lines
from tests.gateway.test_upstream_trouble import nothing_is_held, streamed
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

DEAD = "dead" * 4
SESSION = SessionId("ses_" + "5" * 48)
WORDS = [b'{"text": "one "}', b'{"text": "two "}', b'{"text": "mail me at ann@exam"}', b'{"text": "ple.com today"}']
EVENTS = [b"data: " + word + b"\n\n" for word in WORDS]
STOPPED = http(200, {})
PRICE = Price(invocation_microusd=100)


@dataclass(frozen=True)
class Taker:
    """A gateway, and what it is asked for by who plays its agents."""

    whole: Whole
    runtime: Upstream

    def record(self, **fields: object) -> InvocationRecord:
        clock = self.whole.process.parts.path.clock
        return InvocationRecord.model_validate(
            {
                "tenant_id": self.whole.tenant_id,
                "invocation_id": new_invocation_id(clock.now()),
                "agent": AgentName(self.whole.path.split("/")[3]),
                "agent_version": "1.0.0",
                "mode": Mode.STREAM,
                "status": Status.RUNNING,
                "session_id": SESSION,
                "principal": "p",
                "request_id": "req_1",
                "created_at": clock.now(),
                "process": DEAD,
                "ttl": 0,
            }
            | fields
        )

    async def carried(self, record: InvocationRecord, logged: Sequence[bytes] = ()) -> InvocationRecord:
        """Carry on what has these events on record; return the record that comes of it."""
        path = self.whole.process.parts.path
        await path.stores.db(record.tenant_id).put(record)
        if logged:
            log = path.logs.open(record.tenant_id, record.invocation_id, 600)
            for framed in logged:
                log.append(framed)
            log.close()
            async with asyncio.timeout(10):
                while not log.idle:
                    await path.logs.passed()
        async with asyncio.timeout(20):
            await self.whole.process.orphans._carry(record)
        await path.journal.flush()
        await nothing_is_held(self.whole)
        final = await path.stores.db(record.tenant_id).get(InvocationRecord, record.key(), consistent=True)
        assert final is not None
        return final

    async def line(self, record: InvocationRecord) -> UsageRecord:
        """Return the one line it has in the ledger."""
        [line] = [line for line in await lines(self.whole) if line.record_id == record.invocation_id]
        return line

    async def read(self, record: InvocationRecord) -> bytes:
        """Return the transcript as a reader is given it."""
        url = f"{self.whole.url}/v1/invocations/{record.invocation_id}/events"
        async with self.whole.session.get(url) as got:
            assert got.status == 200
            return (await got.read()).removeprefix(RETRY)

    @property
    def asked(self) -> list[str]:
        """What the runtime was asked for."""
        return [
            one.headers.get(ACTION_HEADER) or one.target.split("?")[0].rsplit("/", 1)[1]
            for one in self.runtime.received
        ]


Takers = Callable[..., AbstractAsyncContextManager[Taker]]


@pytest.fixture
def taker(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Takers:
    """Return what runs a gateway on a runtime that plays these scripts."""

    @asynccontextmanager
    async def run(*scripts: Script | bytes, **given: object) -> AsyncIterator[Taker]:
        async with (
            upstream(*scripts) as runtime,
            whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=PRICE, **given) as whole,  # type: ignore[arg-type]
        ):
            yield Taker(whole, runtime)

    return run


def transcript(record: InvocationRecord, words: Sequence[bytes], end: bytes = b"", told: bytes = b"") -> list[bytes]:
    """Return the events of a stream as its tenant is sent them."""
    ids = b'"invocationId":"%b","sessionId":"%b"' % (record.invocation_id.encode(), SESSION.encode())
    events = [(b"invocation.started", b"{%b}" % ids), *((b"agent.chunk", word) for word in words)]
    if end:
        events.append((b"invocation." + end, b"{%b,%b}" % (ids, told)))
    return [frame(number, name, data) for number, (name, data) in enumerate(events, 1)]


SUCCEEDED = b'"status":"succeeded"'


async def test_a_kit_agents_stream_goes_on_to_the_very_log_it_would_have_had(taker: Takers) -> None:
    # Not even its first event may be on record.
    logs = [(after, begun) for begun in (False, True) for after in range(5 if begun else 1)]
    async with taker(*(streamed(b"".join(EVENTS[after:])) for after, _ in logs)) as one:
        for after, begun in logs:
            record = one.record()
            final = await one.carried(record, transcript(record, WORDS[:after]) if begun else ())
            assert await one.read(record) == b"".join(transcript(record, WORDS, b"completed", SUCCEEDED))
            assert one.runtime.received[-1].body == b'{"after":%d}' % after
            assert (final.status, final.chunks, final.answer_bytes) == (Status.SUCCEEDED, 4, sum(map(len, WORDS)))
            line = await one.line(record)
            assert (line.outcome, line.chunks, line.cost_microusd) == (Status.SUCCEEDED, 4, 100)
        assert set(one.asked) == {"attach"}


async def test_a_redacted_stream_goes_on_as_if_it_had_never_been_cut(taker: Takers) -> None:
    redacted = [*WORDS[:2], b'{"text": "mail me at [REDACTED:email]"}', b'{"text": " today"}']
    async with taker(streamed(b"".join(EVENTS))) as one:
        await _changed(one, {"redaction": "redact"})
        for known in range(4):
            record = one.record()
            final = await one.carried(record, transcript(record, redacted[:known]))
            assert await one.read(record) == b"".join(transcript(record, redacted, b"completed", SUCCEEDED))
            assert one.runtime.received[-1].body == b'{"after":0}'
            assert (final.chunks, final.answer_bytes) == (4, sum(map(len, WORDS)))


async def test_an_agent_that_refuses_for_a_moment_is_attached_to_again(taker: Takers) -> None:
    async with taker(refuse(429, "ThrottlingException"), streamed(b"".join(EVENTS[1:]))) as one:
        record = one.record()
        final = await one.carried(record, transcript(record, WORDS[:1]))
        assert final.status is Status.SUCCEEDED


async def _ends_interrupted(one: Taker, record: InvocationRecord, known: int) -> None:
    final = await one.carried(record, transcript(record, WORDS[:known]))
    assert final.error is not None
    assert (final.status, final.error.code, final.chunks) == (Status.FAILED, "stream_interrupted", known)
    told = b'"status":"failed","code":"stream_interrupted","detail":"%b"' % final.error.detail.encode()
    assert await one.read(record) == b"".join(transcript(record, WORDS[:known], b"failed", told))
    line = await one.line(record)
    assert (line.outcome, line.chunks, line.estimated) == (Status.FAILED, known, True)


async def test_what_an_agent_without_the_kit_was_doing_ends_and_says_so(taker: Takers) -> None:
    async with taker(STOPPED, kit=False) as one:
        await _ends_interrupted(one, one.record(), 2)
        final = await one.carried(one.record(mode=Mode.SYNC))
        assert final.error is not None
        assert (final.status, final.error.code) == (Status.FAILED, "stream_interrupted")
        assert one.asked == ["stopruntimesession"] * 2


async def test_a_stream_whose_agent_keeps_it_no_more_ends_and_its_session_is_stopped(taker: Takers) -> None:
    async with taker(refuse(424, "RuntimeClientError"), STOPPED, STOPPED) as one:
        await _ends_interrupted(one, one.record(), 3)
        assert one.asked == ["attach", "stop", "stopruntimesession"]


async def test_a_stream_whose_agent_is_gone_ends(taker: Takers) -> None:
    async with taker(STOPPED) as one:
        await _ends_interrupted(one, one.record(agent_version="9.9.9"), 1)
        assert one.asked == []


async def test_what_was_called_off_meanwhile_is_not_gone_on_with(taker: Takers) -> None:
    async with taker(STOPPED, kit=False) as one:
        record = one.record(cancel_requested_at=one.whole.process.parts.path.clock.now())
        final = await one.carried(record, transcript(record, WORDS[:1]))
        assert (final.status, final.error) == (Status.CANCELLED, None)
        told = b'"status":"cancelled"'
        assert await one.read(record) == b"".join(transcript(record, WORDS[:1], b"cancelled", told))
        await _changed(one, {"status": TenantStatus.SUSPENDED})
        record = one.record()
        final = await one.carried(record, transcript(record, WORDS[:1]))
        assert final.error is not None
        assert (final.status, final.error.code) == (Status.FAILED, "tenant_suspended")
        assert one.asked == ["stopruntimesession"] * 2


async def test_a_cancel_while_the_agent_is_attached_to_is_no_failure(taker: Takers) -> None:
    async def cancelled(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # By another process, which stops the session.
        await one.whole.stores.db(record.tenant_id).update(
            InvocationRecord, record.key(), {"cancel_requested_at": record.created_at.isoformat()}
        )
        writer.transport.abort()

    async with taker(cancelled, STOPPED) as one:
        record = one.record()
        final = await one.carried(record, transcript(record, WORDS[:1]))
        assert final.status is Status.CANCELLED


async def test_a_stream_beyond_its_budget_ends(taker: Takers) -> None:
    async with taker(streamed(b"".join(EVENTS[1:])), STOPPED, STOPPED) as one:
        record = one.record(budget_microusd=50)
        final = await one.carried(record, transcript(record, WORDS[:1]))
        assert final.error is not None
        assert (final.status, final.error.code, final.chunks) == (Status.FAILED, "budget_exceeded", 1)


async def test_a_log_that_had_ended_says_how_its_record_is_closed(taker: Takers) -> None:
    async with taker(STOPPED) as one:
        record = one.record()
        logged = transcript(record, WORDS, b"failed", b'"status":"failed","code":"agent_error","detail":"It failed."')
        final = await one.carried(record, logged)
        assert final.error is not None
        assert (final.status, final.error.code, final.error.detail) == (Status.FAILED, "agent_error", "It failed.")
        assert final.chunks == 4
        assert await one.read(record) == b"".join(logged)
        assert one.asked == []


async def test_what_had_been_settled_is_not_settled_again_and_its_turn_is_free(taker: Takers) -> None:
    async with taker(streamed(b"".join(EVENTS))) as one:
        record, turns = one.record(), one.whole.process.parts.path.turns
        await one.carried(record)
        line = await one.line(record)
        assert (await one.carried(record)).status is Status.SUCCEEDED
        assert await one.line(record) == line
        async with turns.turn(record.tenant_id, SESSION, InvocationId("inv_" + "1" * 26), fresh=False):
            pass


async def _changed(one: Taker, changes: dict[str, str]) -> None:
    tenant_id = one.whole.tenant_id
    await one.whole.stores.db(tenant_id).update(Tenant, Tenant.key_of(tenant_id, "METADATA"), dict(changes))
    one.whole.process.parts.path.tenants.invalidate(tenant_id)
