"""All that one tenant has, place by place, whatever it is: for taking it away whole, and for erasing it.

Items are handed out as they are stored and removed by their keys, each call in the tenant's own scope. `survey` looks
for anything that names a tenant wherever things are stored, all partitions and indexes, and sees keys alone; what it
finds of the platform's own items is removed on condition that they still name that tenant.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from boto3.dynamodb.conditions import Attr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tenancy import keys, tables
from tenancy.clock import Clock
from tenancy.data_models import Item, Key
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.expressions import conditioned
from tenancy.faults import store_faults
from tenancy.ids import TenantId
from tenancy.scope import PlatformScope, Scope, TenantScope, entered
from tenancy.tables import Index, Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import QueryInputTypeDef, ScanInputTypeDef, WriteRequestUnionTypeDef
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import ListObjectsV2RequestTypeDef, ObjectIdentifierTypeDef

BATCH: Final = 25
OBJECTS: Final = 1000
_PIECE_BYTES: Final = 65_536
# Before each try of a batch; DynamoDB hands back what it had no capacity for.
_PAUSES_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
_SCANNED: Final = 1000
# Which attributes of an item, beside its key, say whose it is.
_OWNERS: Final = ("tenant_id", "owner")


@dataclass(frozen=True, slots=True)
class Place:
    """A table, or one of its indexes."""

    table: Table
    index: Index | None = None

    def __str__(self) -> str:
        """Name it."""
        return self.table.name if self.index is None else f"{self.table.name}/{self.index.name}"


@dataclass(frozen=True, slots=True)
class Held:
    """An object's key and size."""

    key: str
    size_bytes: int


# Everywhere items can stand, but for the erasures themselves.
PLACES: Final = tuple(
    Place(table, index) for table in tables.TABLES if table != tables.ERASURES for index in (None, *table.indexes)
)


class Estate:
    """Any tenant's estate. Every method raises StoreUnavailableError where a later try may work."""

    def __init__(
        self,
        dynamodb_client: "DynamoDBClient",
        s3_client: "S3Client",
        redis: Redis,
        *,
        table_prefix: str,
        bucket: str,
        clock: Clock,
    ) -> None:
        self._dynamodb = dynamodb_client
        self._s3 = s3_client
        self._redis = redis
        self._prefix = table_prefix
        self._bucket = bucket
        self._clock = clock

    async def count(self, tenant_id: TenantId, table: Table) -> int:
        """Return how many items a tenant has in a table."""
        return await self._counted(tenant_id, self._partition(tenant_id, table))

    async def running(self, tenant_id: TenantId) -> int:
        """Return how many of a tenant's jobs and invocations have not ended."""
        wanted = [self._partition(tenant_id, table) for table in (tables.JOBS, tables.INVOCATIONS)]
        for query, prefix in zip(wanted, ("JOB#", "INV#"), strict=True):
            query["KeyConditionExpression"] = "#pk = :pk AND begins_with(#sk, :sk)"
            query["FilterExpression"] = "#status = :queued OR #status = :running"
            query["ExpressionAttributeNames"] = {
                "#pk": tables.PARTITION_KEY,
                "#sk": tables.SORT_KEY,
                "#status": "status",
            }
            query["ExpressionAttributeValues"] = {
                ":pk": {"S": tables.tenant_partition(tenant_id)},
                ":sk": {"S": prefix},
                ":queued": {"S": "queued"},
                ":running": {"S": "running"},
            }
        return sum([await self._counted(tenant_id, query) for query in wanted])

    async def items(self, tenant_id: TenantId, table: Table) -> AsyncIterator[Sequence[Item]]:
        """Yield a tenant's items of a table as they are stored, page by page."""
        wanted = self._partition(tenant_id, table)
        while True:
            with self._acting(TenantScope(tenant_id)):
                answer = await self._dynamodb.query(**wanted)
            if answer["Items"]:
                yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            wanted["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def remove(self, tenant_id: TenantId, table: Table, found: Sequence[Key]) -> None:
        """Remove up to BATCH of a tenant's items; those that are gone are fine."""
        name = self._prefix + table.name
        requests: list[WriteRequestUnionTypeDef] = [{"DeleteRequest": {"Key": key.to_item()}} for key in found]
        left = {name: requests}
        for pause_s in _PAUSES_S:
            if pause_s:
                await self._clock.sleep(pause_s)
            with self._acting(TenantScope(tenant_id)):
                answer = await self._dynamodb.batch_write_item(RequestItems=left)
            left = {table: [*requests] for table, requests in answer["UnprocessedItems"].items()}
            if not left:
                return
        raise StoreUnavailableError

    async def objects(self, tenant_id: TenantId) -> AsyncIterator[Sequence[Held]]:
        """Yield a tenant's objects, up to OBJECTS at a time, by key."""
        wanted: ListObjectsV2RequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": tables.tenant_prefix(tenant_id),
            "MaxKeys": OBJECTS,
        }
        while True:
            with self._acting(TenantScope(tenant_id)):
                answer = await self._s3.list_objects_v2(**wanted)
            if answer.get("Contents"):
                yield [Held(entry["Key"], entry["Size"]) for entry in answer["Contents"]]
            if not answer["IsTruncated"]:
                return
            wanted["ContinuationToken"] = answer["NextContinuationToken"]

    async def content(self, tenant_id: TenantId, key: str) -> AsyncIterator[bytes]:
        """Yield an object's bytes as they come; none where it is gone."""
        try:
            with self._acting(TenantScope(tenant_id)):
                answer = await self._s3.get_object(Bucket=self._bucket, Key=key)
        except self._s3.exceptions.NoSuchKey:
            return
        async with answer["Body"]:
            while piece := await answer["Body"].content.read(_PIECE_BYTES):
                yield piece

    async def remove_objects(self, tenant_id: TenantId, found: Sequence[Held]) -> None:
        """Remove up to OBJECTS of a tenant's objects."""
        entries: list[ObjectIdentifierTypeDef] = [{"Key": held.key} for held in found]
        with self._acting(TenantScope(tenant_id)):
            answer = await self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": entries, "Quiet": True})
        if answer.get("Errors"):
            raise StoreUnavailableError

    async def remembered(self, tenant_id: TenantId) -> list[str]:
        """Return a tenant's own keys in Redis."""
        try:
            found = [_text(key) async for key in self._redis.scan_iter(match=f"lockgate:*{tenant_id}*", count=_SCANNED)]
        except RedisError as away:
            raise StoreUnavailableError from away
        return [key for key in found if keys.is_of(key, tenant_id)]

    async def forget(self, found: Sequence[str]) -> None:
        """Remove keys from Redis."""
        try:
            for key in found:
                await self._redis.unlink(key)
        except RedisError as away:
            raise StoreUnavailableError from away

    async def survey(self, tenant_id: TenantId, place: Place, start: Key | None) -> tuple[list[Key], Key | None]:
        """Return the keys of what names a tenant in a part of a place, and where the next part begins.

        An index goes on where it ended within one call: it has no place to go on from that is a key of the table.
        """
        wanted: ScanInputTypeDef = {
            "TableName": self._prefix + place.table.name,
            "ProjectionExpression": "#pk, #sk",
            "FilterExpression": "#pk = :pk OR #tenant_id = :id OR #owner = :id",
            "ExpressionAttributeNames": {
                "#pk": tables.PARTITION_KEY,
                "#sk": tables.SORT_KEY,
                **{f"#{name}": name for name in _OWNERS},
            },
            "ExpressionAttributeValues": {
                ":pk": {"S": tables.tenant_partition(tenant_id)},
                ":id": {"S": tenant_id},
            },
            "Limit": _SCANNED,
        }
        if place.index is None:
            wanted["ConsistentRead"] = True
        else:
            wanted["IndexName"] = place.index.name
        if start is not None:
            wanted["ExclusiveStartKey"] = start.to_item()
        found: list[Key] = []
        while True:
            with self._acting(PlatformScope("survey")):
                answer = await self._dynamodb.scan(**wanted)
            found += [_key(item) for item in answer["Items"]]
            last = answer.get("LastEvaluatedKey")
            if last is None or place.index is None:
                return found, None if last is None else _key(last)
            wanted["ExclusiveStartKey"] = last

    async def remove_named(self, tenant_id: TenantId, table: Table, key: Key) -> bool:
        """Remove a platform's item for as long as it names the tenant; tells whether it did."""
        names = Attr(_OWNERS[0]).eq(tenant_id) | Attr(_OWNERS[1]).eq(tenant_id)
        try:
            with self._acting(PlatformScope("erase")):
                await self._dynamodb.delete_item(
                    TableName=self._prefix + table.name, Key=key.to_item(), **conditioned(names)
                )
        except ConditionFailedError:
            return False
        return True

    async def _counted(self, tenant_id: TenantId, wanted: "QueryInputTypeDef") -> int:
        counted = 0
        wanted["Select"] = "COUNT"
        while True:
            with self._acting(TenantScope(tenant_id)):
                answer = await self._dynamodb.query(**wanted)
            counted += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return counted
            wanted["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _partition(self, tenant_id: TenantId, table: Table) -> "QueryInputTypeDef":
        return {
            "TableName": self._prefix + table.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": tables.PARTITION_KEY},
            "ExpressionAttributeValues": {":pk": {"S": tables.tenant_partition(tenant_id)}},
            "ConsistentRead": True,
        }

    @contextmanager
    def _acting(self, scope: Scope) -> Iterator[None]:
        with entered(scope), store_faults():
            yield


def _key(item: Item) -> Key:
    return Key(item[tables.PARTITION_KEY]["S"], item[tables.SORT_KEY]["S"])


def _text(key: object) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)
