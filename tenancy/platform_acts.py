"""What operators change of what is the platform's own, each change in one transaction with the event that tells of it.

It is the second door's other half: what it writes is named by a verb of `tenancy.reach`, like all of that door.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from boto3.dynamodb.conditions import Attr, ConditionBase

from tenancy.data_models import AgentVersion, ApiKey, Erasure, IdentityBinding, StoredItem, Tool
from tenancy.expressions import conditioned
from tenancy.faults import store_faults
from tenancy.scope import PlatformScope, entered
from tenancy.steps import NEW, PutStep

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef


class PlatformActs:
    """Every act raises ConditionFailedError where things are not as they were seen, and StoreUnavailableError.

    `links` are the steps of the audit chain (`tenancy.chain`).
    """

    def __init__(self, dynamodb_client: "DynamoDBClient", *, table_prefix: str) -> None:
        self._client = dynamodb_client
        self._prefix = table_prefix

    async def store_agent_version(
        self, version: AgentVersion, links: Sequence[PutStep], *, seen: AgentVersion | None
    ) -> None:
        """Store a version in place of what was seen of it; None is a version that is new."""
        unchanged = NEW if seen is None else Attr("state").eq(seen.state.value)
        await self._transact("store_agent_version", [self._put(version, unchanged)], links)

    async def store_tool(self, tool: Tool, links: Sequence[PutStep], *, seen: Tool | None) -> None:
        """Store a tool in place of what was seen of it; None is a tool that is new."""
        unchanged = NEW if seen is None else Attr("version").eq(seen.version)
        await self._transact("store_tool", [self._put(tool, unchanged)], links)

    async def create_binding(self, binding: IdentityBinding, links: Sequence[PutStep]) -> None:
        """Store a binding of an application that is bound to nobody."""
        await self._transact("store_binding", [self._put(binding, NEW)], links)

    async def delete_binding(self, binding: IdentityBinding, links: Sequence[PutStep]) -> None:
        """Remove a binding that still speaks for the same one."""
        gone = self._delete(binding, Attr("tenant_id").eq(binding.tenant_id))
        await self._transact("store_binding", [gone], links)

    async def store_api_key(self, key: ApiKey, links: Sequence[PutStep], *, seen: ApiKey | None) -> None:
        """Store a key in place of what was seen of it, and the hashes it is looked up by, in place of those it had."""
        unchanged = NEW if seen is None else Attr("version").eq(seen.version)
        hashes = key.hashes()
        kept = {one.sha256 for one in hashes}
        gone = [one for one in (seen.hashes() if seen else ()) if one.sha256 not in kept]
        legs = [self._put(key, unchanged), *(self._put(one) for one in hashes), *(self._delete(one) for one in gone)]
        await self._transact("store_api_key", legs, links)

    async def store_erasure(self, erasure: Erasure, links: Sequence[PutStep], *, seen: Erasure | None) -> None:
        """Store an erasure in place of what was seen of it; None is one that begins."""
        unchanged = NEW if seen is None else Attr("version").eq(seen.version)
        await self._transact("store_erasure", [self._put(erasure, unchanged)], links)

    async def _transact(self, verb: str, legs: "list[TransactWriteItemTypeDef]", links: Sequence[PutStep]) -> None:
        with self._acting(verb):
            await self._client.transact_write_items(
                TransactItems=[*legs, *(self._put(step.item, step.condition) for step in links)]
            )

    def _put(self, item: StoredItem, condition: ConditionBase | None = None) -> "TransactWriteItemTypeDef":
        name = self._prefix + item.TABLE.name
        return {"Put": {"TableName": name, "Item": item.to_item(), **conditioned(condition)}}

    def _delete(self, item: StoredItem, condition: ConditionBase | None = None) -> "TransactWriteItemTypeDef":
        name = self._prefix + item.TABLE.name
        return {"Delete": {"TableName": name, "Key": item.key().to_item(), **conditioned(condition)}}

    @contextmanager
    def _acting(self, verb: str) -> Iterator[None]:
        with entered(PlatformScope(verb)), store_faults():
            yield
