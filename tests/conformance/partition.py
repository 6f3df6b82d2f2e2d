"""One partition of the jobs' table, asked through a raw client in the doors' own words."""

import secrets
from typing import Any, TypeAlias

from boto3.dynamodb.conditions import ConditionBase
from pydantic import JsonValue

from tenancy import tables
from tenancy.attributes import decode, encode
from tenancy.expressions import changing, conditioned

Place: TypeAlias = dict[str, Any]


class Partition:
    """A partition of the jobs' table that nobody else has, reached by a raw client."""

    def __init__(self, client: object, table_prefix: str) -> None:
        self.db: Any = client
        self.table = table_prefix + tables.JOBS.name
        self.pk = f"TENANT#t{secrets.token_hex(8)}"

    def key(self, sort: str) -> dict[str, Any]:
        return {"pk": {"S": self.pk}, "sk": {"S": sort}}

    def item(self, sort: str, **attributes: object) -> dict[str, Any]:
        return self.key(sort) | {name: encode(value) for name, value in attributes.items()}

    async def put(self, sort: str, condition: ConditionBase | None = None, **attributes: object) -> None:
        await self.db.put_item(TableName=self.table, Item=self.item(sort, **attributes), **conditioned(condition))

    async def get(self, sort: str) -> dict[str, object] | None:
        answer = await self.db.get_item(TableName=self.table, Key=self.key(sort), ConsistentRead=True)
        found = answer.get("Item")
        return None if found is None else {name: decode(value) for name, value in found.items()}

    async def update(
        self,
        sort: str,
        condition: ConditionBase | None = None,
        *,
        add: dict[str, int] | None = None,
        **changes: JsonValue,
    ) -> dict[str, object]:
        clauses = changing(changes, add, condition)
        answer = await self.db.update_item(TableName=self.table, Key=self.key(sort), ReturnValues="ALL_NEW", **clauses)
        return {name: decode(value) for name, value in answer["Attributes"].items()}

    async def page(
        self,
        prefix: str = "",
        *,
        limit: int = 200,
        forward: bool = True,
        after: Place | None = None,
        consistent: bool = False,
    ) -> tuple[list[str], Place | None]:
        names, values = {"#pk": "pk"}, {":pk": {"S": self.pk}}
        expression = "#pk = :pk"
        if prefix:
            expression, names["#sk"], values[":sk"] = expression + " AND begins_with(#sk, :sk)", "sk", {"S": prefix}
        wanted: dict[str, Any] = {"KeyConditionExpression": expression, "ExpressionAttributeNames": names}
        wanted |= {"ExpressionAttributeValues": values, "ConsistentRead": consistent}
        return await self._query(wanted, limit, after, forward=forward)

    async def indexed(
        self,
        index: tables.Index,
        partition: str,
        *,
        limit: int = 200,
        forward: bool = True,
        after: Place | None = None,
        consistent: bool = False,
    ) -> tuple[list[str], Place | None]:
        wanted: dict[str, Any] = {
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ConsistentRead": consistent,
        }
        wanted |= {"ExpressionAttributeNames": {"#pk": index.partition_key}}
        wanted |= {"ExpressionAttributeValues": {":pk": {"S": partition}}}
        return await self._query(wanted, limit, after, forward=forward)

    async def _query(
        self, wanted: dict[str, Any], limit: int, after: Place | None, *, forward: bool
    ) -> tuple[list[str], Place | None]:
        start = {} if after is None else {"ExclusiveStartKey": after}
        answer = await self.db.query(TableName=self.table, Limit=limit, ScanIndexForward=forward, **wanted, **start)
        return [item["sk"]["S"] for item in answer["Items"]], answer.get("LastEvaluatedKey")

    async def transact(self, *legs: dict[str, Any], token: str | None = None) -> None:
        named = {} if token is None else {"ClientRequestToken": token}
        await self.db.transact_write_items(TransactItems=[*legs], **named)

    def leg_put(self, sort: str, condition: ConditionBase | None = None, **attributes: object) -> dict[str, Any]:
        item = self.item(sort, **attributes)
        return {"Put": {"TableName": self.table, "Item": item, **conditioned(condition)}}

    def leg_add(self, sort: str, name: str, condition: ConditionBase | None = None) -> dict[str, Any]:
        return {"Update": {"TableName": self.table, "Key": self.key(sort), **changing({}, {name: 1}, condition)}}

    def leg_check(self, sort: str, condition: ConditionBase) -> dict[str, Any]:
        return {"ConditionCheck": {"TableName": self.table, "Key": self.key(sort), **conditioned(condition)}}

    def leg_delete(self, sort: str) -> dict[str, Any]:
        return {"Delete": {"TableName": self.table, "Key": self.key(sort)}}
