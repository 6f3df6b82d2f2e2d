"""Three tenants at once: tasks of all of them interleave over shared clients, and none ever sees another's mark.

All that a tenant stores carries its mark, and all that any task gets back in a tenant's name is searched for the
marks of the others. Tenants also reach for each other's data. The same runs three times: with both layers, with the
guard alone (raw calls, no door) and with the doors alone (clients without a guard).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

import aioboto3
import pytest
from boto3.dynamodb.conditions import Attr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tenancy import client_guard, tables
from tenancy.data_models import JobRecord
from tenancy.errors import ConditionFailedError, TenantAccessViolation
from tenancy.faults import store_faults
from tenancy.ids import JobId, TenantId
from tenancy.objects import TenantScopedS3
from tenancy.scope import TenantScope, active_scope, entered
from tenancy.store import CheckStep, DeleteStep, PutStep, TenantScopedDynamoDB, TenantStores, UpdateStep
from tests.clock import settle
from tests.conftest import BUCKET
from tests.tenancy.samples import Violations, job

pytestmark = pytest.mark.stack

MARKS: Final = ("<mark-alpha>", "<mark-beta>", "<mark-gamma>")
JOBS: Final = tuple(JobId(f"job_{number:026}") for number in range(2))


@dataclass(frozen=True, slots=True)
class Target:
    """Whose item and object an act is for, and the mark of whoever acts."""

    owner: TenantId
    job_id: JobId
    mark: str

    @property
    def item(self) -> JobRecord:
        return job(self.owner, self.job_id, text=self.mark, owed=True)

    @property
    def path(self) -> str:
        return f"tenants/{self.owner}/{self.job_id}"


Door: TypeAlias = Callable[[TenantScopedDynamoDB, TenantScopedS3, Target], Awaitable[object]]

DOORS: Final[dict[str, Door]] = {
    "put": lambda db, _, to: db.put(to.item),
    "get": lambda db, _, to: db.get(JobRecord, to.item.key(), consistent=True),
    "update": lambda db, _, to: db.update(JobRecord, to.item.key(), {"principal": to.mark}, add={"fence": 1}),
    "delete": lambda db, _, to: db.delete(JobRecord, to.item.key()),
    "query": lambda db, _, to: db.query(JobRecord, tables.tenant_partition(to.owner), limit=10),
    "batch": lambda db, _, to: db.put_batch([to.item]),
    "put leg": lambda db, _, to: db.transact([PutStep(to.item)]),
    "update leg": lambda db, _, to: db.transact([UpdateStep(JobRecord, to.item.key(), {"principal": to.mark})]),
    "delete leg": lambda db, _, to: db.transact([DeleteStep(JobRecord, to.item.key())]),
    "check leg": lambda db, _, to: db.transact([CheckStep(JobRecord, to.item.key(), Attr("pk").exists())]),
    "put object": lambda _, s3, to: s3.put(to.path, to.mark.encode(), "text/plain"),
    "get object": lambda _, s3, to: s3.get(to.path),
    "list objects": lambda _, s3, to: s3.list(f"tenants/{to.owner}/"),
    "delete object": lambda _, s3, to: s3.delete(to.path),
    "sign object": lambda _, s3, to: s3.presign_get(to.path, 60),
}


@dataclass(frozen=True, slots=True)
class Raw:
    """Raw clients: attacks go past their types."""

    db: Any
    s3: Any
    table: str

    def query(self, to: Target) -> Awaitable[object]:
        answer: Awaitable[object] = self.db.query(
            TableName=self.table,
            KeyConditionExpression="#pk = :pk",
            ExpressionAttributeNames={"#pk": "pk"},
            ExpressionAttributeValues={":pk": {"S": tables.tenant_partition(to.owner)}},
        )
        return answer

    def update(self, to: Target) -> dict[str, object]:
        return {
            "TableName": self.table,
            "Key": to.item.key().to_item(),
            "UpdateExpression": "SET #a = :a",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeNames": {"#a": "principal"},
            "ExpressionAttributeValues": {":a": {"S": to.mark}},
        }

    def leg(self, kind: str, to: Target, **more: object) -> Awaitable[object]:
        body = {"TableName": self.table, **more}
        answer: Awaitable[object] = self.db.transact_write_items(TransactItems=[{kind: body}])
        return answer

    async def get_object(self, to: Target) -> bytes:
        answer = await self.s3.get_object(Bucket=BUCKET, Key=to.path)
        body: bytes = await answer["Body"].read()
        return body


RAW: Final[dict[str, Callable[[Raw, Target], Awaitable[object]]]] = {
    "put": lambda raw, to: raw.db.put_item(TableName=raw.table, Item=to.item.to_item()),
    "get": lambda raw, to: raw.db.get_item(TableName=raw.table, Key=to.item.key().to_item()),
    "update": lambda raw, to: raw.db.update_item(**raw.update(to), ReturnValues="ALL_OLD"),
    "delete": lambda raw, to: raw.db.delete_item(TableName=raw.table, Key=to.item.key().to_item()),
    "query": lambda raw, to: raw.query(to),
    "batch": lambda raw, to: raw.db.batch_write_item(
        RequestItems={raw.table: [{"PutRequest": {"Item": to.item.to_item()}}]}
    ),
    "put leg": lambda raw, to: raw.leg("Put", to, Item=to.item.to_item()),
    "update leg": lambda raw, to: raw.leg("Update", to, **raw.update(to)),
    "delete leg": lambda raw, to: raw.leg("Delete", to, Key=to.item.key().to_item()),
    "check leg": lambda raw, to: raw.leg(
        "ConditionCheck", to, Key=to.item.key().to_item(), ConditionExpression="attribute_exists(pk)"
    ),
    "put object": lambda raw, to: raw.s3.put_object(Bucket=BUCKET, Key=to.path, Body=to.mark.encode()),
    "get object": lambda raw, to: raw.get_object(to),
    "list objects": lambda raw, to: raw.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"tenants/{to.owner}/"),
    "delete object": lambda raw, to: raw.s3.delete_object(Bucket=BUCKET, Key=to.path),
    "sign object": lambda raw, to: raw.s3.generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": to.path}
    ),
}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing done in one tenant's name to what is its own or another's, after some turns of the loop."""

    what: str
    actor: int
    owner: int
    job_id: JobId
    turns: int
    by_door: bool


def acts(*, by_door: st.SearchStrategy[bool]) -> st.SearchStrategy[list[Act]]:
    tenant = st.integers(0, len(MARKS) - 1)
    # Twice in three a tenant minds its own business: marks must be there to be seen.
    pairs = st.one_of(tenant.map(lambda own: (own, own)), st.tuples(tenant, tenant))
    act = st.builds(
        lambda what, pair, job_id, turns, door: Act(what, pair[0], pair[1], job_id, turns, door),
        st.sampled_from([*DOORS]),
        pairs,
        st.sampled_from(JOBS),
        st.integers(0, 30),
        by_door,
    )
    return st.lists(act, min_size=2, max_size=12)


@dataclass(frozen=True, slots=True)
class Place:
    """The real store."""

    session: aioboto3.Session
    url: str
    prefix: str


class Interleaving(RuleBasedStateMachine):
    """Bursts of acts of three tenants over one pair of clients."""

    place: ClassVar[Place]
    guarded: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        name = f"t{secrets.token_hex(6)}"
        # One is the beginning of another: only exact comparisons tell them apart.
        self.tenants = (TenantId(name), TenantId(name + "1"), TenantId(name + "2"))
        self.violations = Violations()
        self.expected = 0
        self.runner.run(self.open())

    async def open(self) -> None:
        place = self.place
        db, s3 = [
            await self.stack.enter_async_context(place.session.client(service, endpoint_url=place.url))
            for service in ("dynamodb", "s3")
        ]
        self.bare = await self.stack.enter_async_context(place.session.client("dynamodb", endpoint_url=place.url))
        if self.guarded:
            for client in (db, s3):
                client_guard.install(client, table_prefix=place.prefix, bucket=BUCKET, on_violation=self.violations)
        self.raw = Raw(db, s3, place.prefix + "jobs")
        self.stores = TenantStores(db, s3, table_prefix=place.prefix, bucket=BUCKET, on_violation=self.violations)

    async def burst(self, burst: list[Act]) -> None:
        async with asyncio.TaskGroup() as group:
            for act in burst:
                group.create_task(self.perform(act))

    async def perform(self, act: Act) -> None:
        await self.judge(act)
        # A task may serve one tenant after another: nothing of the first may cling to it.
        assert active_scope() is None

    async def judge(self, act: Act) -> None:
        actor = self.tenants[act.actor]
        to = Target(self.tenants[act.owner], act.job_id, MARKS[act.actor])
        await settle(act.turns)
        if act.actor != act.owner:
            self.expected += 1
            with pytest.raises(TenantAccessViolation) as refused:
                await self.call(act, actor, to)
            assert refused.value.tenant_id == actor
            return
        try:
            with store_faults():
                seen = repr(await self.call(act, actor, to))
        except ConditionFailedError:
            seen = ""
        except self.raw.s3.exceptions.NoSuchKey:
            seen = ""
        assert not [mark for mark in MARKS if mark in seen and mark != to.mark]

    async def call(self, act: Act, actor: TenantId, to: Target) -> object:
        if act.by_door:
            return await DOORS[act.what](self.stores.db(actor), self.stores.s3(actor), to)
        with entered(TenantScope(actor)):
            await settle(act.turns)
            # What a task starts acts in that task's scope.
            return await asyncio.ensure_future(RAW[act.what](self.raw, to))

    @invariant()
    def no_scope_is_left_behind(self) -> None:
        assert active_scope() is None

    @invariant()
    def every_reach_for_anothers_data_was_reported_once(self) -> None:
        assert len(self.violations) == self.expected

    def teardown(self) -> None:
        try:
            self.runner.run(self.look_for_foreign_marks())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    async def look_for_foreign_marks(self) -> None:
        for tenant, mark in zip(self.tenants, MARKS, strict=True):
            stored = await self.bare.query(
                TableName=self.raw.table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": tables.tenant_partition(tenant)}},
            )
            assert not [other for other in MARKS if other in repr(stored["Items"]) and other != mark]
            assert all(item["tenant_id"]["S"] == tenant for item in stored["Items"])


class BothLayers(Interleaving):
    """Doors over guarded clients, and raw calls between them."""

    guarded = True

    @rule(burst=acts(by_door=st.booleans()))
    def act(self, burst: list[Act]) -> None:
        self.runner.run(self.burst(burst))


class GuardAlone(Interleaving):
    """Raw calls on guarded clients."""

    guarded = True

    @rule(burst=acts(by_door=st.just(value=False)))
    def act(self, burst: list[Act]) -> None:
        self.runner.run(self.burst(burst))


class DoorsAlone(Interleaving):
    """Doors over clients without a guard."""

    guarded = False

    @rule(burst=acts(by_door=st.just(value=True)))
    def act(self, burst: list[Act]) -> None:
        self.runner.run(self.burst(burst))


@pytest.mark.parametrize("machine", [BothLayers, GuardAlone, DoorsAlone])
def test_no_tenant_ever_sees_another(
    machine: type[Interleaving], aws_session: aioboto3.Session, store_url: str, shared_tables: str
) -> None:
    machine.place = Place(aws_session, store_url, shared_tables)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=6,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
