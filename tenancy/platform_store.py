"""The second door: what is cross-tenant by nature, one narrow verb per purpose.

Each verb runs in its own scope, for which tenancy.reach.VERBS names the one operation, table and kind of key it may
reach: a verb that is not listed there reaches nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase

from tenancy import tables
from tenancy.data_models import (
    AgentVersion,
    IdentityBinding,
    Key,
    StoredItem,
    Tenant,
    agent_key,
    binding_key,
    bound_partition,
)
from tenancy.errors import OnViolation, TenantAccessViolation
from tenancy.expressions import conditioned
from tenancy.faults import store_faults
from tenancy.ids import AgentName, TenantId
from tenancy.scope import PlatformScope, entered
from tenancy.steps import Page

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import QueryInputTypeDef

T = TypeVar("T", bound=StoredItem)

# More bindings of one tenant than this are not listed.
BINDINGS_LISTED: Final = 100


class PlatformStore:
    """Identity bindings, the list of tenants, agent versions.

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

    async def create_binding(self, binding: IdentityBinding) -> None:
        """Store a binding that is new; raises ConditionFailedError where the application is bound already."""
        await self._put("create_binding", binding, Attr(tables.PARTITION_KEY).not_exists())

    async def delete_binding(self, binding: IdentityBinding) -> None:
        """Remove a binding; raises ConditionFailedError where it is gone or speaks for another by now."""
        with self._acting("delete_binding"):
            await self._client.delete_item(
                TableName=self._prefix + tables.IDENTITY_BINDINGS.name,
                Key=binding.key().to_item(),
                **conditioned(Attr("tenant_id").eq(binding.tenant_id)),
            )

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

    async def promoted_agents(self) -> tuple[AgentVersion, ...]:
        """Return every promoted version of every agent, by name, then by version."""
        wanted: QueryInputTypeDef = {
            "TableName": self._prefix + tables.AGENTS.name,
            "IndexName": tables.CATALOG_INDEX.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": tables.CATALOG_INDEX.partition_key},
            "ExpressionAttributeValues": {":pk": {"S": "CATALOG"}},
        }
        found: list[AgentVersion] = []
        while True:
            with self._acting("promoted_agents"):
                answer = await self._client.query(**wanted)
            found += [AgentVersion.from_item(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return tuple(found)
            wanted["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def agent_version(self, name: AgentName, version: str) -> AgentVersion | None:
        """Return one version of an agent, whatever its state, as last written, or None."""
        return await self._get("agent_version", AgentVersion, agent_key(name, version))

    async def put_agent_version(self, version: AgentVersion) -> None:
        """Store a version, in place of what it was."""
        await self._put("put_agent_version", version)

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
