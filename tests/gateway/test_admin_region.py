"""Regions and locks over the Admin API: switched under the newest fence alone, and every act told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import Aws
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack

WHY = {"reason": "Dublin does not answer"}


@pytest.fixture
async def whole(fresh_aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway on tables of its own: there is one flag."""
    async with whole_gateway(fresh_aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


async def lock(whole: Whole, verb: str, **fields: object) -> Answered:
    return await whole.act("POST", f"/locks/failover/{verb}", fields or WHY)


async def settled(whole: Whole) -> Answered:
    """Return the region once every process serves it."""
    async with asyncio.timeout(20):
        while True:
            answer = await whole.act("GET", "/region")
            if answer.body["settled"]:
                return answer
            await asyncio.sleep(0.05)


async def test_a_switch_without_a_fence_takes_the_lock_for_itself_and_every_process_says_so(whole: Whole) -> None:
    before = await settled(whole)
    assert (before.body["serving"], before.body["fence"], before.body["advice"]) == ("eu-west-1", 0, "stay")
    switched = await whole.act("POST", "/region/fail-over", WHY)
    assert (switched.status, switched.body["serving"], switched.body["reason"]) == (200, "eu-central-1", WHY["reason"])
    after = await settled(whole)
    processes: list[dict[str, object]] = after.body["processes"]  # type: ignore[assignment]
    [process] = processes
    assert process == {"process": process["process"], "serving": "eu-central-1", "calls": 0, "faults": 0}
    assert "holder" not in (await whole.act("GET", "/locks/failover")).body
    assert (await whole.act("POST", "/region/fail-back", WHY)).body["serving"] == "eu-west-1"


async def test_only_the_newest_holder_switches(whole: Whole) -> None:
    old = await lock(whole, "acquire")
    refused = await lock(whole, "acquire")
    assert (refused.status, refused.code, refused.body["holder"]) == (409, "lock_held", old.body["holder"])
    assert (await whole.act("POST", "/region/fail-over", WHY)).code == "lock_held"
    stolen = await lock(whole, "steal", reason="the first terminal is gone")
    assert stolen.body["fence"] == old.body["fence"] + 1  # type: ignore[operator]
    for late in (
        await whole.act("POST", "/region/fail-over", WHY | {"fence": old.body["fence"]}),
        await lock(whole, "renew", fence=old.body["fence"]),
        await lock(whole, "release", fence=old.body["fence"], **WHY),
    ):
        assert (late.status, late.code) == (409, "lock_lost")
    assert (await whole.act("GET", "/region")).body["serving"] == "eu-west-1"
    assert (await lock(whole, "renew", fence=stolen.body["fence"])).status == 200
    done = await whole.act("POST", "/region/fail-over", WHY | {"fence": stolen.body["fence"]})
    assert done.body["serving"] == "eu-central-1"
    assert "holder" not in (await lock(whole, "release", fence=stolen.body["fence"], **WHY)).body


async def test_every_act_is_on_the_platforms_chain_and_so_is_a_refused_one(whole: Whole) -> None:
    held = await lock(whole, "acquire")
    await lock(whole, "acquire")
    await whole.act("POST", "/region/fail-over", WHY | {"fence": held.body["fence"]})
    told = await whole.act("GET", "/audit", None, tenant="platform")
    acts = [(one["operation"], one["target"], one["outcome"]) for one in told.body["items"]]  # type: ignore[attr-defined]
    assert acts == [
        ("region.fail_over", "eu-central-1", "allowed"),
        ("region.fail_over", "eu-central-1", "begun"),
        ("lock.acquire", "failover", "failed"),
        ("lock.acquire", "failover", "begun"),
        ("lock.acquire", "failover", "allowed"),
        ("lock.acquire", "failover", "begun"),
    ]


async def test_the_sweepers_lock_is_only_looked_at(whole: Whole) -> None:
    listed = await whole.act("GET", "/locks")
    assert [one["name"] for one in listed.body["items"]] == ["failover", "sweeper"]  # type: ignore[attr-defined]
    assert (await whole.act("GET", "/locks/sweeper")).status == 200
    assert (await whole.act("POST", "/locks/sweeper/steal", WHY)).code == "not_found"
    assert (await whole.act("GET", "/locks/other")).code == "not_found"


async def test_a_tenant_can_neither_look_nor_switch(whole: Whole) -> None:
    assert (await whole.get("/v1/admin/region")).code == "role_missing"
    async with whole.session.post(whole.url + "/v1/admin/region/fail-over", json=WHY) as answer:
        assert answer.status == 403
