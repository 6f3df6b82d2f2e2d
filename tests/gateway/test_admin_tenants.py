"""Tenants as operators keep them, on a whole gateway: whom to write to, where their data is, and their end."""

import secrets
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from tests.conftest import REGION, Aws
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; its runtime is away."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


async def create(whole: Whole, **fields: object) -> Answered:
    body = {"id": f"t{secrets.token_hex(8)}", "name": "Initech", "tier": "basic"} | fields
    return await whole.act("POST", "/tenants", body)


async def patch(whole: Whole, **fields: object) -> Answered:
    return await whole.act("PATCH", f"/tenants/{whole.tenant_id}", {"reason": "tried"} | fields)


def faults(answer: Answered) -> list[str]:
    return [fault["pointer"] for fault in answer.body["errors"]]  # type: ignore[attr-defined]


async def test_a_tenant_has_its_contacts_and_stands_in_the_home_region(whole: Whole) -> None:
    made = await create(whole, contacts={"technical": "ops@initech.example"}, region=REGION)
    assert (made.status, made.body["region"]) == (201, REGION)
    assert made.body["contacts"] == {"technical": "ops@initech.example", "billing": None, "security": None}
    assert (await create(whole)).body["contacts"] == {"technical": None, "billing": None, "security": None}
    # One from before regions were said.
    assert (await whole.act("GET", f"/tenants/{whole.tenant_id}")).body["region"] == REGION


async def test_contacts_that_are_not_named_stay(whole: Whole) -> None:
    await patch(whole, contacts={"technical": "ops@initech.example", "billing": "money@initech.example"})
    changed = await patch(whole, contacts={"billing": None, "security": "soc@initech.example"})
    wanted = {"technical": "ops@initech.example", "billing": None, "security": "soc@initech.example"}
    assert changed.body["contacts"] == wanted
    trail = await whole.act("GET", "/audit", None, tenant=whole.tenant_id)
    assert trail.body["items"][0]["after"] == {"contacts": wanted}  # type: ignore[index]


async def test_what_is_no_address_is_refused(whole: Whole) -> None:
    for address in ("ops", "ops@", "@initech.example", "ops@initech", "a b@initech.example", "a@b.c\n"):
        answer = await patch(whole, contacts={"billing": address})
        assert (answer.status, faults(answer)) == (422, ["/contacts/billing"]), address


async def test_another_region_is_refused_where_it_is_named(whole: Whole) -> None:
    for answer in (await create(whole, region="eu-central-1"), await patch(whole, region="us-east-1")):
        assert (answer.status, faults(answer)) == (422, ["/region"])
    assert (await patch(whole, region=REGION)).status == 200


async def delete(whole: Whole) -> Answered:
    return await whole.act("DELETE", f"/tenants/{whole.tenant_id}", None, reason="contract ended")


async def turn(whole: Whole, verb: str) -> Answered:
    return await whole.act("POST", f"/tenants/{whole.tenant_id}/{verb}", {"reason": "tried"})


async def test_a_deleted_tenant_is_refused_with_all_its_credentials_until_it_is_restored(whole: Whole) -> None:
    key = await whole.act("POST", f"/tenants/{whole.tenant_id}/api-keys", {"label": "import", "reason": "tried"})
    gone = (await delete(whole)).body
    assert (gone["status"], gone["statusReason"]) == ("deleted", "contract ended")
    grace = datetime.fromisoformat(str(gone["eraseAfter"])) - datetime.fromisoformat(str(gone["deletedAt"]))
    assert grace == timedelta(days=30)
    assert (await delete(whole)).body == gone
    async with whole.bearing(str(key.body["key"])) as session, session.get("/v1/me") as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "tenant_deleted")
    for refused in (await whole.sync(), await whole.get("/v1/jobs"), await whole.get("/v1/me")):
        assert (refused.status, refused.code) == (403, "tenant_deleted")
    back = await turn(whole, "restore")
    assert (back.body["status"], back.body["eraseAfter"], back.body["deletedAt"]) == ("active", None, None)
    async with whole.bearing(str(key.body["key"])) as session, session.get("/v1/me") as answer:
        assert answer.status == 200
    trail = await whole.act("GET", "/audit", None, tenant=whole.tenant_id)
    acts = [(one["operation"], one["reason"]) for one in trail.body["items"]]  # type: ignore[attr-defined]
    assert acts[:2] == [("tenant.restore", "tried"), ("tenant.delete", "contract ended")]


async def test_a_tenant_comes_back_as_it_was_and_is_neither_suspended_nor_reinstated_meanwhile(whole: Whole) -> None:
    assert (await turn(whole, "restore")).body["status"] == "active"
    await turn(whole, "suspend")
    await delete(whole)
    for verb in ("suspend", "reinstate"):
        refused = await turn(whole, verb)
        assert (refused.status, refused.code, refused.body["tenantStatus"]) == (409, "tenant_state", "deleted")
    assert (await turn(whole, "restore")).body["status"] == "suspended"
    assert (await whole.get("/v1/me")).code == "tenant_suspended"


async def test_nobody_is_deleted_without_a_reason_or_by_a_tenant(whole: Whole) -> None:
    assert (await whole.act("DELETE", f"/tenants/{whole.tenant_id}")).status == 422
    assert (await whole.act("DELETE", "/tenants/nobody-here", None, reason="tried")).status == 404
    async with whole.session.delete(f"{whole.url}/v1/admin/tenants/{whole.tenant_id}?reason=x") as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "role_missing")
