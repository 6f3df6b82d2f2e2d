"""The audit log and the security events over the Admin API of a whole gateway."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from tenancy.chain import Proof, proven
from tenancy.clock import SystemClock
from tests.conftest import Aws
from tests.gateway.signing import Forge
from tests.gateway.whole import Whole, whole_gateway

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

pytestmark = pytest.mark.stack


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; nothing is invoked here."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


async def done(whole: Whole, *verbs: str) -> None:
    for verb in verbs:
        answer = await whole.act("POST", f"/tenants/{whole.tenant_id}/{verb}", {"reason": f"to {verb}"})
        assert answer.status == 200, answer


async def listed(whole: Whole, path: str = "/audit", **query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    while True:
        answer = await whole.act("GET", path, None, tenant=whole.tenant_id, **query)
        assert answer.status == 200, answer
        items = answer.body["items"]
        assert isinstance(items, list)
        found += items
        if "nextCursor" not in answer.body:
            return found
        query["cursor"] = str(answer.body["nextCursor"])


async def exported(whole: Whole, *, everything: bool = False) -> list[dict[str, object]]:
    url = f"{whole.url}/v1/admin/audit/export"
    async with whole.operator.get(url, params={} if everything else {"tenant": whole.tenant_id}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
        return [orjson.loads(line) for line in (await answer.read()).splitlines()]


async def test_every_act_is_told_with_who_what_why_and_what_was_before(whole: Whole) -> None:
    await done(whole, "suspend", "reinstate")
    changed = {"tier": "premium", "limits": {"runningJobs": 7}, "reason": "upgrade"}
    answer = await whole.act("PATCH", f"/tenants/{whole.tenant_id}", changed)
    updated, reinstated, suspended = await listed(whole)
    assert [act["operation"] for act in (suspended, reinstated)] == ["tenant.suspend", "tenant.reinstate"]
    assert updated["requestId"] in answer.headers.values()
    assert (updated["before"], updated["after"]) == (
        {"tier": "standard", "limits.running_jobs": None},
        {"tier": "premium", "limits.running_jobs": 7},
    )
    assert (updated["reason"], updated["outcome"], updated["actingTenant"]) == ("upgrade", "allowed", None)
    assert (updated["targetTenant"], updated["seq"]) == (whole.tenant_id, 3)


async def test_what_changes_nothing_or_is_refused_is_not_told(whole: Whole) -> None:
    await done(whole, "suspend", "suspend")
    stale = await whole.act("PATCH", f"/tenants/{whole.tenant_id}", {"tier": "basic", "version": 0, "reason": "x"})
    assert stale.code == "tenant_changed"
    assert len(await listed(whole)) == 1


async def test_the_same_act_under_one_key_is_done_and_told_once(whole: Whole) -> None:
    url = f"{whole.url}/v1/admin/tenants/{whole.tenant_id}/suspend"
    for replayed in (None, "true"):
        async with whole.operator.post(url, json={"reason": "x"}, headers={"Idempotency-Key": "k"}) as answer:
            assert (answer.status, answer.headers.get("Idempotency-Replayed")) == (200, replayed)
    await done(whole, "reinstate")
    async with whole.operator.post(url, json={"reason": "x"}, headers={"Idempotency-Key": "k"}) as answer:
        assert answer.headers["Idempotency-Replayed"] == "true"
    assert [act["operation"] for act in await listed(whole)] == ["tenant.reinstate", "tenant.suspend"]


async def test_the_key_of_one_operator_answers_no_other(whole: Whole) -> None:
    url = f"{whole.url}/v1/admin/tenants/{whole.tenant_id}/suspend"
    keyed = {"Idempotency-Key": f"k{whole.tenant_id}"}
    async with whole.operator.post(url, json={"reason": "x"}, headers=keyed) as answer:
        assert answer.status == 200
    await done(whole, "reinstate")
    application, colleague = f"o{str(whole.tenant_id)[1:]}", "0b0b0b0b-0000-4000-8000-0000000000ff"
    forge = Forge(whole.authority, SystemClock().now())
    token = forge.token(None, azp=application, roles=["Platform.Operator"], oid=colleague)
    async with whole.bearing(token) as session, session.post(url, json={"reason": "x"}, headers=keyed) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (422, "idempotency_key_reused")


async def test_the_list_is_filtered_and_goes_on_where_it_ended(whole: Whole) -> None:
    await done(whole, "suspend", "reinstate", "suspend", "reinstate")
    assert [act["seq"] for act in await listed(whole, limit="1")] == [4, 3, 2, 1]
    assert [act["seq"] for act in await listed(whole, operation="tenant.suspend")] == [3, 1]
    actor = str((await listed(whole))[0]["actor"])
    assert len(await listed(whole, actor=actor)) == 4
    assert await listed(whole, actor="nobody") == []
    third = str((await listed(whole))[1]["at"])
    assert [act["seq"] for act in await listed(whole, **{"from": third})] == [4, 3]
    assert [act["seq"] for act in await listed(whole, to=third)] == [2, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", "yesterday"),
        ("to", "2025-01-01T00:00:00"),
        ("to", "0001-01-01T00:00:00+14:00"),
        ("cursor", "x"),
        ("tenant", "NOT ONE"),
    ],
)
async def test_a_query_that_cannot_be_read_is_named(whole: Whole, name: str, value: str) -> None:
    answer = await whole.act("GET", "/audit", None, **{name: value})
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, name)  # type: ignore[index]


async def test_an_export_proves_the_chain_and_shows_what_was_touched(whole: Whole, aws: Aws) -> None:
    await done(whole, "suspend", "reinstate")
    lines = await exported(whole)
    assert proven(lines) == Proof({whole.tenant_id: 2}, ())  # type: ignore[arg-type]
    await aws.dynamodb.update_item(
        TableName=aws.table_prefix + "audit",
        Key={"pk": {"S": f"TENANT#{whole.tenant_id}"}, "sk": {"S": "LINK#000000000001"}},
        UpdateExpression="SET reason = :new",
        ExpressionAttributeValues={":new": {"S": "never mind"}},
    )
    (broken,) = proven(await exported(whole)).breaks  # type: ignore[arg-type]
    assert (broken.chain, broken.seq) == (whole.tenant_id, 1)


async def test_a_chain_is_broken_by_whatever_was_touched_until_it_is_as_it_was(whole: Whole, aws: Aws) -> None:
    await done(whole, "suspend", "reinstate")
    changes: list[tuple[str, dict[str, AttributeValueTypeDef]]] = [
        ("HEAD", {"seq": {"N": "1"}}),
        ("LINK#000000000002", {"seq": {"N": "1"}}),
        ("LINK#000000000002", {"outcome": {"S": "nonsense"}}),
        ("LINK#000000000002", {"tenant_id": {"S": "nobody"}}),
    ]
    for sort, change in changes:
        table, key = aws.table_prefix + "audit", {"pk": {"S": f"TENANT#{whole.tenant_id}"}, "sk": {"S": sort}}
        item = (await aws.dynamodb.get_item(TableName=table, Key=key))["Item"]
        await aws.dynamodb.put_item(TableName=table, Item=item | change)
        breaks = proven(await exported(whole)).breaks  # type: ignore[arg-type]
        assert [broken.chain for broken in breaks] == [whole.tenant_id], change
        await aws.dynamodb.put_item(TableName=table, Item=item)
        assert proven(await exported(whole)).breaks == ()  # type: ignore[arg-type]


async def test_a_chain_without_its_head_is_still_among_all_and_broken(whole: Whole, aws: Aws) -> None:
    await done(whole, "suspend")
    key = {"pk": {"S": f"TENANT#{whole.tenant_id}"}, "sk": {"S": "HEAD"}}
    await aws.dynamodb.delete_item(TableName=aws.table_prefix + "audit", Key=key)
    breaks = proven(await exported(whole, everything=True)).breaks  # type: ignore[arg-type]
    assert whole.tenant_id in {broken.chain for broken in breaks}


async def test_refusals_at_the_door_are_security_events_counted_by_kind(whole: Whole) -> None:
    for _ in range(3):
        async with whole.session.get(f"{whole.url}/v1/admin/tenants") as answer:
            assert answer.status == 403
    whole.process.parts.access.refused.tell()
    since = {"from": (SystemClock().now() - timedelta(minutes=5)).isoformat()}
    found: list[dict[str, object]] = []
    while not found:
        found = await listed(whole, "/security-events", **since)
    assert [(event["reason"], event["outcome"], event["after"]) for event in found] == [
        ("role_missing", "refused", {"times": 3})
    ]
    assert found[0]["actingTenant"] == whole.tenant_id


async def test_a_tenants_principal_sees_nothing_of_it(whole: Whole) -> None:
    for path in ("/v1/admin/audit", "/v1/admin/audit/export", "/v1/admin/security-events"):
        assert (await whole.get(path)).code == "role_missing"
