"""What runs beside a process ends with it, also where a cancellation is lost on the way."""

import asyncio
from contextlib import suppress

import pytest

from ops import beside


async def test_work_that_misses_being_cancelled_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_CANCEL_AGAIN_S", 0.01)
    begun, missed = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.Event().wait()
        missed.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(10), beside.running(work()):
        await begun.wait()
    assert missed.is_set()
