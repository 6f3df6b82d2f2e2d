"""The second door: what is cross-tenant by nature, one narrow verb per purpose.

Each verb runs in its own scope, for which tenancy.reach.VERBS names the one operation, table and kind of key it may
reach: a verb that is not listed there reaches nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase

from tenancy import tables
from tenancy.data_models import (
    AgentVersion,
    AuditEvent,
    AuditHead,
    Erasure,
    IdentityBinding,
    JobRecord,
    Key,
    KeyHash,
    OpsLock,
    ProcessLease,
    RegionFlag,
    StoredItem,
    Tenant,
    Tool,
    agent_key,
    binding_key,
    bound_partition,
    erasure_key,
    key_hash_key,
    lock_key,
    open_partition,
    region_key,
    trail_key,
)
from tenancy.errors import InvalidIdError, OnViolation, TenantAccessViolation
from tenancy.expressions import conditioned
from tenancy.faults import store_faults
from tenancy.ids import AgentName, TenantId, parse_tenant_id
from tenancy.scope import PlatformScope, entered
from tenancy.steps import NEW, Page
from tenancy.tables import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import QueryInputTypeDef

T = TypeVar("T", bound=StoredItem)
E = TypeVar("E", bound=AuditEvent)

# More bindings of one tenant than this are not listed.
BINDINGS_LISTED: Final = 100
# What is owed is read in pages of this many.
_OWED_PAGE: Final = 250


@dataclass(frozen=True, slots=True)
class Owed:
    """A tenant's record as an index that spans tenants knows it, and since when it stands there."""

    tenant_id: TenantId
    record_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Part of the list of jobs that were given up on, newest first; `after` goes on where more may follow."""

    items: tuple[Owed, ...]
    after: str | None


class PlatformStore:
    """Identity bindings, tenants, agents, tools, what is owed a tick, dead letters, leases, what each process serves.

    Every verb raises StoreUnavailableError where a later try may work.
    """

    def __init__(self, dynamodb_client: "DynamoDBClient", *, table_prefix: str, on_violation: OnViolation) -> None:
        self._client = dynamodb_client
        self._prefix = table_prefix
        self._on_violation = on_violation

    async def binding(self, issuer: str, directory: str, client_id: str) -> IdentityBinding | None:
        """Return whom tokens of this (issuer, tid, azp) speak for, as last written, or None."""
        found = await self._get("binding", IdentityBinding, binding_key(issuer, directory, client_id))
        # A key joins its parts by a sign that a part might hold.
        if found is not None and (found.issuer, found.directory, found.client_id) != (issuer, directory, client_id):
            violation = TenantAccessViolation(
                tenant_id=None,
                layer="door",
                operation="GetItem",
                resource=self._prefix + tables.IDENTITY_BINDINGS.name,
                reason="the binding found is another application's",
            )
            self._on_violation(violation)
            raise violation
        return found

    async def put_binding(self, binding: IdentityBinding) -> None:
        """Store a binding, in place of the one it had."""
        await self._put("put_binding", binding)

    async def bindings_of(self, tenant_id: TenantId) -> tuple[IdentityBinding, ...]:
        """Return the first BINDINGS_LISTED bindings of a tenant; one just made may not be among them yet."""
        index = tables.BOUND_INDEX
        with self._acting("bindings_of"):
            answer = await self._client.query(
                TableName=self._prefix + tables.IDENTITY_BINDINGS.name,
                IndexName=index.name,
                KeyConditionExpression="#pk = :pk",
                ExpressionAttributeNames={"#pk": index.partition_key},
                ExpressionAttributeValues={":pk": {"S": bound_partition(tenant_id)}},
                Limit=BINDINGS_LISTED,
            )
        return tuple(IdentityBinding.from_item(item) for item in answer["Items"])

    async def tenants(self, *, limit: int, after: TenantId | None = None) -> Page[Tenant]:
        """Return up to `limit` tenants by id, going on `after` one; a change just made may not show yet."""
        index = tables.DIRECTORY_INDEX
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + tables.TENANTS.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": index.partition_key},
            "ExpressionAttributeValues": {":pk": {"S": tables.DIRECTORY}},
            "Limit": limit,
        }
        if after is not None:
            wanted["ExclusiveStartKey"] = Tenant.key_of(after, "METADATA").to_item() | {
                index.partition_key: {"S": tables.DIRECTORY},
                index.sort_key: {"S": after},
            }
        with self._acting("tenants"):
            answer = await self._client.query(**wanted)
        last = answer.get("LastEvaluatedKey")
        items = tuple(Tenant.from_item(item) for item in answer["Items"])
        return Page(items, None if last is None else last[index.sort_key]["S"])

    async def owed(self, table: Table, shard: int, *, before: datetime, limit: int) -> tuple[Owed, ...]:
        """Return up to `limit` records of a shard that were owed a tick before a time, the longest owed first."""
        index = tables.SWEEP_INDEX
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + table.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": index.partition_key},
            "ExpressionAttributeValues": {":pk": {"S": f"SWEEP#{shard}"}},
            "Limit": min(limit, _OWED_PAGE),
        }
        found: list[Owed] = []
        while True:
            with self._acting(f"owed_{table.name}"):
                answer = await self._client.query(**wanted)
            page = [_owed(item[index.sort_key]["S"]) for item in answer["Items"]]
            due = [owed for owed in page if owed.at < before]
            found += due
            if len(due) < len(page) or len(found) >= limit or "LastEvaluatedKey" not in answer:
                return tuple(found[:limit])
            wanted["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def dead_letters(self, *, limit: int, after: str | None = None) -> DeadLetters:
        """Return up to `limit` jobs that were given up on, newest first; raises InvalidIdError for a wrong `after`."""
        index = tables.DEAD_LETTER_INDEX
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + tables.JOBS.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": index.partition_key},
            "ExpressionAttributeValues": {":pk": {"S": tables.DEAD_LETTERS}},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if after is not None:
            last = _owed(after)
            wanted["ExclusiveStartKey"] = JobRecord.key_of(last.tenant_id, last.record_id).to_item() | {
                index.partition_key: {"S": tables.DEAD_LETTERS},
                index.sort_key: {"S": after},
            }
        with self._acting("dead_letters"):
            answer = await self._client.query(**wanted)
        more = answer.get("LastEvaluatedKey")
        items = tuple(_owed(item[index.sort_key]["S"]) for item in answer["Items"])
        return DeadLetters(items, None if more is None else more[index.sort_key]["S"])

    async def ops_lock(self, name: str) -> OpsLock | None:
        """Return a platform-wide lease as last written, or None."""
        return await self._get("ops_lock", OpsLock, lock_key(name))

    async def put_ops_lock(self, lock: OpsLock, *, seen: OpsLock | None) -> None:
        """Write a lease in place of what was seen of it; raises ConditionFailedError where it is another by now."""
        await self._put("put_ops_lock", lock, NEW if seen is None else Attr("record_version").eq(seen.record_version))

    async def region_flag(self) -> RegionFlag | None:
        """Return which region serves, as last written; None where nobody has ever said."""
        return await self._get("region_flag", RegionFlag, region_key())

    async def put_region_flag(self, flag: RegionFlag, *, seen: RegionFlag | None) -> None:
        """Write which region serves in place of what was seen of it.

        Raises ConditionFailedError where it is another by now, or was written under a higher fence.
        """
        condition: ConditionBase = NEW
        if seen is not None:
            condition = Attr("record_version").eq(seen.record_version) & Attr("fence").lte(flag.fence)
        await self._put("put_region_flag", flag, condition)

    async def erasure(self, tenant_id: TenantId) -> Erasure | None:
        """Return how far a tenant's erasure is, as last written; None where none was begun."""
        return await self._get("erasure", Erasure, erasure_key(tenant_id))

    async def put_erasure(self, erasure: Erasure, *, seen: Erasure) -> None:
        """Write how far an erasure is in place of what was seen of it; raises ConditionFailedError."""
        await self._put("put_erasure", erasure, Attr("version").eq(seen.version))

    async def processes(self) -> tuple[ProcessLease, ...]:
        """Return the leases of all processes, as last written."""
        return await self._all("processes", ProcessLease, tables.PARTITION_KEY, tables.PROCESSES)

    async def put_process(self, lease: ProcessLease, *, seen: ProcessLease | None) -> None:
        """Write a process's lease in place of what was seen of it; raises ConditionFailedError where it is another."""
        await self._put("put_process", lease, NEW if seen is None else Attr("record_version").eq(seen.record_version))

    async def delete_process(self, lease: ProcessLease) -> None:
        """Remove a process's lease; raises ConditionFailedError where it is another by now."""
        with self._acting("delete_process"):
            await self._client.delete_item(
                TableName=self._prefix + tables.OPS_LOCKS.name,
                Key=lease.key().to_item(),
                **conditioned(Attr("record_version").eq(lease.record_version)),
            )

    async def open_invocations(self, process: str, *, limit: int) -> tuple[Owed, ...]:
        """Return up to `limit` invocations that a process serves, the oldest first; one just begun may be missing."""
        index = tables.OPEN_INDEX
        with self._acting("open_invocations"):
            answer = await self._client.query(
                TableName=self._prefix + tables.INVOCATIONS.name,
                IndexName=index.name,
                KeyConditionExpression="#pk = :pk",
                ExpressionAttributeNames={"#pk": index.partition_key},
                ExpressionAttributeValues={":pk": {"S": open_partition(process)}},
                Limit=limit,
            )
        return tuple(_owed(item[index.sort_key]["S"]) for item in answer["Items"])

    async def promoted_agents(self) -> tuple[AgentVersion, ...]:
        """Return every promoted version of every agent, by name, then by version."""
        catalog = tables.CATALOG_INDEX
        return await self._all("promoted_agents", AgentVersion, catalog.partition_key, "CATALOG", catalog.name)

    async def registered_agents(self) -> tuple[AgentVersion, ...]:
        """Return every version of every agent that is not promoted, by name, then by version."""
        catalog = tables.CATALOG_INDEX
        return await self._all("registered_agents", AgentVersion, catalog.partition_key, "REGISTRY", catalog.name)

    async def agent_versions(self, name: AgentName) -> tuple[AgentVersion, ...]:
        """Return every version of an agent, as last written."""
        return await self._all("agent_versions", AgentVersion, tables.PARTITION_KEY, f"AGENT#{name}")

    async def agent_version(self, name: AgentName, version: str) -> AgentVersion | None:
        """Return one version of an agent, whatever its state, as last written, or None."""
        return await self._get("agent_version", AgentVersion, agent_key(name, version))

    async def put_agent_version(self, version: AgentVersion) -> None:
        """Store a version, in place of what it was."""
        await self._put("put_agent_version", version)

    async def tools(self) -> tuple[Tool, ...]:
        """Return every tool by name, as last written."""
        return await self._all("tools", Tool, tables.PARTITION_KEY, tables.TOOLS_PARTITION)

    async def put_tool(self, tool: Tool) -> None:
        """Store a tool, in place of what it was."""
        await self._put("put_tool", tool)

    async def key_hash(self, sha256: str) -> KeyHash | None:
        """Return what an API key of this hash opens, as last written, or None."""
        return await self._get("key_hash", KeyHash, key_hash_key(sha256))

    async def trail(self, kind: str, model: type[E], *, limit: int, before: str | None = None) -> Page[E]:
        """Return up to `limit` of ACTS or REFUSALS of all tenants, newest first, going on behind `before`.

        One just written may not show yet.
        """
        index = tables.TRAIL_INDEX
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + tables.AUDIT.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": index.partition_key},
            "ExpressionAttributeValues": {":pk": {"S": kind}},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if before is not None:
            wanted["ExclusiveStartKey"] = trail_key(before).to_item() | {
                index.partition_key: {"S": kind},
                index.sort_key: {"S": before},
            }
        with self._acting("trail"):
            answer = await self._client.query(**wanted)
        last = answer.get("LastEvaluatedKey")
        items = tuple(model.from_item(item) for item in answer["Items"])
        return Page(items, None if last is None else last[index.sort_key]["S"])

    async def heads(self) -> tuple[AuditHead, ...]:
        """Return the end of every audit chain, by tenant; one just begun may be missing."""
        index = tables.TRAIL_INDEX
        return await self._all("trail", AuditHead, index.partition_key, tables.HEADS, index.name)

    async def _all(
        self, verb: str, model: type[T], attribute: str, partition: str, index: str | None = None
    ) -> tuple[T, ...]:
        """Return a whole partition, consistently where it is not an index's."""
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + model.TABLE.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": attribute},
            "ExpressionAttributeValues": {":pk": {"S": partition}},
        }
        if index is None:
            wanted["ConsistentRead"] = True
        else:
            wanted["IndexName"] = index
        found: list[T] = []
        while True:
            with self._acting(verb):
                answer = await self._client.query(**wanted)
            found += [model.from_item(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return tuple(found)
            wanted["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _get(self, verb: str, model: type[T], key: Key) -> T | None:
        with self._acting(verb):
            answer = await self._client.get_item(
                TableName=self._prefix + model.TABLE.name, Key=key.to_item(), ConsistentRead=True
            )
        return model.from_item(answer["Item"]) if "Item" in answer else None

    async def _put(self, verb: str, item: StoredItem, condition: ConditionBase | None = None) -> None:
        with self._acting(verb):
            await self._client.put_item(
                TableName=self._prefix + item.TABLE.name, Item=item.to_item(), **conditioned(condition)
            )

    @contextmanager
    def _acting(self, verb: str) -> Iterator[None]:
        with entered(PlatformScope(verb)), store_faults():
            yield


def _owed(sort: str) -> Owed:
    """Read `{time}#{tenant}#{record}`; raises InvalidIdError."""
    at, _, rest = sort.partition("#")
    tenant, _, record_id = rest.partition("#")
    try:
        return Owed(parse_tenant_id(tenant), record_id, datetime.fromisoformat(at))
    except ValueError as wrong:
        raise InvalidIdError("page position") from wrong
