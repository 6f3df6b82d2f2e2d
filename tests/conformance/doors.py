"""Both doors over one store, a server's or one in memory, and what may befall a call on its way there."""

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Never

from botocore.config import Config

from tenancy.errors import TenantAccessViolation
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tests.chaos.proxy import Call, Loss, Proxy
from tests.conftest import Aws
from tests.jobs.memory.items import Items
from tests.jobs.memory.world import Kind, Process, platform_of, stores_of
from tests.tenancy.faults import error, faulty

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

_ON_THE_WIRE: Final = {
    Kind.FAILED: Loss.REQUEST_CUT,
    Kind.UNHEARD: Loss.ANSWER_CUT,
    Kind.REPEATED: Loss.ANSWER_CUT,
}


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors as one process has them."""

    stores: TenantStores
    platform: PlatformStore


class Ground(ABC):
    """A store."""

    @abstractmethod
    def doors(self) -> Doors:
        """Return doors that nothing befalls."""

    @abstractmethod
    def befallen(self, kind: Kind) -> AbstractAsyncContextManager[Doors]:
        """Return doors whose first call meets this: it is not made, or not heard of, or repeated unheard."""


class MemoryGround(Ground):
    """A store in memory."""

    def __init__(self) -> None:
        self._items = Items()

    def doors(self) -> Doors:
        return Doors(stores_of(self._items), platform_of(self._items))

    @asynccontextmanager
    async def befallen(self, kind: Kind) -> AsyncIterator[Doors]:
        process = Process(kind, at=1)
        yield Doors(stores_of(self._items, process), platform_of(self._items, process))


class ServerGround(Ground):
    """A server's store; what befalls a call befalls it on the wire, and botocore does the rest."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def doors(self) -> Doors:
        return self._over(self._aws.dynamodb)

    @asynccontextmanager
    async def befallen(self, kind: Kind) -> AsyncIterator[Doors]:
        if kind is Kind.CONFLICT:
            # No server refuses so because it is told to.
            refusal = error(400, "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}])
            async with faulty(self._aws, refusal) as refusing:
                yield self._over(refusing.dynamodb)
            return

        def once(_: Call) -> None:
            proxy.loses = {}

        proxy = Proxy(self._aws.dynamodb.meta.endpoint_url, random.Random(), once)  # noqa: S311 - all or none is lost
        proxy.loses = {_ON_THE_WIRE[kind]: 1.0}
        config = Config(retries={"total_max_attempts": 2 if kind is Kind.REPEATED else 1})
        async with (
            proxy.running(),
            self._aws.session.client("dynamodb", endpoint_url=proxy.url, config=config) as dynamodb,
        ):
            yield self._over(dynamodb)

    def _over(self, client: "DynamoDBClient") -> Doors:
        prefix = self._aws.table_prefix
        stores = TenantStores(client, self._aws.s3, table_prefix=prefix, bucket="none", on_violation=_refuse)
        return Doors(stores, PlatformStore(client, table_prefix=prefix, on_violation=_refuse))


def _refuse(violation: TenantAccessViolation) -> Never:
    raise violation
