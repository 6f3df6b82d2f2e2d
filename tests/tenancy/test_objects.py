"""The objects' door, alone: over an unguarded client on the real store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import aiohttp
import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from tenancy import objects
from tenancy.errors import StoreUnavailableError, TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.objects import TenantScopedS3
from tenancy.scope import PlatformScope, Scope, TenantScope, active_scope, entered
from tenancy.store import TenantStores
from tests.conftest import Aws
from tests.tenancy.faults import Answer, faulty, hang_up, text
from tests.tenancy.samples import Violations, stores

pytestmark = pytest.mark.stack

Attack: TypeAlias = Callable[[TenantScopedS3, str], Awaitable[object]]

ATTACKS: dict[str, Attack] = {
    "put": lambda s3, key: s3.put(key, b"x", "text/plain"),
    "get": lambda s3, key: s3.get(key),
    "list": lambda s3, key: s3.list(key),
    "delete": lambda s3, key: s3.delete(key),
    "presign": lambda s3, key: s3.presign_get(key, 60),
    "copy from": lambda s3, key: s3.copy(key, "tenants/{own}/target"),
    "copy to": lambda s3, key: s3.copy("tenants/{own}/secret", key),
}
# Forms of {victim}'s key, or of one's own that some server could read as another.
KEYS = [
    "tenants/{victim}/secret",
    "tenants/{own}",
    "tenants/",
    "",
    "/tenants/{own}/secret",
    "tenants/{own}/../{victim}/secret",
    "tenants/{own}/./secret",
    "tenants/{own}//secret",
    "tenants/{own}/%2e%2e/{victim}/secret",
    "tenants/{own}/..%2f{victim}/secret",
    "tenants/{own}/a\nb",
    "tenants/{own}/a\x00b",
    "tenants/{own}/a%0Ab",
    "tenants/{own}/..\\{victim}\\secret",
    "TENANTS/{own}/secret",
    "tenants%2F{own}%2Fsecret",
]


@pytest.fixture
def violations() -> Violations:
    return Violations()


@pytest.fixture
def doors(aws: Aws, violations: Violations) -> TenantStores:
    return stores(aws, violations)


@pytest.fixture
def own(tenant_id: Callable[[], TenantId]) -> TenantId:
    return tenant_id()


@pytest.fixture
def victim(own: TenantId) -> TenantId:
    """A tenant whose id begins with the whole of the other's."""
    return TenantId(own + "1")


async def test_an_object_put_is_read_copied_listed_and_deleted(doors: TenantStores, own: TenantId) -> None:
    s3, prefix = doors.s3(own), f"tenants/{own}/"
    await s3.put(prefix + "jobs/1/ä b+%.json", b"{}", "application/json")
    await s3.copy(prefix + "jobs/1/ä b+%.json", prefix + "jobs/2/out")
    assert await s3.get(prefix + "jobs/2/out") == b"{}"
    assert await s3.list(prefix) == [prefix + "jobs/1/ä b+%.json", prefix + "jobs/2/out"]
    assert await s3.list(prefix + "jobs/2/") == [prefix + "jobs/2/out"]
    assert await s3.list(prefix + "jobs/2") == [prefix + "jobs/2/out"]
    await s3.delete(prefix + "jobs/2/out")
    assert await s3.get(prefix + "jobs/2/out") is None


async def test_a_list_goes_on_past_the_stores_first_page(doors: TenantStores, own: TenantId, aws: Aws) -> None:
    keys = [f"tenants/{own}/{number:04}" for number in range(3)]
    for key in keys:
        await doors.s3(own).put(key, b"", "text/plain")
    # The store's pages hold 1,000 keys; here one is enough to turn the page.
    aws.s3.meta.events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 1})
    assert await doors.s3(own).list(f"tenants/{own}/") == keys


async def test_a_signed_url_reads_the_object_and_nothing_else(doors: TenantStores, own: TenantId) -> None:
    key = f"tenants/{own}/result"
    await doors.s3(own).put(key, b"result", "text/plain")
    url = await doors.s3(own).presign_get(key, 60)
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert await answer.read() == b"result"
        async with session.get(url.replace("/result?", "/other?")) as answer:
            assert answer.status == 403


@pytest.mark.parametrize("name", [*ATTACKS])
async def test_the_door_alone_refuses_keys_that_are_not_the_tenants(
    doors: TenantStores, violations: Violations, own: TenantId, victim: TenantId, aws: Aws, name: str
) -> None:
    await doors.s3(own).put(f"tenants/{own}/secret", b"own", "text/plain")
    await doors.s3(victim).put(f"tenants/{victim}/secret", b"theirs", "text/plain")
    own_door = Filled(aws, own, violations)
    for form in KEYS:
        violations.clear()
        with pytest.raises(TenantAccessViolation) as refused:
            await ATTACKS[name](own_door, form.format(own=own, victim=victim))
        assert (refused.value.layer, refused.value.tenant_id, refused.value.resource) == ("door", own, aws.bucket)
        assert violations == [refused.value]
        assert victim not in str(refused.value)
    assert await doors.s3(victim).list(f"tenants/{victim}/") == [f"tenants/{victim}/secret"]
    assert await doors.s3(victim).get(f"tenants/{victim}/secret") == b"theirs"


class Filled(TenantScopedS3):
    """A door that knows the names the table of attacks leaves open."""

    def __init__(self, aws: Aws, own: TenantId, violations: Violations) -> None:
        super().__init__(aws.s3, own, bucket=aws.bucket, on_violation=violations)
        self._own = own

    async def copy(self, source: str, target: str) -> None:
        await super().copy(source.format(own=self._own), target.format(own=self._own))


async def test_a_task_that_acts_for_another_cannot_use_the_door(
    doors: TenantStores, violations: Violations, own: TenantId, victim: TenantId
) -> None:
    scopes: list[Scope] = [TenantScope(victim), PlatformScope("binding")]
    for scope in scopes:
        violations.clear()
        with entered(scope), pytest.raises(TenantAccessViolation, match="another scope") as refused:
            await doors.s3(own).get(f"tenants/{own}/secret")
        assert violations == [refused.value]


async def test_the_door_leaves_no_scope_behind(doors: TenantStores, own: TenantId) -> None:
    await doors.s3(own).get(f"tenants/{own}/secret")
    assert active_scope() is None


@pytest.mark.parametrize(
    "answer",
    [text(503, "<Error><Code>SlowDown</Code></Error>"), text(500, ""), text(200, "<not", "text/xml"), hang_up],
)
async def test_a_fault_of_the_store_is_one_that_may_pass(aws: Aws, own: TenantId, answer: Answer) -> None:
    async with faulty(aws, answer) as store:
        with pytest.raises(StoreUnavailableError):
            await store.doors.s3(own).list(f"tenants/{own}/")


def half(_: bytes) -> web.Response:
    response = web.Response(body=b"half", headers={"Content-Length": "8"})
    response.force_close()
    return response


def garbled(_: bytes) -> web.Response:
    return web.Response(body=b"garbled", headers={"x-amz-checksum-crc32": "AAAAAA=="})


@pytest.mark.parametrize("answer", [half, garbled])
async def test_a_body_that_does_not_arrive_whole_is_a_fault_that_may_pass(
    aws: Aws, own: TenantId, answer: Answer
) -> None:
    async with faulty(aws, answer) as store:
        with pytest.raises(StoreUnavailableError):
            await store.doors.s3(own).get(f"tenants/{own}/secret")


async def test_a_put_that_the_store_never_lets_begin_is_a_fault_that_may_pass(
    aws: Aws, own: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PUT_LIMIT_S", 0.5)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Never `100 Continue`: the client waits for it without end.
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with aws.session.client("s3", endpoint_url=url) as s3:
            doors = TenantStores(
                aws.dynamodb, s3, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=Violations()
            )
            async with asyncio.timeout(30):
                with pytest.raises(StoreUnavailableError):
                    await doors.s3(own).put(f"tenants/{own}/large", b"x" * 40_000, "text/plain")


async def test_a_refusal_by_aws_is_a_bug_and_stays_one(aws: Aws, own: TenantId) -> None:
    async with faulty(aws, text(403, "<Error><Code>AccessDenied</Code></Error>")) as store:
        with pytest.raises(ClientError, match="AccessDenied"):
            await store.doors.s3(own).get(f"tenants/{own}/secret")
