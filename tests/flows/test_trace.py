"""One trace from the tenant to the agent: the same id in, out, on and in the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.testing import capture_logs

from ops.devstack.runtime.server import LocalAgentCore, Options
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, Mode, ReleaseState
from tenancy.ids import AgentName
from tenancy.platform_store import PlatformStore
from tests.conftest import Aws
from tests.devstack.runtime.sdk import AGENTS, PYTHON, Sdk
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=opaque"}
TELL = {"input": {"do": "tell"}}


@dataclass(frozen=True, slots=True)
class Traced:
    """What a tenant got back, what its agent was given, what was logged."""

    answered: str
    given: dict[str, str]
    logged: dict[str, str]


class Collector:
    """Takes spans over OTLP, as protobuf."""

    def __init__(self) -> None:
        self.spans: asyncio.Queue[Span] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for span in sent.resource_spans[0].scope_spans[0].spans:
            self.spans.put_nowait(span)
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Run a collector, and have what is started after it send its spans there."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as server:
        monkeypatch.setenv("LOCKGATE_OTLP_ENDPOINT", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collector


@pytest.fixture
async def gateway(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, collector: Collector
) -> AsyncIterator[Whole]:
    """Run a gateway whose agent tells the headers it was given, on the local AgentCore."""
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(
            LocalAgentCore(Options(state=tmp_path / "agentcore", code_root=AGENTS, python=PYTHON))
        )
        arn = await Sdk(core).create("teller", "sdk")
        whole = await stack.enter_async_context(whole_gateway(aws, redis_url, monkeypatch, core.data_url))
        teller = AgentVersion(
            name=AgentName(f"teller-{whole.tenant_id}"),
            version="1.0.0",
            modes=frozenset({Mode.SYNC, Mode.STREAM}),
            runtime_arn=arn,
            kit=False,
            state=ReleaseState.PROMOTED,
            created_at=SystemClock().now(),
        )
        await PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None).put_agent_version(
            teller
        )
        yield replace(whole, path=f"/v1/agents/{teller.name}/invocations")


async def traced(gateway: Whole, headers: dict[str, str]) -> Traced:
    with capture_logs() as logged:
        async with gateway.session.post(gateway.url + gateway.path, json=TELL, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            told = await answer.json()
    lines = {line["event"]: line["trace"] for line in logged if line["event"] in {"request", "invocation"}}
    return Traced(answer.headers["traceparent"], told["headers"], lines)


async def test_a_callers_trace_reaches_the_agent_and_the_log_with_a_span_of_our_own(gateway: Whole) -> None:
    found = await traced(gateway, SENT)
    _, trace, span, flags = found.given["traceparent"].split("-")
    assert (trace, flags) == (TRACE, "01")
    assert span != SPAN
    assert found.answered == found.given["traceparent"]
    assert found.given["tracestate"] == "vendor=opaque"
    assert found.logged == {"request": TRACE, "invocation": TRACE}


async def test_a_request_without_a_trace_begins_one(gateway: Whole) -> None:
    found = await traced(gateway, {})
    trace = found.given["traceparent"].split("-")[1]
    assert found.answered == found.given["traceparent"]
    assert found.logged == {"request": trace, "invocation": trace}
    assert (await traced(gateway, {})).answered.split("-")[1] != trace


async def test_a_streams_agent_is_in_the_callers_trace_too(gateway: Whole) -> None:
    headers = SENT | {"Accept": "text/event-stream"}
    async with gateway.session.post(gateway.url + gateway.path, json=TELL, headers=headers) as answer:
        text = await answer.text()
    assert f'"traceparent":"{answer.headers["traceparent"]}"' in text.replace(" ", "")
    assert answer.headers["traceparent"].split("-")[1] == TRACE


async def test_a_collector_gets_the_span_that_the_agent_was_given(gateway: Whole, collector: Collector) -> None:
    found = await traced(gateway, SENT)
    async with asyncio.timeout(20):
        span = await collector.spans.get()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    assert span.span_id.hex() == found.given["traceparent"].split("-")[2]
    assert {each.key: each.value.string_value for each in span.attributes}["gen_ai.operation.name"] == "invoke_agent"
