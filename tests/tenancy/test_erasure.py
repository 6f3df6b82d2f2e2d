"""Erasing a tenant on a real store: nothing of it is left, nothing else is touched, and no death on the way matters."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import orjson
import pytest
from redis.asyncio import Redis

from tenancy import client_guard, tables
from tenancy.chain import AuditChain
from tenancy.changes import ChangeFeed
from tenancy.clock import SystemClock
from tenancy.data_models import Erasure, Item, Key, KeyHash, ReleaseState
from tenancy.erasure import Eraser, certificate, certified
from tenancy.errors import StoreUnavailableError, TenantBusyError, TenantKeptError, TenantStateError
from tenancy.estate import PLACES, Estate
from tenancy.ids import KeyId, TenantId
from tenancy.keys import budget_key, rate_key, tool_rate_key
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore
from tenancy.registry import TenantRegistry
from tenancy.scope import TenantScope, entered
from tenancy.store import TenantStores
from tenancy.tables import Table
from tests.conftest import Aws
from tests.tenancy import samples

pytestmark = pytest.mark.stack

FOREVER_S = 1e12
JOBS = 60


@dataclass(frozen=True, slots=True)
class Ground:
    """Stores, what erases on them, and a tenant that has something everywhere, deleted."""

    aws: Aws
    redis: Redis
    stores: TenantStores
    platform: PlatformStore
    acts: PlatformActs
    eraser: Eraser
    owner: TenantId

    async def settle(self, owner: TenantId) -> None:
        """Give a tenant something in every table, in S3 and Redis, and of the platform's own."""
        door = self.stores.db(owner)
        await door.put(samples.tenant(owner))
        await self.eraser.chain.append(samples.audit_event(owner))
        for _ in range(JOBS):
            await door.put(samples.job(owner).model_copy(update={"status": "succeeded"}))
        for table in tables.TENANT_TABLES:
            named: Item = {"pk": {"S": f"TENANT#{owner}"}, "sk": {"S": "ANY#1"}, "tenant_id": {"S": owner}}
            with entered(TenantScope(owner)):
                await self.aws.dynamodb.put_item(TableName=self.aws.table_prefix + table.name, Item=named)
        for number in range(3):
            await self.stores.s3(owner).put(f"tenants/{owner}/jobs/{number}/input.json", b"{}", "application/json")
        for state in (ReleaseState.PROMOTED, ReleaseState.BUILT):
            mine = samples.version(f"{state.value}-{owner[::-1]}", state=state)
            await self.platform.put_agent_version(mine.model_copy(update={"owner": owner}))
        await self.platform.put_binding(samples.binding("https://a.example", f"d-{owner[::-1]}", "c", owner))
        hashed = KeyHash(sha256=owner[::-1], tenant_id=owner, key_id=KeyId("key_1"), roles=frozenset())
        with entered(TenantScope(owner)):
            pass
        await self.put_platform(hashed.TABLE, hashed.to_item())
        for key in (budget_key(owner, "2026-03"), rate_key(owner), tool_rate_key(owner, self.owner)):
            await self.redis.set(key, 1)

    async def put_platform(self, table: Table, item: Item) -> None:
        """Store an item of the platform's as it stands."""
        async with self.aws.session.client("dynamodb", endpoint_url=self.aws.dynamodb.meta.endpoint_url) as raw:
            await raw.put_item(TableName=self.aws.table_prefix + table.name, Item=item)

    async def begun(self) -> Erasure:
        """Begin to erase the tenant."""
        await self.eraser.registry.delete(self.owner, "contract ended")
        new = await self.eraser.begun(self.owner, "someone", "tried", "req", force=True)
        await self.acts.store_erasure(new, (), seen=None)
        return new

    async def stored(self, *, naming: bool) -> dict[tuple[str, str], bytes]:
        """Return what names the tenant of all that is stored, or else all the rest, byte for byte."""
        names = re.compile(rb"(?<![a-z0-9-])" + self.owner.encode() + rb"(?![a-z0-9-])")
        found: dict[tuple[str, str], bytes] = {}
        async with self.aws.session.client("dynamodb", endpoint_url=self.aws.dynamodb.meta.endpoint_url) as raw:
            for table in set(tables.TABLES) - {tables.ERASURES}:
                async for page in raw.get_paginator("scan").paginate(TableName=self.aws.table_prefix + table.name):
                    for item in page["Items"]:
                        text = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
                        found[table.name, item["pk"]["S"] + item["sk"]["S"]] = text
        async with self.aws.session.client("s3", endpoint_url=self.aws.endpoint_url) as raw:
            async for page in raw.get_paginator("list_objects_v2").paginate(Bucket=self.aws.bucket):
                for entry in page.get("Contents", []):
                    found["objects", entry["Key"]] = f"{entry['Key']} {entry['ETag']}".encode()
        for key in await self.redis.keys("lockgate:*"):
            # Of another tenant, for a tool that happens to be called so.
            own = b"lockgate:tool-rate:%b:" % self.owner.encode()
            theirs = key.startswith(b"lockgate:tool-rate:") and not key.startswith(own)
            found["redis", key.decode()] = b"" if theirs else key
        return {place: text for place, text in found.items() if (names.search(text) is not None) is naming}

    def erasing(self, estate: Estate) -> Eraser:
        """Return the eraser of another process, with an estate of its own."""
        return replace(self.eraser, estate=estate)

    def estate(self, kind: type[Estate] = Estate) -> Estate:
        """Return an estate over the same stores."""
        aws = self.aws
        return kind(
            aws.dynamodb, aws.s3, self.redis, table_prefix=aws.table_prefix, bucket=aws.bucket, clock=SystemClock()
        )


@pytest.fixture
async def ground(fresh_aws: Aws, redis_url: str, tenant_id: Callable[[], TenantId]) -> AsyncIterator[Ground]:
    aws, violations, clock = fresh_aws, samples.Violations(), SystemClock()
    stores = samples.stores(aws, violations)
    platform = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=violations)
    acts = PlatformActs(aws.dynamodb, table_prefix=aws.table_prefix)
    for client in (aws.dynamodb, aws.s3):
        client_guard.install(client, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=violations)
    async with Redis.from_url(redis_url) as redis:
        registry = TenantRegistry(stores, ChangeFeed(redis, clock=clock), clock=clock)
        estate = Estate(aws.dynamodb, aws.s3, redis, table_prefix=aws.table_prefix, bucket=aws.bucket, clock=clock)

        async def nothing(_: TenantId) -> None:
            pass

        eraser = Eraser(estate, registry, platform, AuditChain(stores, clock), nothing, clock, timedelta())
        made = Ground(aws, redis, stores, platform, acts, eraser, tenant_id())
        await made.settle(made.owner)
        yield made
        await registry.aclose()
    assert violations == []


async def test_nothing_is_left_of_a_tenant_and_nothing_else_is_touched(ground: Ground) -> None:
    # Whose name begins as the other's does.
    await ground.settle(TenantId(f"{ground.owner}1"))
    promoted = samples.version(f"promoted-{ground.owner[::-1]}")
    erasure = await ground.begun()
    before = await ground.stored(naming=False)
    erasure, clean = await ground.eraser.advance(erasure, until_s=FOREVER_S)
    assert clean
    assert await ground.stored(naming=True) == {}
    # What was released stays, and does not say any more whose it was.
    kept = ("agents", f"AGENT#{promoted.name}VERSION#1.0.0")
    after = await ground.stored(naming=False)
    assert after.pop(kept) == orjson.dumps(promoted.to_item(), option=orjson.OPT_SORT_KEYS)
    assert dict(after.items() ^ before.items()) == {}
    counts = {part.place: part.items for part in erasure.found}
    assert counts == {table.name: 1 for table in tables.TENANT_TABLES} | {
        "tenants": 2,
        "jobs": JOBS + 1,
        "audit": 3,
        "identity-bindings": 1,
        "key-hashes": 1,
        "agents": 2,
        "objects": 3,
        "redis": 3,
    }


async def test_a_certificate_says_what_was_found_where_was_searched_and_where_the_chain_ended(ground: Ground) -> None:
    erasure, _ = await ground.eraser.advance(await ground.begun(), until_s=FOREVER_S)
    said = certificate(certified(erasure, samples.NOW))
    assert said["searched"] == [*map(str, PLACES), "objects", "redis"]
    assert (said["remaining"], said["forced"], said["erasedAt"]) == (0, True, "2026-03-01T12:00:00.000Z")
    assert said["auditChain"] == {"events": 1, "sha256": erasure.chain_sha256}
    changed = erasure.model_copy(update={"reason": "another"})
    assert certificate(certified(changed, samples.NOW))["sha256"] != said["sha256"]


class Mortal(Estate):
    """Dies at every removal but each third one, after it is done; whoever comes after it counts on."""

    removals = 0

    async def remove(self, tenant_id: TenantId, table: Table, found: Sequence[Key]) -> None:
        await super().remove(tenant_id, table, found)
        Mortal.removals += 1
        if Mortal.removals % 3:
            raise StoreUnavailableError


async def test_an_erasure_that_dies_between_batches_goes_on_where_it_was(ground: Ground) -> None:
    erasure, clean, deaths = await ground.begun(), False, 0
    while not clean:
        try:
            erasure, clean = await ground.erasing(ground.estate(Mortal)).advance(erasure, until_s=FOREVER_S)
        except StoreUnavailableError:
            deaths += 1
    assert deaths >= 8
    assert await ground.stored(naming=True) == {}
    assert {part.place: part.items for part in erasure.found}["jobs"] == JOBS + 1


async def test_an_erasure_goes_on_however_little_time_each_request_has(ground: Ground) -> None:
    erasure = await ground.begun()
    for _ in range(25):
        erasure, clean = await ground.eraser.advance(erasure, until_s=0.0)
        assert not clean
        # Each knows how far the one before it came from what is stored.
        assert await ground.platform.erasure(ground.owner) == erasure
    assert erasure.surveyed > 0
    erasure, clean = await ground.eraser.advance(erasure, until_s=FOREVER_S)
    assert clean
    assert await ground.stored(naming=True) == {}


class Haunted(Estate):
    """Has something written to the tenant once all is removed, by who was held up for that long."""

    haunted = False

    async def survey(self, tenant_id: TenantId, place: object, start: Key | None) -> tuple[list[Key], Key | None]:
        if not self.haunted:
            self.haunted = True
            late: Item = {"pk": {"S": f"TENANT#{tenant_id}"}, "sk": {"S": "EVENT#late"}, "tenant_id": {"S": tenant_id}}
            with entered(TenantScope(tenant_id)):
                await self._dynamodb.put_item(TableName=self._prefix + tables.OUTBOX.name, Item=late)
        return await super().survey(tenant_id, place, start)  # type: ignore[arg-type]


async def test_what_is_written_late_is_found_before_there_is_an_end(ground: Ground) -> None:
    _, clean = await ground.erasing(ground.estate(Haunted)).advance(await ground.begun(), until_s=FOREVER_S)
    assert clean
    assert await ground.stored(naming=True) == {}


async def test_an_erasure_begins_only_where_nothing_runs_and_the_grace_is_over(ground: Ground) -> None:
    async def begin(*, force: bool) -> Erasure:
        return await ground.eraser.begun(ground.owner, "someone", "tried", "req", force=force)

    with pytest.raises(TenantStateError):
        await begin(force=True)
    await ground.eraser.registry.delete(ground.owner, "contract ended")
    with pytest.raises(TenantKeptError):
        await begin(force=False)
    with pytest.raises(TenantBusyError):
        await replace(ground.eraser, quiet=timedelta(minutes=1)).begun(ground.owner, "a", "b", "c", force=True)
    running = samples.job(ground.owner)
    await ground.stores.db(ground.owner).put(running)
    with pytest.raises(TenantBusyError):
        await begin(force=True)
    await ground.stores.db(ground.owner).delete(type(running), running.key())
    await ground.eraser.registry.restore(ground.owner, "still possible")
    await ground.eraser.registry.delete(ground.owner, "contract ended")
    await begin(force=True)
    with pytest.raises(TenantStateError, match="erasing"):
        await ground.eraser.registry.restore(ground.owner, "too late")
