"""A job whose agent stops telling how it stands ends `failed`, with the cause; it never stays `running`.

The jobs floor is in memory, on a clock that only the test moves; the client of AgentCore is the real one, and what
answers it breaks over real connections.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, cast

import orjson
import pytest
from aiohttp import web

import agents.runtime
from agents.inband import ACTION_HEADER, REF_HEADER
from jobs.ticks import JOBS
from tenancy.data_models import JobRecord, Status
from tenancy.ids import TenantId
from tests.agents.given import agentcore
from tests.jobs.memory.world import TIMEOUT_S, Floor, Hasty, Process, World
from tests.jobs.parts import FakeRuntime

ACME: Final = TenantId("acme")
# Faults in a row are waited out with growing pauses; within this, a job whose agent is broken has been given up on.
GIVEN_UP_S: Final = 240.0

Ping: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def told(request: web.Request, *, state: str = "running", ping: str = "HealthyBusy", boot: str = "boot-1") -> bytes:
    """Return an answer as the kit writes it."""
    status = {"bootId": boot, "ref": request.headers[REF_HEADER], "state": state, "ping": ping}
    return orjson.dumps(status)[:-1] + b', "result": null}'


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def breaks_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def answers(body: bytes, status: int = 200) -> Ping:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body=body, status=status)

    return answer


async def is_healthy_and_knows_nothing(request: web.Request) -> web.StreamResponse:
    return web.json_response(body=told(request, state="unknown", ping="Healthy"))


async def is_a_new_one(request: web.Request) -> web.StreamResponse:
    return web.json_response(body=told(request, state="unknown", ping="Healthy", boot="boot-2"))


async def runs_for_ever(request: web.Request) -> web.StreamResponse:
    return web.json_response(body=told(request))


async def runs_for_ever_and_is_healthy(request: web.Request) -> web.StreamResponse:
    return web.json_response(body=told(request, ping="Healthy"))


async def tells_of_another_job(request: web.Request) -> web.StreamResponse:
    return web.json_response(body=told(request).replace(b"job_", b"bob_"))


class BrokenHost:
    """Takes a job as an agent does, and then answers every question of how it stands as it is told to."""

    def __init__(self, ping: Ping) -> None:
        self._ping = ping
        self.stopped = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/stopruntimesession"):
            self.stopped += 1
            return web.json_response({})
        if request.headers[ACTION_HEADER] == "start":
            return web.json_response(body=told(request))
        return await self._ping(request)


@asynccontextmanager
async def hosted(world: World, ping: Ping) -> AsyncIterator[BrokenHost]:
    host, app = BrokenHost(ping), web.Application()
    app.router.add_post("/{tail:.*}", host.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with agentcore(f"http://127.0.0.1:{runner.addresses[0][1]}", Hasty(world.clock)) as client:
            world.runtime = cast("FakeRuntime", client)
            yield host
    finally:
        await runner.cleanup()


async def ended(ping: Ping, within_s: float) -> tuple[JobRecord, int]:
    """Return how a job ended whose agent answers so, and how many sessions were stopped."""
    world = World({ACME: 1})
    async with hosted(world, ping) as host:
        job = await world.submit(ACME, b'{"prompt":"hi"}')
        assert job is not None
        await world.settle(within_s)
        # The session is stopped as soon as AgentCore, which was spared meanwhile, may be asked again.
        while any(tick.queue == JOBS for tick in world.redis.held.values()):
            await world.clock.advance(5)
            await world.settle(1)
        done = await Floor(world, Process()).store.get(ACME, job.job_id, consistent=True)
    assert done is not None
    world.history.check_rest({}, 0)
    assert (done.run, done.lease_until_at, done.next_tick_at, done.result_json) == (1, None, None, None)
    return done, host.stopped


@pytest.mark.parametrize(
    ("ping", "code"),
    [
        (hangs, "upstream_timeout"),
        (breaks_off, "runtime_broken"),
        (answers(b""), "runtime_broken"),
        (answers(b"\x00\xff not JSON"), "runtime_broken"),
        (answers(b'{"status": "Healthy", "time_of_last_update": 1}'), "runtime_broken"),
        (answers(b'{"state": "succeeded", "result": null}'), "runtime_broken"),
        (answers(b"x" * 5_000_000), "answer_too_large"),
        (answers(b"<html>no</html>", 500), "runtime_broken"),
        (tells_of_another_job, "runtime_broken"),
        (is_healthy_and_knows_nothing, "job_lost"),
        (is_a_new_one, "job_lost"),
    ],
    ids=lambda given: given if isinstance(given, str) else given.__name__,
)
async def test_a_job_whose_agent_cannot_be_asked_any_more_fails_with_the_cause(
    ping: Ping, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.runtime, "PROBE_TIMEOUT_S", 0.05 if ping is hangs else 8.0)
    done, stopped = await ended(ping, GIVEN_UP_S)
    assert done.error is not None
    assert (done.status, done.error.code, stopped) == (Status.FAILED, code, 1)


@pytest.mark.parametrize("ping", [runs_for_ever, runs_for_ever_and_is_healthy])
async def test_a_job_whose_agent_says_for_ever_that_it_runs_ends_at_its_deadline(ping: Ping) -> None:
    done, stopped = await ended(ping, TIMEOUT_S + 60)
    assert done.ended_at is not None
    assert (done.status, stopped) == (Status.EXPIRED, 1)
    assert 0 <= (done.ended_at - done.deadline_at).total_seconds() <= 5
