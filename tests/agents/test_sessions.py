from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import SessionUnknownError
from agents.sessions import KEPT, Sessions
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, Mode, ReleaseState, SessionRecord
from tenancy.errors import InvalidIdError
from tenancy.ids import AgentName, TenantId, new_session_id, parse_session_id
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws

TenantIds = Callable[[], TenantId]


@dataclass
class Memory:
    """Records that are never stored: what `pending` knows is all there is."""

    records: dict[tuple[TenantId, str], SessionRecord] = field(default_factory=dict)

    def put(self, item: SessionRecord) -> None:
        self.records[item.tenant_id, item.session_id] = item

    def pending(self, _model: type[SessionRecord], tenant_id: TenantId, record_id: str) -> SessionRecord | None:
        return self.records.get((tenant_id, record_id))


class Nothing:
    """Another process: it has nothing pending, and its records go straight to the store by hand."""

    def put(self, item: SessionRecord) -> None:
        """Drop it."""

    def pending(self, _model: type[SessionRecord], _tenant_id: TenantId, _record_id: str) -> None:
        """Know nothing."""


def agent(name: str = "echo-agent", version: str = "1.0.0") -> AgentVersion:
    return AgentVersion(
        name=AgentName(name),
        version=version,
        modes=frozenset(Mode),
        runtime_arn="arn:aws:bedrock-agentcore:eu-west-1:000000000000:runtime/echo-0000000000",
        state=ReleaseState.PROMOTED,
        created_at=SystemClock().now(),
    )


def stores_of(aws: Aws) -> TenantStores:
    return TenantStores(
        aws.dynamodb, aws.s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=lambda _: None
    )


pytestmark = pytest.mark.stack


async def test_a_new_session_is_known_to_its_tenant_at_once(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    tenant, memory = tenant_id(), Memory()
    sessions = Sessions(stores_of(aws), memory, clock)
    made = await sessions.open(tenant, agent(), None)
    assert made.fresh
    again = await sessions.open(tenant, agent(), made.id)
    assert (again.id, again.fresh) == (made.id, False)


async def test_a_session_is_found_by_another_process(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    tenant, memory, stores = tenant_id(), Memory(), stores_of(aws)
    made = await Sessions(stores, memory, clock).open(tenant, agent(), None)
    await stores.db(tenant).put(memory.records[tenant, made.id])
    assert (await Sessions(stores, Nothing(), clock).open(tenant, agent(), made.id)).id == made.id


async def test_anothers_session_is_unknown(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    mine, other, memory, stores = tenant_id(), tenant_id(), Memory(), stores_of(aws)
    sessions = Sessions(stores, memory, clock)
    made = await sessions.open(mine, agent(), None)
    await stores.db(mine).put(memory.records[mine, made.id])
    for asked in (sessions, Sessions(stores, Nothing(), clock)):
        with pytest.raises(SessionUnknownError):
            await asked.open(other, agent(), made.id)


async def test_a_session_of_another_agent_is_unknown(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    tenant = tenant_id()
    sessions = Sessions(stores_of(aws), Memory(), clock)
    made = await sessions.open(tenant, agent(), None)
    with pytest.raises(SessionUnknownError):
        await sessions.open(tenant, agent("other-agent"), made.id)


async def test_a_session_stays_on_the_version_it_began_with(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    tenant = tenant_id()
    sessions = Sessions(stores_of(aws), Memory(), clock)
    made = await sessions.open(tenant, agent(version="1.0.0"), None)
    assert (await sessions.open(tenant, agent(version="2.0.0"), made.id)).agent_version == "1.0.0"


async def test_a_session_expires_a_day_after_its_last_use(aws: Aws, clock: FakeClock, tenant_id: TenantIds) -> None:
    tenant = tenant_id()
    sessions = Sessions(stores_of(aws), Memory(), clock)
    made = await sessions.open(tenant, agent(), None)
    almost = (KEPT - timedelta(minutes=1)).total_seconds()
    for _ in range(2):
        await clock.advance(almost)
        await sessions.open(tenant, agent(), made.id)
    await clock.advance(KEPT.total_seconds() + 1)
    with pytest.raises(SessionUnknownError):
        await sessions.open(tenant, agent(), made.id)


@pytest.mark.parametrize("asked", ["", "short", "x" * 101, "ses_" + "0" * 48, "-" * 40, "a" * 40 + "\n", "ä" * 40])
async def test_a_made_up_session_is_unknown(aws: Aws, clock: FakeClock, tenant_id: TenantIds, asked: str) -> None:
    with pytest.raises(SessionUnknownError):
        await Sessions(stores_of(aws), Memory(), clock).open(tenant_id(), agent(), asked)


@given(st.text(max_size=120))
def test_only_ids_that_agentcore_takes_both_ways_are_sessions(text: str) -> None:
    alphabet = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    fits = 33 <= len(text) <= 100 and set(text) <= alphabet and text[0] not in "-_"
    try:
        assert parse_session_id(text) == text
    except InvalidIdError:
        assert not fits
    else:
        assert fits


def test_made_ids_are_sessions() -> None:
    made = {parse_session_id(new_session_id()) for _ in range(1000)}
    assert len(made) == 1000
