"""Makes what is missing of a deployment's tables and bucket; safe to run any number of times, at once on new ones."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, cast

from botocore.exceptions import ClientError

from tenancy.clock import SystemClock
from tenancy.tables import PARTITION_KEY, SORT_KEY, TABLES, TTL_ATTRIBUTE, Index, Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        CreateTableInputTypeDef,
        GlobalSecondaryIndexTypeDef,
        KeySchemaElementTypeDef,
    )
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.literals import BucketLocationConstraintType

_DEFAULT_REGION: Final = "us-east-1"
# How often an index under way is looked at.
_LOOK_S: Final = 0.2


async def ensure_tables(client: "DynamoDBClient", prefix: str) -> None:
    """Create what is missing of every table, `prefix` before its name: itself, an index, its expiry."""
    async with asyncio.TaskGroup() as group:
        for table in TABLES:
            group.create_task(_ensure_table(client, prefix, table))


async def ensure_bucket(s3: "S3Client", bucket: str, region: str) -> None:
    """Create the bucket if it is missing."""
    if region == _DEFAULT_REGION:
        await _unless_there(s3.create_bucket(Bucket=bucket), "BucketAlreadyOwnedByYou")
        return
    # The setting is a text; AWS refuses one that is no region.
    constraint = cast("BucketLocationConstraintType", region)
    await _unless_there(
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": constraint}),
        "BucketAlreadyOwnedByYou",
    )


async def _ensure_table(client: "DynamoDBClient", prefix: str, table: Table) -> None:
    name = prefix + table.name
    keys = [PARTITION_KEY, SORT_KEY, *(key for index in table.indexes for key in (index.partition_key, index.sort_key))]
    wanted: CreateTableInputTypeDef = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
        "KeySchema": _schema(PARTITION_KEY, SORT_KEY),
    }
    if table.indexes:
        wanted["GlobalSecondaryIndexes"] = [_index(index) for index in table.indexes]
    await _unless_there(client.create_table(**wanted), "ResourceInUseException")
    await client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    await _ensure_indexes(client, name, table)
    if table.expires:
        await _ensure_expiry(client, name)


async def _ensure_indexes(client: "DynamoDBClient", name: str, table: Table) -> None:
    """Add the indexes that an older table lacks; DynamoDB fills them from the items that carry their keys."""
    for index in table.indexes:
        if index.name not in await _indexes(client, name):
            # It makes one index of a table at a time, and refuses the next until then.
            while {*(await _indexes(client, name)).values()} - {"ACTIVE"}:
                await SystemClock().sleep(_LOOK_S)
            await client.update_table(
                TableName=name,
                AttributeDefinitions=[
                    {"AttributeName": key, "AttributeType": "S"} for key in (index.partition_key, index.sort_key)
                ],
                GlobalSecondaryIndexUpdates=[{"Create": _index(index)}],
            )


async def _indexes(client: "DynamoDBClient", table: str) -> dict[str, str]:
    """Return how far each index of a table is, by name."""
    found = (await client.describe_table(TableName=table))["Table"].get("GlobalSecondaryIndexes", [])
    return {index["IndexName"]: index["IndexStatus"] for index in found}


async def _ensure_expiry(client: "DynamoDBClient", name: str) -> None:
    found = await client.describe_time_to_live(TableName=name)
    # Turning on what is on is refused.
    if found["TimeToLiveDescription"].get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        return
    await client.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
    )


def _schema(partition_key: str, sort_key: str) -> "list[KeySchemaElementTypeDef]":
    return [{"AttributeName": partition_key, "KeyType": "HASH"}, {"AttributeName": sort_key, "KeyType": "RANGE"}]


def _index(index: Index) -> "GlobalSecondaryIndexTypeDef":
    return {
        "IndexName": index.name,
        "KeySchema": _schema(index.partition_key, index.sort_key),
        "Projection": {"ProjectionType": "ALL"},
    }


async def _unless_there(creation: Awaitable[object], there: str) -> None:
    try:
        await creation
    except ClientError as error:
        if error.response["Error"]["Code"] != there:
            raise
