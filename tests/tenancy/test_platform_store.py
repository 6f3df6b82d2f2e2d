"""The platform's door, under the guard on the client: each verb reaches its purpose and nothing more."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest

from tenancy import client_guard
from tenancy.data_models import AgentVersion, RegionFlag, ReleaseState
from tenancy.errors import ConditionFailedError, StoreUnavailableError, TenantAccessViolation
from tenancy.ids import AgentName, TenantId
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore
from tenancy.reach import VERBS
from tenancy.scope import PlatformScope, TenantScope, active_scope, entered
from tenancy.store import TenantStores
from tests.conftest import Aws
from tests.tenancy.faults import error, faulty
from tests.tenancy.samples import Violations, binding, tenant, version

pytestmark = pytest.mark.stack

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Guarded:
    """The door and the raw client under it (untyped: attacks are malformed on purpose)."""

    store: PlatformStore
    acts: PlatformActs
    db: Any
    prefix: str
    violations: Violations


@pytest.fixture
async def platform(fresh_aws: Aws) -> AsyncIterator[Guarded]:
    violations = Violations()
    async with fresh_aws.session.client("dynamodb", endpoint_url=fresh_aws.dynamodb.meta.endpoint_url) as dynamodb:
        client_guard.install(
            dynamodb, table_prefix=fresh_aws.table_prefix, bucket=fresh_aws.bucket, on_violation=violations
        )
        store = PlatformStore(dynamodb, table_prefix=fresh_aws.table_prefix, on_violation=violations)
        acts = PlatformActs(dynamodb, table_prefix=fresh_aws.table_prefix)
        yield Guarded(store, acts, dynamodb, fresh_aws.table_prefix, violations)


async def test_a_binding_is_found_by_issuer_directory_and_application(platform: Guarded) -> None:
    acme = binding("https://issuer/", "directory", "spa", TenantId("acme"))
    operators = binding("https://issuer/", "directory", "ops", None)
    await platform.store.put_binding(acme)
    await platform.store.put_binding(operators)
    assert await platform.store.binding("https://issuer/", "directory", "spa") == acme
    assert await platform.store.binding("https://issuer/", "directory", "ops") == operators
    assert await platform.store.binding("https://issuer/", "another", "spa") is None


async def test_a_binding_whose_parts_run_together_the_same_is_not_mistaken(platform: Guarded) -> None:
    await platform.store.put_binding(binding("https://issuer/", "a#b", "c", TenantId("acme")))
    with pytest.raises(TenantAccessViolation, match="another application's") as refused:
        await platform.store.binding("https://issuer/", "a", "b#c")
    assert platform.violations == [refused.value]


async def test_an_application_is_bound_once_and_unbound_only_from_whom_it_speaks_for(platform: Guarded) -> None:
    acme = binding("https://issuer/", "directory", "spa", TenantId("acme"))
    globex = acme.model_copy(update={"tenant_id": TenantId("globex")})
    await platform.acts.create_binding(acme, ())
    for refused in (platform.acts.create_binding(globex, ()), platform.acts.delete_binding(globex, ())):
        with pytest.raises(ConditionFailedError):
            await refused
    assert await platform.store.binding("https://issuer/", "directory", "spa") == acme
    await platform.acts.delete_binding(acme, ())
    assert await platform.store.binding("https://issuer/", "directory", "spa") is None


async def test_a_tenants_bindings_are_its_own(platform: Guarded) -> None:
    of_a1 = [binding("https://issuer/", "directory", f"app-{number}", TenantId("a1")) for number in range(2)]
    for one in (*of_a1, binding("https://issuer/", "other", "app", TenantId("a11"))):
        await platform.acts.create_binding(one, ())
    await platform.store.put_binding(binding("https://issuer/", "directory", "ops", None))
    assert await platform.store.bindings_of(TenantId("a1")) == tuple(of_a1)
    assert await platform.store.bindings_of(TenantId("a2")) == ()


async def test_the_directory_lists_every_tenant_once_page_by_page(platform: Guarded) -> None:
    doors = TenantStores(
        platform.db, platform.db, table_prefix=platform.prefix, bucket="-", on_violation=platform.violations
    )
    names = [TenantId(name) for name in ("acme", "beta", "globex")]
    for name in reversed(names):
        await doors.db(name).put(tenant(name))
    first = await platform.store.tenants(limit=2)
    second = await platform.store.tenants(limit=2, after=TenantId(first.after or ""))
    assert [one.tenant_id for one in first.items] == names[:2]
    assert [one.tenant_id for one in second.items] == names[2:]
    assert (first.after, second.after) == ("beta", None)


async def test_only_promoted_versions_are_in_the_catalog_in_their_order(platform: Guarded) -> None:
    for name, number, state in (
        ("echo", "1.10.0", ReleaseState.PROMOTED),
        ("echo", "1.9.0", ReleaseState.PROMOTED),
        ("echo", "2.0.0", ReleaseState.BUILT),
        ("alpha", "1.0.0", ReleaseState.PROMOTED),
    ):
        await platform.store.put_agent_version(version(name, number, state))
    found = await platform.store.promoted_agents()
    assert [(one.name, one.version) for one in found] == [("alpha", "1.0.0"), ("echo", "1.9.0"), ("echo", "1.10.0")]


async def test_a_catalog_of_several_pages_is_read_whole(platform: Guarded) -> None:
    names = [f"agent-{number}" for number in range(3)]
    for name in names:
        await platform.store.put_agent_version(version(name))
    platform.db.meta.events.register("provide-client-params.dynamodb.Query", lambda params, **_: params | {"Limit": 1})
    assert [one.name for one in await platform.store.promoted_agents()] == names


async def test_a_version_is_found_whatever_its_state_and_leaves_the_catalog_when_rolled_back(
    platform: Guarded,
) -> None:
    await platform.store.put_agent_version(version("echo"))
    gone = version("echo", state=ReleaseState.ROLLED_BACK)
    await platform.store.put_agent_version(gone)
    assert await platform.store.agent_version(AgentName("echo"), "1.0.0") == gone
    assert await platform.store.agent_version(AgentName("echo"), "9.0.0") is None
    assert await platform.store.promoted_agents() == ()


async def test_a_verb_may_be_used_on_a_tenants_behalf_and_returns_to_its_scope(platform: Guarded) -> None:
    with entered(TenantScope(TenantId("acme"))):
        await platform.store.promoted_agents()
        assert active_scope() == TenantScope(TenantId("acme"))
    assert active_scope() is None


async def test_a_fault_of_the_store_is_one_that_may_pass(aws: Aws) -> None:
    async with faulty(aws, error(500, "InternalServerError")) as store:
        with pytest.raises(StoreUnavailableError):
            await PlatformStore(
                store.dynamodb, table_prefix=aws.table_prefix, on_violation=Violations()
            ).promoted_agents()


Call: TypeAlias = Callable[[Any, str], Awaitable[object]]

BINDING = {"pk": {"S": "BINDING#a#b#c"}, "sk": {"S": "METADATA"}}
AGENT = version("echo").key().to_item()
LINK = {"pk": {"S": "TENANT#acme"}, "sk": {"S": "LINK#000000000001"}}

# What a verb's scope lets a raw client do; each is allowed for the verbs named and refused for all others.
RAW: dict[str, tuple[set[str], Call]] = {
    "get of a binding": (
        {"binding"},
        lambda db, prefix: db.get_item(TableName=prefix + "identity-bindings", Key=BINDING),
    ),
    "put of a binding": (
        {"put_binding"},
        lambda db, prefix: db.put_item(TableName=prefix + "identity-bindings", Item=BINDING),
    ),
    "delete of a binding": (
        {"erase"},
        lambda db, prefix: db.delete_item(TableName=prefix + "identity-bindings", Key=BINDING),
    ),
    "query of a tenant's bindings": (
        {"bindings_of"},
        lambda db, prefix: query(db, prefix + "identity-bindings", "bound", "bound_pk", "TENANT#acme#BINDINGS"),
    ),
    "query of another partition of the bindings": (
        set(),
        lambda db, prefix: query(db, prefix + "identity-bindings", "bound", "bound_pk", "TENANT#acme"),
    ),
    "query of the directory": (
        {"tenants"},
        lambda db, prefix: query(db, prefix + "tenants", "directory", "directory_pk", "DIRECTORY"),
    ),
    "query of another partition of the directory": (
        set(),
        lambda db, prefix: query(db, prefix + "tenants", "directory", "directory_pk", "DIRECTORY#"),
    ),
    "query of a tenant's own partition": (
        set(),
        lambda db, prefix: query(db, prefix + "tenants", None, "pk", "TENANT#globex"),
    ),
    "get of a version": (
        {"agent_version"},
        lambda db, prefix: db.get_item(TableName=prefix + "agents", Key=AGENT),
    ),
    "put of a version": (
        {"put_agent_version"},
        lambda db, prefix: db.put_item(TableName=prefix + "agents", Item=version("echo").to_item()),
    ),
    "query of the catalog": (
        {"promoted_agents"},
        lambda db, prefix: query(db, prefix + "agents", "catalog", "catalog_pk", "CATALOG"),
    ),
    "query of the registry": (
        {"registered_agents"},
        lambda db, prefix: query(db, prefix + "agents", "catalog", "catalog_pk", "REGISTRY"),
    ),
    "query of the trail": (
        {"trail"},
        lambda db, prefix: query(db, prefix + "audit", "trail", "trail_pk", "ACTS"),
    ),
    "query of another partition of the trail": (
        set(),
        lambda db, prefix: query(db, prefix + "audit", "trail", "trail_pk", "ACTS#"),
    ),
    "get of a key's hash": (
        {"key_hash"},
        lambda db, prefix: db.get_item(
            TableName=prefix + "key-hashes", Key={"pk": {"S": "KEYHASH#0"}, "sk": {"S": "METADATA"}}
        ),
    ),
    "put of a version with its event": (
        {"store_agent_version"},
        lambda db, prefix: transact(db, prefix, ("agents", version("echo").to_item()), ("audit", LINK)),
    ),
    "put of a version outside of a transaction's tables": (
        set(),
        lambda db, prefix: transact(db, prefix, ("agents", version("echo").to_item()), ("jobs", LINK)),
    ),
    "put of a binding with its event": (
        {"store_binding"},
        lambda db, prefix: transact(db, prefix, ("identity-bindings", BINDING), ("audit", LINK)),
    ),
    "put of a key with its event": (
        {"store_api_key"},
        lambda db, prefix: transact(db, prefix, ("api-keys", LINK), ("audit", LINK)),
    ),
    "query of a version's key": (
        {"agent_versions"},
        lambda db, prefix: query(db, prefix + "agents", None, "pk", "AGENT#echo"),
    ),
    "query of another partition of the catalog": (
        set(),
        lambda db, prefix: query(db, prefix + "agents", "catalog", "catalog_pk", "OTHER"),
    ),
    "query of the catalog from another partition on": (
        set(),
        lambda db, prefix: query(
            db,
            prefix + "agents",
            "catalog",
            "catalog_pk",
            "CATALOG",
            ExclusiveStartKey=AGENT | {"catalog_pk": {"S": "OTHER"}, "catalog_sk": {"S": "x"}},
        ),
    ),
    "query of the sweeper's index": (
        {"owed_jobs"},
        lambda db, prefix: query(db, prefix + "jobs", "sweep", "sweep_pk", "SWEEP#0"),
    ),
    "query of what events are owed": (
        {"owed_outbox"},
        lambda db, prefix: query(db, prefix + "outbox", "sweep", "sweep_pk", "SWEEP#0"),
    ),
    "query of what deliveries are owed": (
        {"owed_deliveries"},
        lambda db, prefix: query(db, prefix + "deliveries", "sweep", "sweep_pk", "SWEEP#0"),
    ),
    "query of dead letters": (
        {"dead_letters"},
        lambda db, prefix: query(db, prefix + "jobs", "dead-letters", "dead_letter_pk", "DEADLETTERS"),
    ),
    "query of a tenant's jobs": (
        set(),
        lambda db, prefix: query(db, prefix + "jobs", None, "pk", "TENANT#globex"),
    ),
    "get of another kind of item": (
        set(),
        lambda db, prefix: db.get_item(TableName=prefix + "agents", Key=BINDING),
    ),
    "get of a lock": (
        {"ops_lock"},
        lambda db, prefix: db.get_item(
            TableName=prefix + "ops-locks", Key={"pk": {"S": "LOCK#a"}, "sk": {"S": "METADATA"}}
        ),
    ),
    "put of a lock": (
        {"put_ops_lock"},
        lambda db, prefix: db.put_item(
            TableName=prefix + "ops-locks", Item={"pk": {"S": "LOCK#a"}, "sk": {"S": "METADATA"}}
        ),
    ),
    "get of the region's flag": (
        {"region_flag"},
        lambda db, prefix: db.get_item(
            TableName=prefix + "runtime-region", Key={"pk": {"S": "REGION#active"}, "sk": {"S": "METADATA"}}
        ),
    ),
    "put of the region's flag": (
        {"put_region_flag"},
        lambda db, prefix: db.put_item(
            TableName=prefix + "runtime-region", Item={"pk": {"S": "REGION#active"}, "sk": {"S": "METADATA"}}
        ),
    ),
    "scan": (set(), lambda db, prefix: db.scan(TableName=prefix + "agents")),
    "scan of keys": (
        {"survey"},
        lambda db, prefix: db.scan(
            TableName=prefix + "jobs",
            ProjectionExpression="#pk, #sk",
            ExpressionAttributeNames={"#pk": "pk", "#sk": "sk"},
        ),
    ),
    "scan of what else is there": (
        set(),
        lambda db, prefix: db.scan(
            TableName=prefix + "jobs",
            ProjectionExpression="#pk, #sk",
            ExpressionAttributeNames={"#pk": "pk", "#sk": "input_json"},
        ),
    ),
    "scan of everything": (set(), lambda db, prefix: db.scan(TableName=prefix + "jobs")),
    "scan of erasures": (
        set(),
        lambda db, prefix: db.scan(
            TableName=prefix + "erasures",
            ProjectionExpression="#pk, #sk",
            ExpressionAttributeNames={"#pk": "pk", "#sk": "sk"},
        ),
    ),
    "delete": ({"erase"}, lambda db, prefix: db.delete_item(TableName=prefix + "agents", Key=AGENT)),
}


def query(db: Any, table: str, index: str | None, attribute: str, value: str, **more: object) -> Awaitable[object]:  # noqa: ANN401  # a raw client
    named = {} if index is None else {"IndexName": index}
    answer: Awaitable[object] = db.query(
        TableName=table,
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames={"#pk": attribute},
        ExpressionAttributeValues={":pk": {"S": value}},
        **named,
        **more,
    )
    return answer


def transact(db: Any, prefix: str, *puts: tuple[str, object]) -> Awaitable[object]:  # noqa: ANN401  # a raw client
    legs = [{"Put": {"TableName": prefix + table, "Item": item}} for table, item in puts]
    answer: Awaitable[object] = db.transact_write_items(TransactItems=legs)
    return answer


async def test_a_verbs_scope_covers_its_one_purpose(platform: Guarded) -> None:
    for name, (allowed, call) in RAW.items():
        for verb in VERBS:
            with entered(PlatformScope(verb)):
                if verb in allowed:
                    await call(platform.db, platform.prefix)
                    continue
                with pytest.raises(TenantAccessViolation) as refused:
                    await call(platform.db, platform.prefix)
            assert (refused.value.layer, refused.value.tenant_id) == ("client_guard", None), name


async def test_a_verb_that_is_not_in_the_table_reaches_nothing(platform: Guarded) -> None:
    with entered(PlatformScope("made up")), pytest.raises(TenantAccessViolation, match="no such verb"):
        await platform.db.get_item(TableName=platform.prefix + "agents", Key=AGENT)


async def test_a_tenant_reaches_nothing_of_the_platforms(platform: Guarded) -> None:
    for _, call in RAW.values():
        with entered(TenantScope(TenantId("acme"))), pytest.raises(TenantAccessViolation):
            await call(platform.db, platform.prefix)


async def test_the_regions_flag_is_written_once_by_who_saw_it_and_under_no_lower_fence(platform: Guarded) -> None:
    def flag(version: str, fence: int) -> RegionFlag:
        return RegionFlag(
            region="eu-central-1", fence=fence, record_version=version, changed_by="a", reason="r", changed_at=NOON
        )

    store = platform.store
    assert await store.region_flag() is None
    await store.put_region_flag(flag("one", 1), seen=None)
    await store.put_region_flag(flag("two", 3), seen=flag("one", 1))
    for late, seen in ((flag("x", 4), None), (flag("x", 4), flag("one", 1)), (flag("x", 2), flag("two", 3))):
        with pytest.raises(ConditionFailedError):
            await store.put_region_flag(late, seen=seen)
    assert await store.region_flag() == flag("two", 3)


async def test_a_version_reads_back_whole(platform: Guarded) -> None:
    stored: AgentVersion = version("echo", "3.2.1")
    await platform.store.put_agent_version(stored)
    assert await platform.store.agent_version(AgentName("echo"), "3.2.1") == stored
