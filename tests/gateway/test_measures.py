"""What a gateway says of itself: its numbers, and how it behaves once it is on its way out."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from structlog.testing import capture_logs

from tenancy.data_models import InvocationRecord, Status
from tests.agents.upstream import Script, chunk, chunked, hangs, http, refuse, says, upstream
from tests.conftest import Aws
from tests.gateway.test_upstream_trouble import whole
from tests.gateway.whole import Whole, whole_gateway

__all__ = ["whole"]
pytestmark = pytest.mark.stack

Wholes = Callable[..., AbstractAsyncContextManager[Whole]]
INVOCATIONS = "/v1/agents/{agent}/invocations"
ANSWER = http(200, {"n": 1})
STREAM: Script = says(chunked() + chunk(b'data: {"n": 1}\n\n') + chunk(b""))


def value(gateway: Whole, name: str, **labels: str) -> float | None:
    """Return a sample of the gateway's metrics, None where there is no such series."""
    return gateway.process.private.metrics.get_sample_value(name, labels)


def agent_of(gateway: Whole) -> str:
    return gateway.path.split("/")[3]


async def test_requests_are_counted_by_route_and_status(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        await gateway.sync()
        await gateway.get("/v1/me")
        await gateway.get("/v1/nothing-like-this")
        counted = {
            (route, status): value(gateway, "lockgate_requests_total", method=method, route=route, status=status)
            for method, route, status in (
                ("POST", INVOCATIONS, "200"),
                ("GET", "/v1/me", "200"),
                ("GET", "unmatched", "404"),
            )
        }
        assert set(counted.values()) == {1.0}


async def test_refusals_are_counted_by_their_code(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        await gateway.get("/v1/jobs/job_none")
        assert value(gateway, "lockgate_problems_total", code="not_found") == 1


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_an_invocation_is_measured_and_told_in_one_line(whole: Wholes, mode: str) -> None:
    async with whole(ANSWER if mode == "sync" else STREAM) as gateway:
        with capture_logs() as logged:
            await (gateway.sync() if mode == "sync" else gateway.stream())
        agent = agent_of(gateway)
        labels = {"agent": agent, "mode": mode}
        ended = value(gateway, "lockgate_invocations_total", **labels, status="succeeded", code="")
        first_bytes = value(gateway, "lockgate_invocation_first_byte_seconds_count", **labels)
        assert (ended, first_bytes, value(gateway, "lockgate_invocation_seconds_count", **labels)) == (1, 1, 1)
        [line] = [line for line in logged if line["event"] == "invocation"]
        assert (line["tier"], line["upstream"], line["status"]) == ("standard", "ok", "succeeded")
        assert 0 < line["ttfb_ms"] <= line["duration_ms"]


async def test_a_runtimes_refusal_is_told_beside_our_own_code_and_has_no_first_byte(whole: Wholes) -> None:
    async with whole(refuse(404, "ResourceNotFoundException")) as gateway:
        with capture_logs() as logged:
            await gateway.sync()
        [line] = [line for line in logged if line["event"] == "invocation"]
        assert (line["upstream"], line["code"], line["ttfb_ms"]) == ("runtime_missing", "runtime_missing", None)
        labels = {"agent": agent_of(gateway), "mode": "sync"}
        assert value(gateway, "lockgate_invocation_first_byte_seconds_count", **labels) == 0


async def test_a_sync_answers_record_is_stored_once_and_as_it_ended_before_its_first_byte(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        answer = await gateway.sync()
        key = InvocationRecord.key_of(gateway.tenant_id, answer.headers["X-Invocation-Id"])
        record = await gateway.stores.db(gateway.tenant_id).get(InvocationRecord, key, consistent=True)
        assert record is not None
        assert record.status is Status.SUCCEEDED
        # The session is the other one.
        assert value(gateway, "lockgate_journal_records_total") == 3


async def test_caches_count_what_they_saved(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        await gateway.get("/v1/me")
        loads = value(gateway, "lockgate_cache_loads_total", cache="tenants")
        hits = value(gateway, "lockgate_cache_hits_total", cache="tenants")
        await gateway.get("/v1/me")
        assert loads == 1
        assert value(gateway, "lockgate_cache_loads_total", cache="tenants") == loads
        assert (value(gateway, "lockgate_cache_hits_total", cache="tenants") or 0) > (hits or 0)


async def test_a_gateway_on_its_way_out_serves_and_asks_its_callers_to_leave(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        assert "Connection" not in (await gateway.get("/v1/me")).headers
        gateway.process.live.drain()
        told = await gateway.sync()
        assert (told.status, told.headers["Connection"]) == (200, "close")


async def test_after_the_grace_an_invocation_is_told_to_try_again(whole: Wholes) -> None:
    async with whole(ANSWER) as gateway:
        gateway.process.live.drain()
        await gateway.process.live.end()
        told = await gateway.sync()
        assert (told.status, told.code, told.headers["Retry-After"]) == (503, "draining", "1")


async def test_a_stop_that_hangs_does_not_keep_a_record_open(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(hangs) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, kit=False) as gateway,
    ):
        call = asyncio.create_task(gateway.sync())
        ending = None
        async with asyncio.timeout(10):
            while not any("stopruntimesession" in received.target for received in runtime.received):
                if ending is None and runtime.received:
                    ending = asyncio.create_task(gateway.process.live.end())
                await asyncio.sleep(0.01)
        # As the process cancels what has not ended in time.
        call.cancel()
        assert ending is not None
        await ending
        async with asyncio.timeout(10):
            while (record := (await gateway.records())[0]).error is None:
                await asyncio.sleep(0.01)
        assert (record.status, record.error.code) == (Status.FAILED, "draining")
