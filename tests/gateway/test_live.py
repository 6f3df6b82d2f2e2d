import asyncio

import pytest

from gateway.errors import DrainingError
from gateway.live import (
    EndedEarlyError,
    InvocationCancelledError,
    InvocationDrainedError,
    InvocationTimedOutError,
    LiveInvocations,
)
from tenancy.ids import InvocationId, TenantId

ACME, GLOBEX, ONE = TenantId("acme"), TenantId("globex"), InvocationId("inv_1")
LONG_S = 3600.0


async def serve(live: LiveInvocations, started: asyncio.Event, limit_s: float = LONG_S) -> None:
    async with live.serving(ACME, ONE, limit_s):
        started.set()
        await asyncio.get_running_loop().create_future()


async def test_a_tenant_cancels_its_own_invocation() -> None:
    live, started = LiveInvocations(), asyncio.Event()
    task = asyncio.create_task(serve(live, started))
    await started.wait()
    assert live.cancel(ACME, ONE)
    with pytest.raises(InvocationCancelledError):
        await task
    assert len(live) == 0


async def test_a_tenant_cannot_cancel_anothers_invocation() -> None:
    live, started = LiveInvocations(), asyncio.Event()
    task = asyncio.create_task(serve(live, started))
    await started.wait()
    assert not live.cancel(GLOBEX, ONE)
    assert len(live) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_invocation_ends_at_its_modes_limit() -> None:
    with pytest.raises(InvocationTimedOutError):
        await serve(LiveInvocations(), asyncio.Event(), limit_s=0)


async def test_a_timeout_of_another_origin_stays_what_it_is() -> None:
    live = LiveInvocations()
    with pytest.raises(TimeoutError) as refused:
        async with live.serving(ACME, ONE, LONG_S):
            raise TimeoutError
    assert not isinstance(refused.value, EndedEarlyError)


async def test_the_first_order_to_end_stands() -> None:
    live = LiveInvocations()
    with pytest.raises(InvocationCancelledError):
        async with live.serving(ACME, ONE, LONG_S) as invocation:
            invocation.end(InvocationCancelledError)
            invocation.end(InvocationDrainedError)
            await asyncio.get_running_loop().create_future()


async def test_a_drain_still_serves_what_comes_on_accepted_connections() -> None:
    live, started, finish = LiveInvocations(), asyncio.Event(), asyncio.Event()
    live.drain()
    assert live.draining
    live.check_open()

    async def work() -> str:
        async with live.serving(ACME, ONE, LONG_S):
            started.set()
            await finish.wait()
        return "finished"

    task = asyncio.create_task(work())
    await started.wait()
    finish.set()
    assert await task == "finished"


async def test_the_end_of_the_grace_ends_what_is_left_and_takes_nothing_new() -> None:
    live, started = LiveInvocations(), asyncio.Event()
    task = asyncio.create_task(serve(live, started))
    await started.wait()
    live.drain()
    await live.end()
    with pytest.raises(InvocationDrainedError):
        await task
    with pytest.raises(DrainingError):
        live.check_open()
