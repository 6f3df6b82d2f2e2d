"""All that a tenant has, taken away whole, without what opens or signs anything; and how its month stands."""

import asyncio
import hashlib
import secrets
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from ops.cli.archive import ExportBrokenError, verified
from tenancy import tables
from tenancy.api_keys import hash_of
from tenancy.clock import SystemClock
from tenancy.data_models import Status, Tenant, UsageRecord, WebhookEndpoint
from tenancy.ids import new_invocation_id, new_webhook_id
from tests.conftest import Aws
from tests.gateway.whole import Wanted, Whole, tenant_of, whole_gateway
from tests.tenancy import samples

pytestmark = pytest.mark.stack

BUDGET = 1_000_000


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway with a tenant that has a budget; its runtime is away."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1", budget=BUDGET) as running:
        yield running


async def exported(whole: Whole, path: Path) -> zipfile.ZipFile:
    url = f"{whole.url}/v1/admin/tenants/{whole.tenant_id}/export"
    async with whole.operator.get(url, params={"reason": "asked for"}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/zip")
        content = await answer.read()
    await asyncio.to_thread(path.write_bytes, content)
    return zipfile.ZipFile(path)


async def test_an_export_holds_all_a_tenant_has_and_no_secret(whole: Whole, tmp_path: Path) -> None:
    owner, door = whole.tenant_id, whole.stores.db(whole.tenant_id)
    made = await whole.act("POST", f"/tenants/{owner}/api-keys", {"label": "import", "reason": "tried"})
    webhook = WebhookEndpoint(
        tenant_id=owner,
        webhook_id=new_webhook_id(samples.NOW),
        url="https://a.example/hook",
        secret="whsec_hidden",
        created_at=samples.NOW,
        updated_at=samples.NOW,
    )
    jobs = [samples.job(owner, text='{"n":7}') for _ in range(30)]
    for item in (webhook, *jobs):
        await door.put(item)
    large = b"x" * 3_000_000
    await whole.stores.s3(owner).put(f"tenants/{owner}/jobs/one/input.json", large, "application/json")

    archive = await exported(whole, tmp_path / "export.zip")
    manifest = orjson.loads(archive.read("manifest.json"))
    parts = {part["name"]: part for part in manifest["parts"]}
    assert {f"tables/{table.name}.ndjson" for table in tables.TENANT_TABLES} < parts.keys()
    assert {name: parts[name]["records"] for name in ("tables/jobs.ndjson", "platform/identity-bindings.ndjson")} == {
        "tables/jobs.ndjson": 30,
        "platform/identity-bindings.ndjson": 1,
    }
    for name, part in parts.items():
        data = archive.read(name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
    assert archive.read("objects/jobs/one/input.json") == large
    lines = [orjson.loads(line) for line in archive.read("tables/jobs.ndjson").splitlines()]
    assert {line["job_id"] for line in lines} == {job.job_id for job in jobs}
    assert {line["input_json"] for line in lines} == {'{"n":7}'}
    assert {one["part"] for one in manifest["leftOut"]} == {"tables/webhooks.ndjson", "tables/api-keys.ndjson"}
    whole_text = b"".join(archive.read(name) for name in archive.namelist())
    secret = str(made.body["key"])
    for hidden in ("whsec_hidden", secret, hash_of(secret)):
        assert hidden.encode() not in whole_text
    assert b"https://a.example/hook" in whole_text
    trail = await whole.act("GET", "/audit", None, tenant=owner, operation="tenant.export")
    assert [one["outcome"] for one in trail.body["items"]] == ["allowed", "begun"]  # type: ignore[attr-defined]

    assert verified(tmp_path / "export.zip").tenant == owner
    cut = tmp_path / "cut.zip"
    cut.write_bytes((tmp_path / "export.zip").read_bytes()[:-100])
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(changed, "w") as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name).replace(b'{\\"n\\":7}', b'{\\"n\\":8}', 1))
    for broken in (cut, changed):
        with pytest.raises(ExportBrokenError):
            verified(broken)


async def test_an_export_needs_a_reason_a_tenant_and_an_operator(whole: Whole) -> None:
    assert (await whole.act("GET", f"/tenants/{whole.tenant_id}/export")).status == 422
    assert (await whole.act("GET", "/tenants/nobody-here/export", None, reason="x")).status == 404
    assert (await whole.get(f"/v1/admin/tenants/{whole.tenant_id}/export?reason=x")).code == "role_missing"


async def spend(whole: Whole, cost: int) -> None:
    """Settle an invocation at a cost, as if it had ended on this process."""
    now = SystemClock().now()
    line = UsageRecord(
        tenant_id=whole.tenant_id,
        record_id=new_invocation_id(now),
        agent=samples.version("echo-agent").name,
        agent_version="1.0.0",
        mode="sync",
        outcome=Status.SUCCEEDED,
        input_tokens=1,
        output_tokens=2,
        estimated=False,
        chunks=0,
        answer_bytes=3,
        runtime_ms=4,
        tool_calls=0,
        cost_microusd=cost,
        settled_at=now,
    )
    await whole.stores.db(whole.tenant_id).put(line)
    budgets = whole.process.parts.budgets
    hold = budgets.hold(whole.tenant_id)
    await budgets.draw(hold, 1)
    budgets.settle(hold, cost)


async def test_a_months_state_follows_what_the_enforcer_counts(whole: Whole) -> None:
    path = f"/tenants/{whole.tenant_id}/billing"
    month = whole.process.parts.budgets.month
    for cost, percent, state in ((0, 0, "ok"), (798_000, 79, "ok"), (2_000, 80, "warn"), (200_000, 100, "over")):
        if cost:
            await spend(whole, cost)
        told = (await whole.act("GET", path)).body
        assert (told["month"], told["percent"], told["state"], told["source"]) == (month, percent, state, "enforcer")
    assert (told["usedMicrousd"], told["budgetMicrousd"]) == (BUDGET, BUDGET)
    # The very numbers of the tenant's own, by the same code.
    mine = (await whole.get("/v1/usage")).body
    usage = (await whole.act("GET", f"/tenants/{whole.tenant_id}/usage")).body
    assert [usage[name] for name in ("items", "totals")] == [mine[name] for name in ("items", "totals")]
    assert mine["totals"]["costMicrousd"] == BUDGET  # type: ignore[index]
    assert mine["month"]["spentMicrousd"] == told["usedMicrousd"]  # type: ignore[index]
    key = Tenant.key_of(whole.tenant_id, "METADATA")
    await whole.stores.db(whole.tenant_id).update(Tenant, key, {"monthly_budget_microusd": None})
    free = (await whole.act("GET", path)).body
    assert (free["usedMicrousd"], free["reservedMicrousd"], free["percent"]) == (BUDGET, None, None)
    assert (free["state"], free["source"]) == ("ok", "ledger")


async def test_every_tenants_month_is_listed_page_by_page(
    fresh_aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole_gateway(fresh_aws, redis_url, monkeypatch, "http://127.0.0.1:1", budget=BUDGET) as whole:
        others = [secrets.token_hex(6) for _ in range(3)]
        for tag in others:
            await whole.ground.plant(tag, Wanted(budget=BUDGET))
        found = await whole.listed("/billing", limit=1)
        assert [one["tenant"] for one in found] == sorted([whole.tenant_id, *map(tenant_of, others)])
        assert (await whole.get("/v1/admin/billing")).code == "role_missing"
