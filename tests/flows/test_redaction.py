"""Personal data on a whole stack: redacted or blocked in every mode, as the tenant's policy says on every process."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ops.devstack.stack import Stack
from tests.flows.conftest import ECHO, Caller
from tests.flows.test_suspension import ADMIN, Application, Fresh, listed, patch

pytestmark = pytest.mark.stack

WAIT_S = 30.0
PROMPT = (
    "Mail ada@acme.example or call +44 20 7946 0958. Card 4111 1111 1111 1111, NI number QQ 12 34 56 C no, "
    "AB 12 34 56 C yes; from 10.0.0.1, ticket TICK-1234."
)
REDACTED = (
    "Mail [REDACTED:email] or call [REDACTED:phone]. Card [REDACTED:payment_card], NI number QQ 12 34 56 C no, "
    "[REDACTED:ni_number] yes; from [REDACTED:ip_address], ticket TICK-1234."
)


@pytest.fixture
async def tenant(stack: Stack, second_gateway: str, operator: Caller) -> AsyncIterator[Fresh]:
    """Return a tenant nobody else uses, whose answers are redacted."""
    application, name = Application.of(stack), f"t{uuid.uuid4().hex[:12]}"
    body = {
        "id": name,
        "name": "Discreet",
        "tier": "standard",
        "redaction": "redact",
        "bindings": [application.binding],
    }
    answer, created = await operator.post(ADMIN, body)
    assert answer.status == 201, created
    async with AsyncExitStack() as closing:
        here, there = (application.caller(stack, gateway) for gateway in (stack.gateway, second_gateway))
        for caller in (here, there):
            await closing.enter_async_context(caller.session)
        yield Fresh(name, application, here, there)


async def streamed(caller: Caller, **fields: object) -> tuple[str, tuple[str, object]]:
    """Return what a stream says, and how it ends."""
    async with asyncio.timeout(WAIT_S):
        events = [event async for event in caller.stream(caller.echo(prompt=PROMPT, **fields))]
    said = "".join(str(event.json["text"]) for event in events if event.name == "agent.chunk")
    return said, (events[-1].name, events[-1].json.get("code"))


async def job(caller: Caller) -> dict[str, object]:
    """Run a job to its end and return it."""
    answer, accepted = await caller.post(ECHO, caller.echo(prompt=PROMPT), {"Prefer": "respond-async"})
    assert answer.status == 202
    async with asyncio.timeout(WAIT_S):
        while True:
            _, told = await caller.get(f"/v1/jobs/{accepted['jobId']}")
            if told["status"] not in ("queued", "running"):
                return told
            await asyncio.sleep(0.05)


async def until_answered(caller: Caller, expected: tuple[int, object]) -> None:
    """Return once a sync answer has this status and this text, or code."""
    async with asyncio.timeout(WAIT_S):
        while True:
            answer, body = await caller.post(ECHO, caller.echo(prompt=PROMPT))
            if (answer.status, body.get("echo", body.get("code"))) == expected:
                return


async def test_a_prompt_full_of_personal_data_comes_back_redacted_in_every_mode(tenant: Fresh) -> None:
    for chunks in (1, 7, 40, len(PROMPT)):
        assert await streamed(tenant.here, chunks=chunks) == (REDACTED, ("invocation.completed", None))
    assert await streamed(tenant.there) == (REDACTED, ("invocation.completed", None))
    await until_answered(tenant.here, (200, REDACTED))
    done = await job(tenant.here)
    assert (done["status"], done["result"]) == ("succeeded", {"echo": REDACTED})


async def test_a_policy_changed_on_one_gateway_is_in_force_on_the_other_and_blocks_in_every_mode(
    operator: Caller, tenant: Fresh
) -> None:
    await until_answered(tenant.there, (200, REDACTED))
    own = [{"name": "ticket", "pattern": "TICK-[0-9]{4}"}]
    status, shown = await patch(operator, tenant.path, {"redactionPatterns": own, "reason": "tickets are secret"})
    assert (status, shown["redactionPatterns"]) == (200, own)
    await until_answered(tenant.there, (200, REDACTED.replace("TICK-1234", "[REDACTED:ticket]")))

    assert (await patch(operator, tenant.path, {"redaction": "off", "reason": "trusted"}))[0] == 200
    await until_answered(tenant.there, (200, PROMPT))
    assert await streamed(tenant.there, chunks=40) == (PROMPT, ("invocation.completed", None))

    assert (await patch(operator, tenant.path, {"redaction": "block", "reason": "audit"}))[0] == 200
    for caller in (tenant.here, tenant.there):
        await until_answered(caller, (502, "redaction_blocked"))
        said, end = await streamed(caller, chunks=40)
        assert end == ("invocation.failed", "redaction_blocked")
        assert "Mail ".startswith(said)
    ended = await job(tenant.there)
    assert (ended["status"], "result" in ended) == ("failed", False)
    error = ended["error"]
    assert isinstance(error, dict)
    assert error["code"] == "redaction_blocked"


@pytest.mark.parametrize(
    ("patterns", "pointer", "detail"),
    [
        ([{"name": "ok", "pattern": "a"}, {"name": "any", "pattern": "a+"}], "/redactionPatterns/1/pattern", "256"),
        ([{"name": "ahead", "pattern": "a(?=b)"}], "/redactionPatterns/0/pattern", "engine"),
        ([{"name": "A", "pattern": "a"}], "/redactionPatterns/0/name", "match"),
        ([{"name": "x", "pattern": "a"}, {"name": "x", "pattern": "b"}], "/redactionPatterns/1/name", "another"),
        ([{"name": f"n{n}", "pattern": "a"} for n in range(21)], "/redactionPatterns", "20"),
    ],
    ids=["endless", "looks around", "name", "name twice", "too many"],
)
async def test_a_pattern_that_cannot_be_used_is_refused_by_its_place(
    operator: Caller, tenant: Fresh, patterns: list[dict[str, str]], pointer: str, detail: str
) -> None:
    status, problem = await patch(operator, tenant.path, {"redactionPatterns": patterns, "reason": "x"})
    assert (status, problem["code"]) == (422, "fields_invalid")
    [fault] = listed(problem, "errors")
    assert fault["pointer"] == pointer
    assert detail in str(fault["detail"])
    assert (await operator.get(tenant.path))[1]["redactionPatterns"] == []
