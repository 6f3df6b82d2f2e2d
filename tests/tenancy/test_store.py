"""The items' door, alone: over an unguarded client on the real store."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest
from boto3.dynamodb.conditions import Attr
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import JsonValue

from ops.devstack.process import free_port
from tenancy import tables
from tenancy.data_models import AgentVersion, AuditEvent, JobRecord, Key, OutboxEvent, Status, Tenant, TenantItem
from tenancy.errors import ConditionFailedError, InvalidIdError, StoreUnavailableError, TenantAccessViolation
from tenancy.ids import EventId, JobId, TenantId
from tenancy.scope import PlatformScope, Scope, TenantScope, active_scope, entered
from tenancy.store import CheckStep, DeleteStep, PutStep, TenantScopedDynamoDB, TenantStores, UpdateStep
from tests.conftest import Aws
from tests.tenancy.faults import Answer, error, faulty, hang_up, holding, unprocessed
from tests.tenancy.samples import NOW, Violations, audit_event, job, stores, tenant

pytestmark = pytest.mark.stack

Door: TypeAlias = TenantScopedDynamoDB


class Opener(TenantItem):
    """A tenant item that claims a platform table."""

    TABLE = tables.AGENTS
    SORT_PREFIX = "X"

    def sort_key(self) -> str:
        return "X"


@pytest.fixture
def violations() -> Violations:
    return Violations()


@pytest.fixture
def doors(aws: Aws, violations: Violations) -> TenantStores:
    return stores(aws, violations)


@pytest.fixture
def own(tenant_id: Callable[[], TenantId]) -> TenantId:
    return tenant_id()


@pytest.fixture
def victim(own: TenantId) -> TenantId:
    """A tenant whose id begins with the whole of the other's."""
    return TenantId(own + "1")


async def test_an_item_put_is_read_back_whole(doors: TenantStores, own: TenantId) -> None:
    stored = job(own, text='{"a": "ä"}', owed=True)
    await doors.db(own).put(stored)
    assert await doors.db(own).get(JobRecord, stored.key(), consistent=True) == stored


async def test_an_item_that_is_not_there_is_none(doors: TenantStores, own: TenantId) -> None:
    assert await doors.db(own).get(JobRecord, JobRecord.key_of(own, "job_none")) is None


async def test_a_condition_that_fails_changes_nothing(doors: TenantStores, own: TenantId) -> None:
    stored = job(own)
    await doors.db(own).put(stored, condition=Attr("pk").not_exists())
    with pytest.raises(ConditionFailedError):
        await doors.db(own).put(job(own, stored.job_id, text="2"), condition=Attr("pk").not_exists())
    with pytest.raises(ConditionFailedError):
        await doors.db(own).delete(JobRecord, stored.key(), condition=Attr("fence").eq(7))
    assert await doors.db(own).get(JobRecord, stored.key()) == stored


async def test_an_update_sets_removes_and_adds(doors: TenantStores, own: TenantId) -> None:
    stored = job(own, owed=True)
    await doors.db(own).put(stored)
    changed = await doors.db(own).update(
        JobRecord,
        stored.key(),
        {"status": "running", "input_json": None, "next_tick_at": None, "sweep_pk": None, "sweep_sk": None},
        add={"fence": 2},
        condition=Attr("fence").eq(0) & Attr("status").eq("queued"),
    )
    assert (changed.status, changed.input_json, changed.fence) == (Status.RUNNING, None, 2)
    assert await doors.db(own).get(JobRecord, stored.key()) == changed


async def test_an_update_moves_an_item_within_the_sweepers_index(doors: TenantStores, own: TenantId, aws: Aws) -> None:
    stored = job(own)
    await doors.db(own).put(stored)
    owed = stored.model_copy(update={"next_tick_at": NOW})
    await doors.db(own).update(JobRecord, stored.key(), {"next_tick_at": NOW.isoformat(), **owed.index_keys()})
    found = await aws.dynamodb.query(
        TableName=aws.table_prefix + "jobs",
        IndexName="sweep",
        KeyConditionExpression="sweep_pk = :pk AND sweep_sk = :sk",
        ExpressionAttributeValues={
            ":pk": {"S": owed.index_keys()["sweep_pk"]},
            ":sk": {"S": owed.index_keys()["sweep_sk"]},
        },
    )
    assert [item["pk"]["S"] for item in found["Items"]] == [f"TENANT#{own}"]


async def test_an_update_only_adds_or_only_changes_at_will(doors: TenantStores, own: TenantId) -> None:
    stored = job(own)
    await doors.db(own).put(stored)
    assert (await doors.db(own).update(JobRecord, stored.key(), {}, add={"run": 1})).run == 1
    assert (await doors.db(own).update(JobRecord, stored.key(), {"traceparent": None})).run == 1
    with pytest.raises(ValueError, match="changes something"):
        await doors.db(own).update(JobRecord, stored.key(), {})


async def test_an_update_never_makes_an_item(doors: TenantStores, own: TenantId) -> None:
    key = JobRecord.key_of(own, "job_none")
    with pytest.raises(ConditionFailedError):
        await doors.db(own).update(JobRecord, key, {"status": "failed"})
    assert await doors.db(own).get(JobRecord, key) is None


async def test_a_deleted_item_is_gone(doors: TenantStores, own: TenantId) -> None:
    stored = job(own)
    await doors.db(own).put(stored)
    await doors.db(own).delete(JobRecord, stored.key(), condition=Attr("fence").eq(0))
    await doors.db(own).delete(JobRecord, stored.key())
    assert await doors.db(own).get(JobRecord, stored.key()) is None


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_list_goes_page_by_page_without_gap_or_double(
    doors: TenantStores, own: TenantId, victim: TenantId, *, newest_first: bool
) -> None:
    jobs = [job(own, JobId(f"job_{number:026}")) for number in range(5)]
    await doors.db(own).put_batch(jobs)
    await doors.db(victim).put_batch([job(victim, one.job_id) for one in jobs])
    found: list[JobRecord] = []
    after: str | None = None
    while True:
        page = await doors.db(own).query(
            JobRecord,
            tables.tenant_partition(own),
            sort_prefix="JOB#",
            limit=2,
            after=after,
            newest_first=newest_first,
        )
        assert len(page.items) <= 2
        found += page.items
        after = page.after
        if after is None:
            break
    assert found == (jobs[::-1] if newest_first else jobs)


async def test_a_list_without_prefix_holds_all_kinds(doors: TenantStores, own: TenantId) -> None:
    events = [audit_event(own), audit_event(own)]
    await doors.db(own).put_batch(events)
    page = await doors.db(own).query(AuditEvent, tables.tenant_partition(own), limit=10)
    assert {event.audit_id for event in page.items} == {event.audit_id for event in events}


@pytest.mark.parametrize("after", ["", "INV#1", "OTHER"])
async def test_a_page_position_outside_the_list_is_refused(doors: TenantStores, own: TenantId, after: str) -> None:
    with pytest.raises(InvalidIdError):
        await doors.db(own).query(JobRecord, tables.tenant_partition(own), sort_prefix="JOB#", limit=2, after=after)


async def test_a_batch_stores_the_later_of_two_with_one_key(doors: TenantStores, own: TenantId) -> None:
    first, second = job(own), audit_event(own)
    await doors.db(own).put_batch([first, second, job(own, first.job_id, text="2")])
    stored = await doors.db(own).get(JobRecord, first.key())
    assert stored is not None
    assert stored.input_json == "2"
    assert await doors.db(own).get(AuditEvent, second.key()) == second


async def test_a_batch_of_nothing_calls_nothing_and_one_too_large_is_refused(aws: Aws, own: TenantId) -> None:
    async with faulty(aws, hang_up) as store:
        await store.doors.db(own).put_batch([])
        with pytest.raises(ValueError, match="at most 25"):
            await store.doors.db(own).put_batch([job(own)] * 26)
        assert store.bodies == []


REFUSED = error(400, "ConditionalCheckFailedException")
ABSENT = Attr(tables.PARTITION_KEY).not_exists()


async def test_a_put_whose_first_answer_was_lost_has_succeeded(aws: Aws, own: TenantId) -> None:
    item = job(own, owed=True)
    async with faulty(aws, hang_up, REFUSED, holding(item), attempts=2) as store:
        await store.doors.db(own).put(item, condition=ABSENT)
    assert [b"ConsistentRead" in body for body in store.bodies] == [False, False, True]


async def test_a_repeated_put_that_finds_another_item_is_refused(aws: Aws, own: TenantId) -> None:
    item = job(own)
    other = item.model_copy(update={"request_id": "another"})
    async with faulty(aws, hang_up, REFUSED, holding(other), attempts=2) as store:
        with pytest.raises(ConditionFailedError):
            await store.doors.db(own).put(item, condition=ABSENT)


async def test_a_put_refused_at_once_is_refused_though_the_item_is_the_same(aws: Aws, own: TenantId) -> None:
    item = job(own)
    async with faulty(aws, REFUSED, holding(item), attempts=2) as store:
        with pytest.raises(ConditionFailedError):
            await store.doors.db(own).put(item, condition=ABSENT)


async def test_a_transaction_does_all_its_steps(doors: TenantStores, own: TenantId) -> None:
    db = doors.db(own)
    kept, changed, dropped, made = (job(own) for _ in range(4))
    await db.put_batch([kept, changed, dropped])
    await db.transact(
        [
            PutStep(made, Attr("pk").not_exists()),
            UpdateStep(JobRecord, changed.key(), {"status": "failed"}, {"fence": 1}, Attr("fence").eq(0)),
            DeleteStep(JobRecord, dropped.key(), Attr("pk").exists()),
            CheckStep(JobRecord, kept.key(), Attr("fence").eq(0)),
            CheckStep(JobRecord, JobRecord.key_of(own, "job_none"), Attr("pk").not_exists()),
        ]
    )
    assert await db.get(JobRecord, made.key()) == made
    assert await db.get(JobRecord, dropped.key()) is None
    after = await db.get(JobRecord, changed.key())
    assert after is not None
    assert (after.status, after.fence) == (Status.FAILED, 1)


async def test_a_transaction_with_one_failed_condition_does_nothing(doors: TenantStores, own: TenantId) -> None:
    db = doors.db(own)
    made, other = job(own), job(own)
    await db.put(other)
    with pytest.raises(ConditionFailedError):
        await db.transact([PutStep(made), CheckStep(JobRecord, other.key(), Attr("fence").eq(1))])
    assert await db.get(JobRecord, made.key()) is None


Attack: TypeAlias = Callable[[Door, TenantId], Awaitable[object]]

JOB = JobId("job_00000000000000000000000000")


def foreign(victim: TenantId) -> Key:
    return JobRecord.key_of(victim, JOB)


ATTACKS: dict[str, Attack] = {
    "get": lambda db, victim: db.get(JobRecord, foreign(victim)),
    "put": lambda db, victim: db.put(job(victim)),
    "update": lambda db, victim: db.update(JobRecord, foreign(victim), {"status": "failed"}),
    "delete": lambda db, victim: db.delete(JobRecord, foreign(victim)),
    "query": lambda db, victim: db.query(JobRecord, tables.tenant_partition(victim), limit=1),
    "query of the sweeper's index": lambda db, _: db.query(JobRecord, "SWEEP#0", limit=1),
    "batch": lambda db, victim: db.put_batch([job(victim)]),
    "transaction put": lambda db, victim: db.transact([PutStep(job(victim))]),
    "transaction update": lambda db, victim: db.transact(
        [UpdateStep(JobRecord, foreign(victim), {"status": "failed"})]
    ),
    "transaction delete": lambda db, victim: db.transact([DeleteStep(JobRecord, foreign(victim))]),
    "transaction check": lambda db, victim: db.transact([CheckStep(JobRecord, foreign(victim), Attr("pk").exists())]),
}


@pytest.mark.parametrize("name", [*ATTACKS])
async def test_the_door_alone_refuses_what_is_another_tenants(
    doors: TenantStores, violations: Violations, own: TenantId, victim: TenantId, name: str
) -> None:
    stored = job(victim, JOB, text="secret")
    await doors.db(victim).put(stored)
    with pytest.raises(TenantAccessViolation) as refused:
        await ATTACKS[name](doors.db(own), victim)
    assert (refused.value.layer, refused.value.tenant_id) == ("door", own)
    assert victim not in str(refused.value)
    assert violations == [refused.value]
    page = await doors.db(victim).query(JobRecord, tables.tenant_partition(victim), limit=5)
    assert page.items == (stored,)


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": "acme"},
        {"tenant_id": None},
        {"pk": "TENANT#acme"},
        {"sk": "JOB#other"},
        {"sweep_pk": "TENANT#acme#x"},
        {"sweep_pk": "SWEEP#8"},
        {"sweep_sk": "2026#acme#job"},
        {"sweep_sk": "no parts"},
        {"sweep_sk": 7},
        {"sweep_sk": ["2026#{own}#job"]},
        {"sweep_pk": ["SWEEP#0"]},
    ],
    ids=str,
)
async def test_an_update_cannot_give_an_item_away(
    doors: TenantStores, own: TenantId, changes: dict[str, JsonValue]
) -> None:
    stored = job(own)
    changes = {
        name: [str(text).format(own=own) for text in value] if isinstance(value, list) else value
        for name, value in changes.items()
    }
    await doors.db(own).put(stored)
    with pytest.raises(TenantAccessViolation):
        await doors.db(own).update(JobRecord, stored.key(), changes)
    with pytest.raises(TenantAccessViolation):
        await doors.db(own).transact([UpdateStep(JobRecord, stored.key(), changes)])
    assert await doors.db(own).get(JobRecord, stored.key()) == stored


class IndexedJob(JobRecord):
    """A job in an index of its tenant's own."""

    TABLE = tables.Table("jobs", "tenant", (tables.Index("by_agent", "agent_pk", "agent_sk"),))


async def test_an_index_of_tenants_holds_each_in_its_own_partitions(
    doors: TenantStores, own: TenantId, victim: TenantId
) -> None:
    stored = job(own)
    await doors.db(own).put(stored)
    foreign: tuple[JsonValue, ...] = (f"TENANT#{victim}#x", f"TENANT#{own}", "AGENT#x", [f"TENANT#{own}#x"])
    for partition in foreign:
        with pytest.raises(TenantAccessViolation, match="index"):
            await doors.db(own).update(IndexedJob, stored.key(), {"agent_pk": partition})
    changed = await doors.db(own).update(IndexedJob, stored.key(), {"agent_pk": f"TENANT#{own}#x", "run": 1})
    assert changed.run == 1


@pytest.mark.parametrize(
    "changes", [{"directory_pk": "TENANT#acme"}, {"directory_sk": "acme"}, {"directory_sk": ["acme"]}], ids=str
)
async def test_a_tenant_stands_in_the_directory_only_under_its_own_name(
    doors: TenantStores, own: TenantId, changes: dict[str, JsonValue]
) -> None:
    stored = tenant(own)
    await doors.db(own).put(stored)
    with pytest.raises(TenantAccessViolation, match="index"):
        await doors.db(own).update(Tenant, stored.key(), changes)
    assert await doors.db(own).update(Tenant, stored.key(), {**stored.index_keys()}) == stored


async def test_adding_to_what_says_whose_item_it_is_is_refused(doors: TenantStores, own: TenantId) -> None:
    with pytest.raises(TenantAccessViolation):
        await doors.db(own).update(JobRecord, JobRecord.key_of(own, "job_1"), {}, add={"tenant_id": 1})


async def test_a_platform_table_is_not_reached_through_a_tenants_door(doors: TenantStores, own: TenantId) -> None:
    with pytest.raises(TenantAccessViolation, match="the platform's"):
        await doors.db(own).put(Opener(tenant_id=own))
    with pytest.raises(TenantAccessViolation, match="the platform's"):
        await doors.db(own).get(AgentVersion, Key(f"TENANT#{own}", "X"))  # type: ignore[type-var]  # the attack


async def test_an_item_found_in_anothers_name_is_not_handed_out(
    doors: TenantStores, own: TenantId, victim: TenantId, aws: Aws
) -> None:
    planted = job(victim, JOB, text="secret").to_item() | job(own, JOB).key().to_item()
    await aws.dynamodb.put_item(TableName=aws.table_prefix + "jobs", Item=planted)
    with pytest.raises(TenantAccessViolation, match="item found"):
        await doors.db(own).get(JobRecord, JobRecord.key_of(own, JOB))
    with pytest.raises(TenantAccessViolation, match="item found"):
        await doors.db(own).query(JobRecord, tables.tenant_partition(own), limit=5)
    with pytest.raises(TenantAccessViolation, match="item found"):
        await doors.db(own).update(JobRecord, JobRecord.key_of(own, JOB), {"status": "failed"})


async def test_a_task_that_acts_for_another_cannot_use_the_door(
    doors: TenantStores, violations: Violations, own: TenantId, victim: TenantId
) -> None:
    scopes: list[Scope] = [TenantScope(victim), PlatformScope("binding")]
    for scope in scopes:
        violations.clear()
        with entered(scope), pytest.raises(TenantAccessViolation, match="another scope") as refused:
            await doors.db(own).get(JobRecord, JobRecord.key_of(own, JOB))
        assert violations == [refused.value]


async def test_the_door_leaves_no_scope_behind(doors: TenantStores, own: TenantId, victim: TenantId) -> None:
    await doors.db(own).get(JobRecord, JobRecord.key_of(own, JOB))
    assert active_scope() is None
    with pytest.raises(TenantAccessViolation):
        await doors.db(own).get(JobRecord, foreign(victim))
    assert active_scope() is None
    with entered(TenantScope(own)):
        await doors.db(own).get(JobRecord, JobRecord.key_of(own, JOB))
        assert active_scope() == TenantScope(own)


async def test_an_outbox_event_stands_in_the_index_under_its_own_tenant(doors: TenantStores, own: TenantId) -> None:
    event = OutboxEvent(
        tenant_id=own,
        event_id=EventId("evt_1"),
        event_type="job.succeeded",
        payload_json="{}",
        created_at=NOW,
        next_tick_at=NOW,
        ttl=1,
    )
    await doors.db(own).put(event)
    assert await doors.db(own).get(OutboxEvent, event.key()) == event


async def test_what_a_batch_had_no_capacity_for_is_tried_again(aws: Aws, own: TenantId) -> None:
    jobs = [job(own) for _ in range(3)]
    async with faulty(aws, unprocessed(2), unprocessed(1), unprocessed(0)) as store:
        await store.doors.db(own).put_batch(jobs)
        assert [body.count(b"PutRequest") for body in store.bodies] == [3, 2, 1]


async def test_a_batch_that_finds_no_capacity_at_all_gives_up(aws: Aws, own: TenantId) -> None:
    async with faulty(aws, unprocessed(1)) as store:
        with pytest.raises(StoreUnavailableError):
            await store.doors.db(own).put_batch([job(own)])
        assert len(store.bodies) == 5


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "ProvisionedThroughputExceededException"),
        error(400, "ThrottlingException"),
        error(400, "RequestLimitExceeded"),
        error(500, "InternalServerError"),
        error(503, "Unheard"),
        error(400, "TransactionConflictException"),
        error(400, "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}]),
        error(400, "TransactionCanceledException", CancellationReasons=[{"Code": "ThrottlingError"}, {}]),
        hang_up,
    ],
)
async def test_a_fault_of_the_store_is_one_that_may_pass(aws: Aws, own: TenantId, answer: Answer) -> None:
    async with faulty(aws, answer) as store:
        with pytest.raises(StoreUnavailableError):
            await store.doors.db(own).transact([PutStep(job(own))])


async def test_a_store_that_is_not_there_may_come_back(aws: Aws, own: TenantId) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    config = Config(retries={"total_max_attempts": 1})
    async with aws.session.client("dynamodb", endpoint_url=gone, config=config) as dynamodb:
        with pytest.raises(StoreUnavailableError):
            await stores(replace(aws, dynamodb=dynamodb), Violations()).db(own).put(job(own))


async def test_a_failed_condition_among_other_reasons_is_a_failed_condition(aws: Aws, own: TenantId) -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]
    async with faulty(aws, error(400, "TransactionCanceledException", CancellationReasons=reasons)) as store:
        with pytest.raises(ConditionFailedError):
            await store.doors.db(own).transact([PutStep(job(own))])


async def test_a_call_that_aws_finds_wrong_is_a_bug_and_stays_one(aws: Aws, own: TenantId) -> None:
    async with faulty(aws, error(400, "ValidationException")) as store:
        with pytest.raises(ClientError, match="ValidationException"):
            await store.doors.db(own).put(job(own))
