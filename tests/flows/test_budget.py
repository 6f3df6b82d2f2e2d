"""A budget of a few cents on a whole stack: it cuts a long stream mid-way, everywhere, and the usage agrees."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.usage_schemas import UsageView
from ops.devstack.stack import Stack
from tests.flows.conftest import ECHO, Caller
from tests.flows.events import Event
from tests.flows.test_suspension import ADMIN, Application, Fresh, patch

pytestmark = pytest.mark.stack

TWO_CENTS = 20_000
WAIT_S = 30.0
# An event of 400 characters is more than a hundred tokens.
LONG = {"chunks": 1000, "chunkBytes": 400, "delayMs": 20}


@pytest.fixture
async def tenant(stack: Stack, second_gateway: str, operator: Caller) -> AsyncIterator[Fresh]:
    """Return a tenant nobody else uses, with a budget of two cents."""
    application, name = Application.of(stack), f"t{uuid.uuid4().hex[:12]}"
    body = {
        "id": name,
        "name": "Thrifty",
        "tier": "standard",
        "monthlyBudgetMicrousd": TWO_CENTS,
        "bindings": [application.binding],
    }
    answer, created = await operator.post(ADMIN, body)
    assert answer.status == 201, created
    async with AsyncExitStack() as closing:
        here, there = (application.caller(stack, gateway) for gateway in (stack.gateway, second_gateway))
        for caller in (here, there):
            await closing.enter_async_context(caller.session)
        yield Fresh(name, application, here, there)


async def read(caller: Caller, **fields: object) -> list[Event]:
    async with asyncio.timeout(WAIT_S):
        return [event async for event in caller.stream(caller.echo(**fields))]


async def usage(caller: Caller) -> UsageView:
    status, body = await caller.get("/v1/usage")
    assert status == 200
    return UsageView.model_validate(body)


async def until_settled(caller: Caller, records: int) -> UsageView:
    async with asyncio.timeout(WAIT_S):
        while (seen := await usage(caller)).totals.records < records or seen.month.held_microusd:
            pass
    return seen


async def test_a_budget_of_two_cents_cuts_long_streams_on_two_gateways_and_the_usage_agrees(
    operator: Caller, tenant: Fresh
) -> None:
    transcripts = await asyncio.gather(*(read(caller, **LONG) for caller in (tenant.here, tenant.there)))

    for events in transcripts:
        assert len(events) < LONG["chunks"]
        assert (events[-1].name, events[-1].json["code"]) == ("invocation.failed", "budget_exceeded")
    assert sum(event.name == "agent.chunk" for events in transcripts for event in events) > 1
    seen = await until_settled(tenant.there, 2)
    assert TWO_CENTS // 2 < seen.totals.cost_microusd <= TWO_CENTS
    assert seen.month.spent_microusd == seen.totals.cost_microusd
    # An agent that was cut off reports less than it passed on: what went out is counted.
    assert seen.totals.estimated == 2

    status, _ = await patch(operator, tenant.path, {"monthlyBudgetMicrousd": 0, "reason": "spent"})
    assert status == 200
    for caller in (tenant.here, tenant.there):
        async with asyncio.timeout(WAIT_S):
            while (answer := await caller.post(ECHO, caller.echo()))[0].status == 200:
                pass
        assert (answer[0].status, answer[1]["code"]) == (402, "budget_exceeded")
