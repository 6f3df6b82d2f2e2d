"""How the platform is, over the Admin API: what is wrong is said by the figure it is wrong with."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobs.ticks import JOBS
from tenancy.clock import SystemClock
from tenancy.data_models import ProcessLease
from tests.conftest import Aws
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
async def whole(fresh_aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway on tables of its own."""
    async with whole_gateway(fresh_aws, redis_url, monkeypatch, NOWHERE) as running:
        yield running


async def figures(whole: Whole) -> dict[str, dict[str, object]]:
    answer = await whole.act("GET", "/health")
    found: list[dict[str, object]] = answer.body["figures"]  # type: ignore[assignment]
    assert (answer.status, answer.body["ok"]) == (200, all(one["ok"] for one in found))
    return {str(one["name"]): one for one in found}


async def test_every_figure_is_told_with_its_age(whole: Whole) -> None:
    found = await figures(whole)
    assert {name: one["ok"] for name, one in found.items()} == {
        "agentcore": True,
        "agentcore.eu-west-1": True,
        "dead-letters": True,
        "dynamodb": True,
        "identity": True,
        "open-invocations": True,
        "processes": True,
        "queue.jobs": True,
        "queue.webhooks": True,
        "redis": True,
        "region": True,
        "sessions": True,
        # There is no worker.
        "sweeper": False,
    }
    assert (found["processes"]["value"], found["processes"]["ageSeconds"]) == (1, 10)
    assert found["sessions"]["limit"] == 2500


async def test_a_region_that_fails_its_callers_is_found_by_what_all_processes_met(whole: Whole) -> None:
    other = ProcessLease(process="f" * 16, record_version="1", lease_s=10, region="eu-west-1", calls=30, faults=20)
    await whole.ground.platform.put_process(other, seen=None)
    gone = other.model_copy(update={"process": "e" * 16, "taken": 1, "calls": 1000, "faults": 0})
    await whole.ground.platform.put_process(gone, seen=None)
    found = await figures(whole)
    assert found["agentcore.eu-west-1"].items() >= {"ok": False, "value": 20, "limit": 30}.items()
    assert found["processes"].items() >= {"ok": True, "value": 2}.items()
    away = other.model_copy(update={"process": "d" * 16, "region": "eu-central-1"})
    await whole.ground.platform.put_process(away, seen=None)
    assert (await figures(whole))["processes"]["says"] == "2 of them serve eu-west-1"


async def test_a_queue_that_does_not_keep_up_is_said_to(whole: Whole, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        due_ms = int((SystemClock().now().timestamp() - 90) * 1000)
        await redis.zadd(JOBS, {"forgotten": due_ms})
        try:
            found = (await figures(whole))["queue.jobs"]
        finally:
            await redis.zrem(JOBS, "forgotten")
    assert found["ok"] is False
    assert str(found["says"]).startswith("the oldest is 9")


async def test_without_redis_the_other_figures_are_told_all_the_same(
    fresh_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole_gateway(fresh_aws, "redis://127.0.0.1:1/0", monkeypatch, NOWHERE) as whole:
        found = await figures(whole)
    assert {name for name, one in found.items() if not one["ok"]} == {"queues", "redis", "sessions", "sweeper"}
    assert str(found["queues"]["says"]).startswith("not known: ")
    assert found["dynamodb"]["says"] == "ok"
