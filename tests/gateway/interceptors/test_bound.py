"""Which interceptors stand on an invocation's way, and what becomes of those that cannot be made."""

import asyncio
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from gateway.interceptors import bound
from gateway.interceptors.bound import POLICIES_KEPT, Interceptors
from gateway.interceptors.decisions import Decisions
from gateway.interceptors.errors import InterceptorFailedError
from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy
from tenancy.data_models import AgentVersion, Mode, Redaction, RedactionPattern, ReleaseState, Tenant
from tenancy.ids import AgentName, TenantId
from tenancy.tiers import Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = '{"type":"object"}'
REFUSED = RedactionPattern(name="forever", pattern="a+")


def tenant(redaction: Redaction = "off", *patterns: RedactionPattern, name: str = "acme") -> Tenant:
    return Tenant(
        tenant_id=TenantId(name),
        name=name,
        tier=Tier.BASIC,
        redaction=redaction,
        redaction_patterns=patterns,
        created_at=NOW,
        updated_at=NOW,
    )


def agent(schema: str | None = None, *, prompt_guard: bool = False) -> AgentVersion:
    return AgentVersion(
        name=AgentName("echo"),
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn="arn",
        state=ReleaseState.PROMOTED,
        input_schema_json=schema,
        prompt_guard=prompt_guard,
        created_at=NOW,
    )


class World:
    """One process's interceptors, and how often policies were compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.metrics, self.compiled = CollectorRegistry(), 0

        def counted(policy: Policy) -> Redactor:
            self.compiled += 1
            return Redactor(policy)

        monkeypatch.setattr(bound, "Redactor", counted)
        self.interceptors = Interceptors(Decisions(self.metrics))

    def failed(self, interceptor: str) -> float | None:
        labels = {"interceptor": interceptor, "outcome": "failed"}
        return self.metrics.get_sample_value("lockgate_interceptor_decisions_total", labels)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_what_nobody_asked_for_is_not_on_the_way(world: World) -> None:
    assert await world.interceptors.on(tenant(), agent(), "inv_1") is None
    assert await world.interceptors.answers(tenant(), "echo", "inv_1") is None
    assert world.compiled == 0


async def test_the_tenant_chooses_redaction_and_the_agent_version_its_schema_and_guard(world: World) -> None:
    redacting = await world.interceptors.on(tenant("redact"), agent(), "inv_1")
    judging = await world.interceptors.on(tenant(), agent(SCHEMA), "inv_1")
    guarding = await world.interceptors.on(tenant(), agent(prompt_guard=True), "inv_1")
    assert redacting is not None
    assert judging is not None
    assert guarding is not None
    assert (redacting.schema, redacting.guard, redacting.redactor is None) == (None, None, False)
    assert (judging.schema is None, judging.guard, judging.redactor) == (False, None, None)
    assert (guarding.schema, guarding.guard is None, guarding.redactor) == (None, False, None)


async def test_a_policy_is_compiled_once_for_all_who_want_the_same_at_once(world: World) -> None:
    chains = await asyncio.gather(
        *(world.interceptors.answers(tenant("redact", name=name), "echo", "inv_1") for name in ("acme", "globex")),
        world.interceptors.on(tenant("redact"), agent(), "inv_2"),
    )
    assert world.compiled == 1
    assert len({id(chain.redactor) for chain in chains if chain is not None}) == 1


async def test_whoever_leaves_meanwhile_does_not_keep_others_from_a_policy(world: World) -> None:
    leaving = asyncio.create_task(world.interceptors.answers(tenant("redact"), "echo", "inv_1"))
    staying = asyncio.create_task(world.interceptors.answers(tenant("redact"), "echo", "inv_2"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying) is not None
    assert world.compiled == 1


async def test_a_changed_tenant_is_judged_as_it_stands_now(world: World) -> None:
    own = RedactionPattern(name="ticket", pattern="TICK-[0-9]{4}")
    chains = [
        await world.interceptors.answers(now, "echo", "inv_1")
        for now in (tenant("redact"), tenant("redact", own), tenant())
    ]
    said = b'"TICK-1234"'
    assert [said if chain is None else chain.answer(said) for chain in chains] == [said, b'"[REDACTED:ticket]"', said]


async def test_only_so_many_policies_are_kept_and_the_one_in_use_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "POLICIES_KEPT", 2)
    a, b, c = (tenant("redact", RedactionPattern(name=name, pattern=name)) for name in ("aaa", "bbb", "ccc"))
    for wanted in (a, b, a, c, a):
        await world.interceptors.answers(wanted, "echo", "inv_1")
    assert world.compiled == 3
    await world.interceptors.answers(b, "echo", "inv_1")
    assert world.compiled == 4
    assert POLICIES_KEPT * 2 <= 128


async def test_a_pattern_that_cannot_be_compiled_refuses_and_is_not_tried_again(world: World) -> None:
    for _ in range(2):
        with pytest.raises(InterceptorFailedError):
            await world.interceptors.on(tenant("redact", REFUSED), agent(), "inv_1")
    assert world.compiled == 1
    assert world.failed("redact") == 2


async def test_a_schema_that_cannot_be_compiled_refuses(world: World) -> None:
    with pytest.raises(InterceptorFailedError):
        await world.interceptors.on(tenant(), agent('{"type": 12}'), "inv_1")
    assert world.failed("input_schema") == 1
