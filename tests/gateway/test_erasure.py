"""The end of a tenant on a whole gateway, as an operator brings it about and proves it."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
import pytest

from tenancy import tables
from tenancy.chain import moment_text
from tenancy.clock import SystemClock
from tenancy.data_models import JobRecord, Tenant
from tests.conftest import Aws
from tests.gateway.whole import Answered, Whole, whole_gateway
from tests.tenancy import samples

pytestmark = pytest.mark.stack


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway that lets erasures begin at once; its runtime is away."""
    quiet = {"erase_quiet_s": 0.0}
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1", overrides=quiet) as running:
        yield running


async def erase(whole: Whole, **fields: object) -> Answered:
    body = {"confirm": whole.tenant_id, "reason": "contract ended"} | fields
    return await whole.act("POST", f"/tenants/{whole.tenant_id}/erase", body)


async def look(whole: Whole, path: str) -> Answered:
    return await whole.act("GET", f"/tenants/{whole.tenant_id}/{path}")


async def delete(whole: Whole) -> None:
    gone = await whole.act("DELETE", f"/tenants/{whole.tenant_id}", None, reason="contract ended")
    assert gone.body["status"] == "deleted"


async def test_a_tenant_is_erased_by_force_and_its_certificate_stands_on_the_platforms_chain(whole: Whole) -> None:
    key = await whole.act("POST", f"/tenants/{whole.tenant_id}/api-keys", {"label": "import", "reason": "tried"})
    assert (await erase(whole, force=True)).code == "tenant_state"
    await delete(whole)
    assert (await erase(whole, confirm="another", force=True)).status == 422
    kept = await erase(whole)
    tenant = (await whole.act("GET", f"/tenants/{whole.tenant_id}")).body
    assert (kept.status, kept.code, kept.body["eraseAfter"]) == (409, "tenant_kept", tenant["eraseAfter"])
    plan = await look(whole, "erasure")
    assert plan.body["obstacle"] == "tenant_kept"
    head = await whole.process.parts.admin.erasure.eraser.chain.head(whole.tenant_id)
    assert head is not None
    erased = await erase(whole, force=True)
    assert (erased.status, erased.body["state"], erased.body["found"]) == (200, "erased", plan.body["found"])

    found = (await look(whole, "deletion-certificate")).body
    said = {name: value for name, value in found.items() if name != "sha256"}
    assert found["sha256"] == hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
    assert (found["remaining"], found["forced"], found["reason"]) == (0, True, "contract ended")
    assert found["auditChain"] == {"events": head.seq, "sha256": head.sha256}
    searched = set(found["searched"])  # type: ignore[call-overload]
    assert {table.name for table in tables.TABLES} - {"erasures"} | {"objects", "redis"} <= searched
    trail = await whole.act("GET", "/audit", None, tenant="platform", operation="tenant.erase")
    told = [(one["outcome"], one["after"]) for one in trail.body["items"] if one["target"] == whole.tenant_id]  # type: ignore[attr-defined]
    assert told == [("allowed", {"certificate": found["sha256"]}), ("begun", {"forced": True})]
    assert (await erase(whole)).body["state"] == "erased"
    assert (await look(whole, "deletion-certificate")).body == found

    assert (await look(whole, "bindings")).status == 404
    assert (await whole.get("/v1/me")).status == 403
    async with whole.bearing(str(key.body["key"])) as session, session.get("/v1/me") as answer:
        assert answer.status == 401
    again = await whole.act("POST", "/tenants", {"id": whole.tenant_id, "name": "Another", "tier": "basic"})
    assert (again.status, again.code) == (409, "tenant_exists")
    # Whoever had it all the same would not be erased by the certificate of another.
    await whole.stores.db(whole.tenant_id).put(samples.tenant(whole.tenant_id))
    assert (await erase(whole, force=True)).code == "tenant_state"
    assert (await whole.act("GET", f"/tenants/{whole.tenant_id}")).status == 200


async def test_a_tenant_is_erased_after_its_grace_once_nothing_runs_and_by_no_tenant(whole: Whole) -> None:
    async with whole.session.post(f"{whole.url}/v1/admin/tenants/{whole.tenant_id}/erase", json={}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "role_missing")
    running, door = samples.job(whole.tenant_id), whole.stores.db(whole.tenant_id)
    await door.put(running)
    await delete(whole)
    over = {"erase_after_at": moment_text(SystemClock().now() - timedelta(seconds=1))}
    await door.update(Tenant, Tenant.key_of(whole.tenant_id, "METADATA"), over)
    assert (await erase(whole)).code == "tenant_busy"
    assert (await look(whole, "deletion-certificate")).status == 404
    await door.update(JobRecord, running.key(), {"status": "cancelled"})
    assert (await erase(whole)).body["state"] == "erased"
    assert (await look(whole, "deletion-certificate")).body["forced"] is False
    assert (await whole.act("POST", f"/tenants/{whole.tenant_id}/restore", {"reason": "x"})).status == 404
