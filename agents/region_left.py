"""Waits for an answer only as long as its region may still give one.

A cold microVM may take minutes to answer, and so long is waited while its region serves. Once the region was left,
whoever waits on it asks it something easy now and then: one that answers that is given its time, a silent one is not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeVar

from agents.errors import RuntimeFaultError, RuntimeTimeoutError
from agents.region_health import REGION_FAULTS
from agents.regions import Regions
from tenancy.clock import Clock

# How often a region that was left is asked whether it is there.
LOOK_S: Final = 1.0
# How long it may take to say so.
PATIENCE_S: Final = 8.0

T = TypeVar("T")


async def silent(region: str, regions: Regions, ask: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Return once a region was left and does not answer `ask`; what it answers does not matter."""
    while True:
        await regions.left(region)
        await clock.sleep(LOOK_S)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ask()
        except (*REGION_FAULTS, TimeoutError):
            return
        except RuntimeFaultError:
            continue


async def answered(work: Coroutine[None, None, T], hopeless: Coroutine[None, None, None]) -> T:
    """Return what `work` returns; raises RuntimeTimeoutError where `hopeless` returns before."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(hopeless)
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await waiting
            raise RuntimeTimeoutError("its region was left, and is silent")
        return await working
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
