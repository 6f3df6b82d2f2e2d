"""The only door to a tenant's items: TenantScopedDynamoDB, handed out per tenant by TenantStores.

Everything asked of a door is checked here against its tenant before AWS is called: the model's table, the key, every
leg of a batch or transaction, the index attributes, and what comes back. It suffices alone: the guard on the client
(tenancy.client_guard) checks the same by its own means and neither leans on the other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Never, TypeVar

from boto3.dynamodb.conditions import ConditionBase

from tenancy import tables
from tenancy.clock import Clock, SystemClock
from tenancy.data_models import Item, Key, TenantItem
from tenancy.errors import (
    ConditionFailedError,
    InvalidIdError,
    OnViolation,
    StoreUnavailableError,
    TenantAccessViolation,
)
from tenancy.expressions import changing, conditioned
from tenancy.faults import repeated, store_faults
from tenancy.ids import TenantId
from tenancy.objects import TenantScopedS3
from tenancy.scope import TenantScope, active_scope, entered
from tenancy.steps import Changes, CheckStep, DeleteStep, Page, PutStep, Step, UpdateStep

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        ConditionCheckTypeDef,
        QueryInputTypeDef,
        TransactWriteItemTypeDef,
        UpdateTypeDef,
        WriteRequestUnionTypeDef,
    )
    from types_aiobotocore_s3.client import S3Client

# What callers of the door use of it.
__all__ = ["CheckStep", "DeleteStep", "Page", "PutStep", "TenantScopedDynamoDB", "TenantStores", "UpdateStep"]

T = TypeVar("T", bound=TenantItem)

BATCH_LIMIT: Final = 25
# Before each try of a batch; DynamoDB hands back what it had no capacity for.
_BATCH_PAUSES_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
# Indexes that span tenants and name the tenant in their sort key, with the partitions they have.
_TIMED: Final = {
    tables.SWEEP_INDEX: re.compile(rf"SWEEP#[0-{tables.SWEEP_SHARDS - 1}]", re.ASCII),
    tables.DEAD_LETTER_INDEX: re.compile(tables.DEAD_LETTERS),
    tables.OPEN_INDEX: re.compile(r"OPEN#[0-9a-f]{16}", re.ASCII),
    # Events of the trail are put and never changed.
    tables.TRAIL_INDEX: re.compile("(?!)"),
}
# Attributes no update may touch: they say whose item it is.
_FIXED: Final = frozenset({tables.PARTITION_KEY, tables.SORT_KEY, "tenant_id"})


class TenantScopedDynamoDB:
    """One tenant's items.

    Every method raises TenantAccessViolation where anything asked for is not the tenant's, and StoreUnavailableError
    where a later attempt may work. Keys are made by the models (`JobRecord.key_of(tenant_id, job_id)`).
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        tenant_id: TenantId,
        *,
        table_prefix: str,
        on_violation: OnViolation,
        clock: Clock,
    ) -> None:
        self._client = client
        self._scope = TenantScope(tenant_id)
        self._partition = tables.tenant_partition(tenant_id)
        self._prefix = table_prefix
        self._on_violation = on_violation
        self._clock = clock

    async def get(self, model: type[T], key: Key, *, consistent: bool = False) -> T | None:
        """Return the item, or None; `consistent` reads what the last write left."""
        table = self._admit("GetItem", model, key)
        with self._acting("GetItem", table):
            answer = await self._client.get_item(TableName=table, Key=key.to_item(), ConsistentRead=consistent)
        found = answer.get("Item")
        return None if found is None else self._read("GetItem", model, found)

    async def put(self, item: TenantItem, *, condition: ConditionBase | None = None) -> None:
        """Store the item whole; raises ConditionFailedError."""
        table = self._admit("PutItem", type(item), item.key())
        try:
            with self._acting("PutItem", table):
                await self._client.put_item(TableName=table, Item=item.to_item(), **conditioned(condition))
        except ConditionFailedError as failed:
            # The first try may have been done and its answer lost: the repeat then ran into it.
            if not repeated(failed) or not await self._stands(item):
                raise

    async def update(
        self,
        model: type[T],
        key: Key,
        changes: Changes,
        *,
        add: Mapping[str, int] | None = None,
        condition: ConditionBase | None = None,
    ) -> T:
        """Change an existing item and return it as it now stands.

        Raises ConditionFailedError also where there is no such item: an update never makes one.
        """
        step = self._update(UpdateStep(model, key, changes, add, condition))
        with self._acting("UpdateItem", step["TableName"]):
            answer = await self._client.update_item(**step, ReturnValues="ALL_NEW")
        return self._read("UpdateItem", model, answer["Attributes"])

    async def delete(self, model: type[TenantItem], key: Key, *, condition: ConditionBase | None = None) -> None:
        """Remove the item if it is there; raises ConditionFailedError."""
        table = self._admit("DeleteItem", model, key)
        with self._acting("DeleteItem", table):
            await self._client.delete_item(TableName=table, Key=key.to_item(), **conditioned(condition))

    async def query(
        self,
        model: type[T],
        partition: str,
        *,
        sort_prefix: str = "",
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
        consistent: bool = False,
    ) -> Page[T]:
        """Return up to `limit` items in the order of their sort keys, going on `after` a former page's last one.

        `consistent` reads what the last write left.

        Raises InvalidIdError where `after` lies outside `sort_prefix`.
        """
        table = self._admit("Query", model, Key(partition, ""))
        wanted: QueryInputTypeDef = {
            "TableName": table,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": tables.PARTITION_KEY},
            "ExpressionAttributeValues": {":pk": {"S": self._partition}},
            "Limit": limit,
            "ScanIndexForward": not newest_first,
            "ConsistentRead": consistent,
        }
        if sort_prefix:
            wanted["KeyConditionExpression"] = "#pk = :pk AND begins_with(#sk, :sk)"
            wanted["ExpressionAttributeNames"] = {"#pk": tables.PARTITION_KEY, "#sk": tables.SORT_KEY}
            wanted["ExpressionAttributeValues"] = {":pk": {"S": self._partition}, ":sk": {"S": sort_prefix}}
        if after is not None:
            if not after or not after.startswith(sort_prefix):
                raise InvalidIdError("page position")
            wanted["ExclusiveStartKey"] = Key(self._partition, after).to_item()
        with self._acting("Query", table):
            answer = await self._client.query(**wanted)
        last = answer.get("LastEvaluatedKey")
        items = tuple(self._read("Query", model, item) for item in answer["Items"])
        return Page(items, None if last is None else last[tables.SORT_KEY]["S"])

    async def put_batch(self, items: Sequence[TenantItem]) -> None:
        """Store up to 25 items, not atomically; of two with one key the later stays."""
        if len(items) > BATCH_LIMIT:
            raise ValueError(f"at most {BATCH_LIMIT} items go into a batch")
        if not items:
            return
        keyed = [(item, item.key()) for item in items]
        latest = {(self._admit("BatchWriteItem", type(item), key), key): item for item, key in keyed}
        left: dict[str, list[WriteRequestUnionTypeDef]] = {}
        for (table, _), item in latest.items():
            left.setdefault(table, []).append({"PutRequest": {"Item": item.to_item()}})
        for pause_s in _BATCH_PAUSES_S:
            if pause_s:
                await self._clock.sleep(pause_s)
            with self._acting("BatchWriteItem", ",".join(left)):
                answer = await self._client.batch_write_item(RequestItems=left)
            left = {table: [*requests] for table, requests in answer["UnprocessedItems"].items()}
            if not left:
                return
        raise StoreUnavailableError

    async def transact(self, steps: Sequence[Step]) -> None:
        """Do up to 100 steps together or none of them; raises ConditionFailedError."""
        legs = [self._leg(step) for step in steps]
        with self._acting("TransactWriteItems", "transaction"):
            await self._client.transact_write_items(TransactItems=legs)

    def _leg(self, step: Step) -> "TransactWriteItemTypeDef":
        operation = "TransactWriteItems"
        if isinstance(step, UpdateStep):
            return {"Update": self._update(step, operation)}
        if isinstance(step, PutStep):
            table = self._admit(operation, type(step.item), step.item.key())
            return {"Put": {"TableName": table, "Item": step.item.to_item(), **conditioned(step.condition)}}
        table = self._admit(operation, step.model, step.key)
        if isinstance(step, DeleteStep):
            return {"Delete": {"TableName": table, "Key": step.key.to_item(), **conditioned(step.condition)}}
        demanded = conditioned(step.condition)
        check: ConditionCheckTypeDef = {
            "TableName": table,
            "Key": step.key.to_item(),
            "ConditionExpression": demanded["ConditionExpression"],
            "ExpressionAttributeNames": demanded["ExpressionAttributeNames"],
        }
        if "ExpressionAttributeValues" in demanded:
            check["ExpressionAttributeValues"] = demanded["ExpressionAttributeValues"]
        return {"ConditionCheck": check}

    def _update(self, step: UpdateStep, operation: str = "UpdateItem") -> "UpdateTypeDef":
        table = self._admit(operation, step.model, step.key)
        adding = step.add or {}
        if not step.changes and not adding:
            raise ValueError("an update changes something")
        if _FIXED & (step.changes.keys() | adding.keys()):
            self._refuse(operation, table, "an update may not say whose item it is")
        for index in step.model.TABLE.indexes:
            if not self._may_stand_in(index, step.changes):
                self._refuse(operation, table, "the item would stand in another tenant's index")
        return {
            "TableName": table,
            "Key": step.key.to_item(),
            **changing(step.changes, adding, step.condition),
        }

    def _admit(self, operation: str, model: type[TenantItem], key: Key) -> str:
        """Return the table of a model whose `key` is this tenant's; refuse all others."""
        table = self._prefix + model.TABLE.name
        if model.TABLE.owner != "tenant":
            self._refuse(operation, table, "the table is the platform's")
        if key.partition != self._partition:
            self._refuse(operation, table, "the key is not the tenant's")
        return table

    async def _stands(self, item: TenantItem) -> bool:
        found = await self.get(type(item), item.key(), consistent=True)
        return found is not None and found.to_item() == item.to_item()

    def _may_stand_in(self, index: tables.Index, changes: Changes) -> bool:
        partition, sort = changes.get(index.partition_key), changes.get(index.sort_key)
        if index in _TIMED:
            known = partition is None or (isinstance(partition, str) and _TIMED[index].fullmatch(partition) is not None)
            named = isinstance(sort, str) and sort.split("#")[1:2] == [self._scope.tenant_id]
            return known and (sort is None or named)
        if index == tables.DIRECTORY_INDEX:
            return partition in (None, tables.DIRECTORY) and sort in (None, self._scope.tenant_id)
        return partition is None or (isinstance(partition, str) and partition.startswith(self._partition + "#"))

    def _read(self, operation: str, model: type[T], found: Item) -> T:
        item = model.from_item(found)
        if item.tenant_id != self._scope.tenant_id:
            self._refuse(operation, self._prefix + model.TABLE.name, "the item found is another tenant's")
        return item

    @contextmanager
    def _acting(self, operation: str, resource: str) -> Iterator[None]:
        if active_scope() not in (None, self._scope):
            self._refuse(operation, resource, "the task acts in another scope")
        with entered(self._scope), store_faults():
            yield

    def _refuse(self, operation: str, resource: str, reason: str) -> Never:
        violation = TenantAccessViolation(
            tenant_id=self._scope.tenant_id, layer="door", operation=operation, resource=resource, reason=reason
        )
        self._on_violation(violation)
        raise violation


class TenantStores:
    """Hands out the doors of any tenant over one pair of clients."""

    def __init__(
        self,
        dynamodb_client: "DynamoDBClient",
        s3_client: "S3Client",
        *,
        table_prefix: str,
        bucket: str,
        on_violation: OnViolation,
        clock: Clock | None = None,
    ) -> None:
        self._dynamodb = dynamodb_client
        self._s3 = s3_client
        self._prefix = table_prefix
        self._bucket = bucket
        self._on_violation = on_violation
        self._clock = clock or SystemClock()

    def db(self, tenant_id: TenantId) -> TenantScopedDynamoDB:
        """Return the door to the tenant's items."""
        return TenantScopedDynamoDB(
            self._dynamodb, tenant_id, table_prefix=self._prefix, on_violation=self._on_violation, clock=self._clock
        )

    def s3(self, tenant_id: TenantId) -> TenantScopedS3:
        """Return the door to the tenant's objects."""
        return TenantScopedS3(self._s3, tenant_id, bucket=self._bucket, on_violation=self._on_violation)
