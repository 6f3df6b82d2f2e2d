"""Readiness: what is wrong has a name, and only what nothing can be done without makes a process not ready."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter

from ops import private
from ops.private import PrivatePort


async def works() -> None:
    pass


async def fails() -> None:
    raise ConnectionRefusedError


async def asked(
    required: Callable[[], Awaitable[None]], optional: Callable[[], Awaitable[None]], *, draining: bool = False
) -> tuple[int, dict[str, object]]:
    port = PrivatePort(CollectorRegistry(), {"dynamodb": required}, {"redis": optional}, lambda: draining)
    async with TestClient(TestServer(port.build())) as client, client.get("/ready") as answer:
        return answer.status, await answer.json()


async def test_a_process_that_reaches_everything_is_ready() -> None:
    assert await asked(works, works) == (
        200,
        {"ready": True, "draining": False, "wrong": [], "checks": {"dynamodb": "ok", "redis": "ok"}},
    )


async def test_without_what_is_required_it_is_not_ready_and_says_what_is_missing() -> None:
    status, told = await asked(fails, works)
    assert (status, told["ready"], told["wrong"]) == (503, False, ["dynamodb"])
    assert told["checks"] == {"dynamodb": "ConnectionRefusedError", "redis": "ok"}


async def test_without_what_it_can_do_without_it_is_ready_and_names_it() -> None:
    status, told = await asked(works, fails)
    assert (status, told["ready"], told["wrong"]) == (200, True, ["redis"])


async def test_a_part_that_does_not_answer_is_named_and_waited_for_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(private, "CHECK_TIMEOUT_S", 0.01)
    status, told = await asked(hangs, works)
    assert (status, told["checks"]) == (503, {"dynamodb": "no answer", "redis": "ok"})


async def test_a_draining_process_is_not_ready() -> None:
    status, told = await asked(works, works, draining=True)
    assert (status, told["ready"], told["draining"]) == (503, False, True)


async def test_a_process_is_alive_whatever_is_wrong_and_shows_its_metrics() -> None:
    metrics = CollectorRegistry()
    Counter("seen_total", "Seen", registry=metrics).inc()
    port = PrivatePort(metrics, {"dynamodb": fails}, {}, lambda: True)
    async with TestClient(TestServer(port.build())) as client:
        async with client.get("/live") as answer:
            assert answer.status == 200
        async with client.get("/metrics") as answer:
            assert "seen_total 1.0" in await answer.text()
