"""API keys on a whole gateway: what they open, for whom, until when, and that nobody learns of one but its maker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.apikeys import KIND
from tenancy.api_keys import BEGINNING, SECRETS_MAX, hash_of, made, rotated
from tenancy.clock import SystemClock
from tenancy.data_models import ApiKey
from tenancy.errors import ConditionFailedError
from tenancy.ids import TenantId
from tests.conftest import Aws
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; nothing is invoked here."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


async def create(whole: Whole, **fields: object) -> dict[str, object]:
    body = {"label": "import", "reason": "tried"} | fields
    answer = await whole.act("POST", f"/tenants/{whole.tenant_id}/api-keys", body)
    assert answer.status == 201, answer
    return answer.body


async def turn(whole: Whole, key: dict[str, object], verb: str, **fields: object) -> Answered:
    body = {"reason": "tried"} | fields
    return await whole.act("POST", f"/tenants/{whole.tenant_id}/api-keys/{key['id']}/{verb}", body)


async def opened(whole: Whole, secret: object, path: str = "/v1/me") -> Answered:
    async with whole.bearing(str(secret)) as session, session.get(path) as answer:
        return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))


async def test_a_key_speaks_for_its_tenant_with_its_roles(whole: Whole) -> None:
    key = await create(whole)
    me = await opened(whole, key["key"])
    assert (me.status, me.body["principal"], me.body["roles"]) == (200, key["id"], ["Agent.Invoke"])
    assert me.body["tenant"]["id"] == whole.tenant_id  # type: ignore[index]
    for path in ("/v1/agents", "/v1/jobs", "/v1/webhooks"):
        assert (await opened(whole, key["key"], path)).status == 200


async def test_a_key_without_the_role_and_any_key_at_the_operators_door_is_refused(whole: Whole) -> None:
    key = await create(whole, roles=["Agent.Developer"])
    assert (await opened(whole, key["key"], "/v1/jobs")).code == "role_missing"
    assert (await opened(whole, key["key"], "/v1/admin/tenants")).code == "role_missing"


@pytest.mark.parametrize("role", ["Platform.Admin", "Platform.Operator", "Agent.Everything"])
async def test_no_key_is_made_with_a_role_of_the_platforms(whole: Whole, role: str) -> None:
    body = {"label": "import", "reason": "tried", "roles": ["Agent.Invoke", role]}
    answer = await whole.act("POST", f"/tenants/{whole.tenant_id}/api-keys", body)
    assert (answer.status, answer.code) == (422, "fields_invalid")


async def test_a_role_of_the_platforms_in_the_store_counts_for_nothing(whole: Whole, aws: Aws) -> None:
    key = await create(whole)
    await aws.dynamodb.update_item(
        TableName=aws.table_prefix + "key-hashes",
        Key={"pk": {"S": f"KEYHASH#{hash_of(str(key['key']))}"}, "sk": {"S": "METADATA"}},
        UpdateExpression="SET #roles = :roles",
        ExpressionAttributeNames={"#roles": "roles"},
        ExpressionAttributeValues={":roles": {"L": [{"S": "Platform.Admin"}, {"S": "Agent.Invoke"}]}},
    )
    assert (await opened(whole, key["key"])).body["roles"] == ["Agent.Invoke"]
    assert (await opened(whole, key["key"], "/v1/admin/tenants")).code == "role_missing"


async def test_a_key_never_opens_another_tenant(whole: Whole) -> None:
    key = await create(whole)
    headers = {"X-Tenant-Id": "globex"}
    async with whole.bearing(str(key["key"])) as session, session.get("/v1/me", headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "tenant_mismatch")
    for verb in ("rotate", "revoke"):
        elsewhere = await whole.act("POST", f"/tenants/globex/api-keys/{key['id']}/{verb}", {"reason": "x"})
        assert elsewhere.status == 404
    assert (await opened(whole, key["key"])).status == 200


async def test_whatever_is_no_key_is_refused_alike(whole: Whole) -> None:
    key = await create(whole)
    secret = str(key["key"])
    almost = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    wrong = [almost, secret[:-1], secret + "0", secret.replace("live_", "live_u"), BEGINNING, BEGINNING + "0" * 60]
    answers = [await opened(whole, one) for one in wrong]
    assert {(answer.status, answer.code, answer.body["detail"]) for answer in answers} == {
        (401, "api_key_unknown", "The API key is not known, or was revoked.")
    }
    for one in (secret.upper(), hash_of(secret), str(key["id"])):
        assert (await opened(whole, one)).code == "token_malformed"


async def test_a_revoked_key_opens_nothing_and_looks_as_if_it_had_never_been(whole: Whole) -> None:
    key = await create(whole)
    assert (await opened(whole, key["key"])).status == 200
    revoked = await turn(whole, key, "revoke")
    assert (revoked.status, revoked.body["status"]) == (200, "revoked")
    refused, never = await opened(whole, key["key"]), await opened(whole, BEGINNING + "0" * 60)
    assert (refused.status, refused.code, refused.body["detail"]) == (401, "api_key_unknown", never.body["detail"])
    assert (await turn(whole, key, "revoke")).status == 200
    assert (await turn(whole, key, "rotate")).code == "api_key_revoked"


async def test_a_rotated_key_has_two_secrets_until_the_overlap_is_over(whole: Whole) -> None:
    key = await create(whole)
    new = (await turn(whole, key, "rotate", overlapSeconds=600)).body
    assert (new["id"], new["status"]) == (key["id"], "rotating")
    assert [one["prefix"] for one in new["retiring"]] == [key["prefix"]]  # type: ignore[attr-defined]
    assert {(await opened(whole, one["key"])).status for one in (key, new)} == {200}
    assert (await turn(whole, key, "revoke")).status == 200
    assert {(await opened(whole, one["key"])).code for one in (key, new)} == {"api_key_unknown"}


async def test_without_overlap_the_former_secret_ends_at_once(whole: Whole) -> None:
    key = await create(whole)
    assert (await opened(whole, key["key"])).status == 200
    new = (await turn(whole, key, "rotate", overlapSeconds=0)).body
    assert new["status"] == "active"
    assert (await opened(whole, key["key"])).code == "api_key_unknown"
    assert (await opened(whole, new["key"])).status == 200


async def test_an_overlap_that_is_over_is_over_also_for_a_copy(whole: Whole) -> None:
    key = await create(whole)
    await turn(whole, key, "rotate", overlapSeconds=600)
    keys = whole.process.parts.access.authenticator.api_keys
    assert (await keys.principal(str(key["key"]))).tenant_id == whole.tenant_id
    keys._now = lambda: SystemClock().now() + timedelta(seconds=601)
    assert (await opened(whole, key["key"])).code == "api_key_expired"


@pytest.mark.parametrize("overlap", [-1, 604_801, "1h", 0.5])
async def test_an_overlap_is_at_most_seven_days(whole: Whole, overlap: object) -> None:
    key = await create(whole)
    answer = await turn(whole, key, "rotate", overlapSeconds=overlap)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/overlapSeconds")  # type: ignore[index]


async def test_a_key_of_a_suspended_tenant_opens_nothing(whole: Whole) -> None:
    key = await create(whole)
    await whole.act("POST", f"/tenants/{whole.tenant_id}/suspend", {"reason": "unpaid"})
    assert (await opened(whole, key["key"])).code == "tenant_suspended"


async def test_a_secret_is_in_one_answer_and_in_no_log_list_audit_or_replay(whole: Whole, aws: Aws) -> None:
    url = f"{whole.url}/v1/admin/tenants/{whole.tenant_id}/api-keys"
    body, headers = {"label": "import", "reason": "tried"}, {"Idempotency-Key": "once"}
    with capture_logs() as lines:
        async with whole.operator.post(url, json=body, headers=headers) as answer:
            first = await answer.json()
        secret = str(first.pop("key"))
        async with whole.operator.post(url, json=body, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (201, first)
        await opened(whole, secret)
        await opened(whole, secret[:-1])
        await turn(whole, first, "revoke")
        await opened(whole, secret)
        told = await whole.act("GET", "/audit", None, tenant=whole.tenant_id)
        shown = await whole.act("GET", f"/tenants/{whole.tenant_id}/api-keys")
    held = [
        str((await aws.dynamodb.scan(TableName=aws.table_prefix + table))["Items"])
        for table in ("api-keys", "key-hashes", "audit", "idempotency")
    ]
    assert len(told.body["items"]) == 2  # type: ignore[arg-type]
    assert [place for place in (str(lines), str(told), str(shown), *held) if secret[16:] in place] == []
    assert hash_of(secret) not in str(told) + str(shown) + str(lines)


async def test_keys_are_found_by_how_their_secrets_begin(whole: Whole) -> None:
    one, other = await create(whole), await create(whole)
    new = (await turn(whole, one, "rotate")).body
    path = f"/tenants/{whole.tenant_id}/api-keys"

    async def found(prefix: object) -> list[object]:
        answer = await whole.act("GET", path, None, prefix=str(prefix))
        return [key["id"] for key in answer.body["items"]]  # type: ignore[attr-defined]

    assert await found(one["prefix"]) == await found(new["prefix"]) == [one["id"]]
    assert await found("lg_live_") == [other["id"], one["id"]]
    assert (await whole.act("GET", path, None, prefix="x")).status == 422
    page = await whole.act("GET", path, None, limit="1")
    rest = await whole.act("GET", path, None, limit="1", cursor=str(page.body["nextCursor"]))
    assert [key["id"] for key in (*page.body["items"], *rest.body["items"])] == [other["id"], one["id"]]  # type: ignore[misc]


async def test_a_change_from_an_older_state_is_refused(whole: Whole) -> None:
    key = await create(whole)
    stored = await whole.stores.db(whole.tenant_id).get(ApiKey, ApiKey.key_of(whole.tenant_id, str(key["id"])))
    assert stored is not None
    new = (await turn(whole, key, "rotate", overlapSeconds=0)).body
    late, _ = rotated(stored, timedelta(0), SystemClock().now())
    with pytest.raises(ConditionFailedError):
        await whole.process.parts.admin.api_keys.acts.store_api_key(late, (), seen=stored)
    assert (await opened(whole, new["key"])).status == 200


async def test_a_use_is_written_now_and_then_and_told(whole: Whole) -> None:
    key = await create(whole)
    path = f"/tenants/{whole.tenant_id}/api-keys/{key['id']}"
    assert "lastUsedAt" not in (await whole.act("GET", path)).body
    await opened(whole, key["key"])
    uses = whole.process.parts.access.authenticator.api_keys.uses
    await uses.write()
    first = (await whole.act("GET", path)).body["lastUsedAt"]
    await opened(whole, key["key"])
    await uses.write()
    assert (await whole.act("GET", path)).body["lastUsedAt"] == first


async def test_word_of_a_change_drops_the_copy_of_that_key_alone(whole: Whole) -> None:
    key, other = [hash_of(str((await create(whole))["key"])) for _ in range(2)]
    copies = whole.process.parts.access.authenticator.api_keys.copies
    for one in (key, other):
        await copies.get(one)
    await whole.process.parts.admin.api_keys.changes.publish(KIND, key)
    async with asyncio.timeout(10):
        while copies.peek(key) is not None:
            await asyncio.sleep(0)
    assert copies.peek(other) is not None


def test_a_key_keeps_no_more_than_a_few_former_secrets() -> None:
    now = SystemClock().now()
    key, _ = made(TenantId("acme"), "x", ["Agent.Invoke"], now)
    for _ in range(5):
        key, _ = rotated(key, timedelta(days=7), now)
    assert len(key.secrets) == SECRETS_MAX == len(key.hashes())
    first, *former = key.secrets
    assert first.until_at is None
    assert {one.until_at for one in former} == {now + timedelta(days=7)}
    shorter, _ = rotated(key, timedelta(hours=1), now)
    assert {one.until_at for one in shorter.secrets[1:]} == {now + timedelta(hours=1)}
