"""What invocations cost and what a budget stops, on a whole gateway over a scripted runtime."""

import asyncio

import orjson
import pytest

from gateway.schemas import MeView
from gateway.usage_schemas import UsageView
from tenancy import tables
from tenancy.data_models import Mode, Status, UsageRecord
from tenancy.prices import Price
from tests.agents.upstream import http, upstream
from tests.conftest import Aws
from tests.gateway.test_upstream_trouble import streamed
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

OK, PAYMENT_REQUIRED = 200, 402
# A micro-dollar a token out: an event of 40 bytes costs 10.
BY_TOKEN = Price(output_1k_microusd=1000)
EVENT = b'data: "' + b"x" * 38 + b'"\n\n'
LONG = streamed(EVENT * 50)


async def lines(gateway: Whole) -> list[UsageRecord]:
    """Return the tenant's lines once nothing is left to write."""
    await gateway.process.parts.path.journal.flush()
    page = await gateway.stores.db(gateway.tenant_id).query(
        UsageRecord,
        tables.tenant_partition(gateway.tenant_id),
        sort_prefix=UsageRecord.SORT_PREFIX,
        limit=100,
        newest_first=False,
    )
    return list(page.items)


async def usage_of(gateway: Whole, query: str = "") -> UsageView:
    """Return what the tenant is told of its usage."""
    return UsageView.model_validate((await gateway.get(f"/v1/usage{query}")).body)


async def test_a_sync_answer_s_line_is_stored_with_its_end(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(invocation_microusd=100, input_1k_microusd=1000, output_1k_microusd=2000)
    async with (
        upstream(http(200, {"answer": "hello"})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=price) as gateway,
    ):
        await gateway.sync(input={"a": 1})
        [line] = await lines(gateway)
        # {"a": 1} is 8 bytes or 7, the answer 19 or 18: 2 tokens, and 5.
        assert (line.mode, line.outcome, line.estimated) == (Mode.SYNC, Status.SUCCEEDED, True)
        assert (line.input_tokens, line.output_tokens) == (2, 5)
        assert line.cost_microusd == 100 + 2 + 10


async def test_what_a_kit_agent_reports_is_charged_in_both_modes_and_never_shown(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = streamed(b": lockgate-usage 3-4\n" + EVENT + b": lockgate-usage 7-9\n" + EVENT + b": lockgate-usage 7-11\n")
    answer = http(200, {}, content_type="application/json; lockgate-usage=5-6")
    async with (
        upstream(told, answer) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=BY_TOKEN) as gateway,
    ):
        _, events = await gateway.stream()
        whole = await gateway.sync()
        assert [event.name for event in events] == [
            "invocation.started",
            "agent.chunk",
            "agent.chunk",
            "invocation.completed",
        ]
        assert whole.headers["Content-Type"].startswith("application/json")
        assert "lockgate-usage" not in str(whole.headers)
        stream, sync = await lines(gateway)
        assert (stream.input_tokens, stream.output_tokens, stream.estimated) == (7, 11, False)
        assert (sync.input_tokens, sync.output_tokens, sync.cost_microusd) == (5, 6, 6)


async def test_a_month_s_budget_cuts_a_stream_and_refuses_what_comes_after(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(LONG, http(200, {}), http(200, {"answer": "x" * 400})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=BY_TOKEN, budget=205, kit=False) as gateway,
    ):
        _, events = await gateway.stream()
        assert (events[-1].name, orjson.loads(events[-1].data)["code"]) == ("invocation.failed", "budget_exceeded")
        [line] = await lines(gateway)
        assert line.outcome is Status.FAILED
        assert line.cost_microusd == 10 * sum(event.name == "agent.chunk" for event in events) <= 205
        usage = await usage_of(gateway)
        me = MeView.model_validate((await gateway.get("/v1/me")).body)
        assert usage.totals.cost_microusd == usage.month.spent_microusd == line.cost_microusd
        assert me.budget is not None
        assert me.budget.left_microusd == 205 - line.cost_microusd
        # An answer that comes whole is weighed once it is here: the one that goes over is the last.
        statuses = [(await gateway.sync()).status for _ in range(4)]
        assert statuses[0] == OK
        assert statuses[-1] == PAYMENT_REQUIRED
        assert (await gateway.stream())[0] is not None
        overshoot = sum(line.cost_microusd for line in await lines(gateway)) - 205
        assert overshoot <= 104


async def test_what_its_caller_gave_an_invocation_cuts_it(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(LONG, http(200, {})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=BY_TOKEN, kit=False) as gateway,
    ):
        _, events = await gateway.stream(budgetMicrousd=55)
        assert orjson.loads(events[-1].data)["code"] == "budget_exceeded"
        [line] = await lines(gateway)
        assert line.cost_microusd <= 55


async def test_what_never_ran_costs_nothing_and_has_its_line(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(invocation_microusd=100)
    async with (
        upstream(*[http(429, {}, x_amzn_ErrorType="ThrottlingException")] * 3) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=price) as gateway,
    ):
        assert (await gateway.sync()).status == 503
        [line] = await lines(gateway)
        assert (line.outcome, line.cost_microusd) == (Status.FAILED, 0)


async def test_streams_at_once_pass_on_no_more_than_the_budget(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(*[LONG] * 5, *[http(200, {})] * 5) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=BY_TOKEN, budget=1000, kit=False) as gateway,
    ):
        await asyncio.gather(*(gateway.stream() for _ in range(5)))
        settled = await lines(gateway)
        assert sum(line.cost_microusd for line in settled) <= 1000


async def test_the_export_ends_with_totals_that_are_the_sums_of_its_lines(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(invocation_microusd=33, output_1k_microusd=7)
    async with (
        upstream(*[http(200, {"n": number}) for number in range(3)]) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=price) as gateway,
    ):
        for _ in range(3):
            await gateway.sync()
        await gateway.process.parts.path.journal.flush()
        month = gateway.process.parts.budgets.month
        url = f"{gateway.url}/v1/usage/export?month={month}"
        async with gateway.session.get(url, headers={"Accept": "application/x-ndjson"}) as answer:
            *each, total = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        async with gateway.session.get(url, headers={"Accept": "text/csv"}) as answer:
            rows = (await answer.text()).splitlines()
        usage = await usage_of(gateway, "?groupBy=day")
        assert [line["type"] for line in each] == ["line"] * 3
        assert total["costMicrousd"] == sum(line["costMicrousd"] for line in each) == usage.totals.cost_microusd
        assert len(rows) == 5
        assert rows[-1].startswith("total,")


async def test_usage_is_split_as_asked_page_by_page_and_other_questions_are_refused(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(http(200, {}), streamed(EVENT)) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, price=BY_TOKEN) as gateway,
    ):
        await gateway.sync()
        await gateway.stream()
        await gateway.process.parts.path.journal.flush()
        first = await usage_of(gateway, "?groupBy=mode&limit=1")
        second = await usage_of(gateway, f"?groupBy=mode&limit=1&cursor={first.next_cursor}")
        assert [view.mode for view in (*first.items, *second.items)] == [Mode.STREAM, Mode.SYNC]
        assert second.next_cursor is None
        assert first.totals.records == 2
        for query in ("groupBy=tenant", "from=2026-02-30", "from=2026-01-02&to=2026-01-01", "from=2020-01-01"):
            assert (await gateway.get(f"/v1/usage?{query}")).status == 422, query
        for query in ("from=9999-12-31&to=9999-12-31", "to=9999-01-01"):
            assert (await gateway.get(f"/v1/usage?{query}")).status == 422, query
        for month in ("2026-13", "9999-12", "0000-01"):
            assert (await gateway.get(f"/v1/usage/export?month={month}")).status == 422, month
        async with gateway.session.get(f"{gateway.url}/v1/usage", headers={"Accept": "text/csv"}) as answer:
            assert answer.headers["Content-Type"].startswith("text/csv")
            assert len((await answer.text()).splitlines()) == 3
