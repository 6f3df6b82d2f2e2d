"""Everything the store holds of jobs at the end, of all tenants, read beside the proxy."""

from typing import TYPE_CHECKING, Final, TypeVar

from ops.devstack.aws import store_clients
from ops.devstack.environment import TABLE_PREFIX
from tenancy import tables
from tenancy.data_models import Delivery, JobEvent, JobGate, JobRecord, OutboxEvent, TenantItem, WaitingJob
from tests.chaos.ground import Ground
from tests.chaos.verdict import Stored, grouped

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

_DELIVERY: Final = "#DELIVERY#"

Item = TypeVar("Item", bound=TenantItem)


async def stored(ground: Ground) -> Stored:
    """Read it all."""
    async with store_clients(ground.ports, ground.keys) as aws:
        jobs = await _all(aws.dynamodb, tables.JOBS)
        outbox = await _all(aws.dynamodb, tables.OUTBOX)
        deliveries = await _all(aws.dynamodb, tables.DELIVERIES)
    return Stored(
        jobs={job.job_id: job for job in _of(JobRecord, jobs)},
        events=grouped(_of(JobEvent, jobs)),
        outbox={event.event_id: event for event in _of(OutboxEvent, outbox)},
        deliveries=[Delivery.from_item(item) for item in deliveries if _DELIVERY in _sort_key(item)],
        gates=_of(JobGate, jobs),
        waiting=_of(WaitingJob, jobs),
    )


def _of(model: type[Item], items: "list[dict[str, AttributeValueTypeDef]]") -> list[Item]:
    return [model.from_item(item) for item in items if _sort_key(item).startswith(model.SORT_PREFIX)]


def _sort_key(item: "dict[str, AttributeValueTypeDef]") -> str:
    return item[tables.SORT_KEY]["S"]


async def _all(dynamodb: "DynamoDBClient", table: tables.Table) -> "list[dict[str, AttributeValueTypeDef]]":
    items: list[dict[str, AttributeValueTypeDef]] = []
    async for page in dynamodb.get_paginator("scan").paginate(TableName=TABLE_PREFIX + table.name):
        items += page["Items"]
    return items
