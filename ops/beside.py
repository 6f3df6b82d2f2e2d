"""Work that runs beside a block and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Final

_CANCEL_AGAIN_S: Final = 5.0


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` beside the block and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        # Until it has ended: before Python 3.12 asyncio.wait_for loses a cancellation that comes as it is done, and
        # clients of Redis wait so.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
        await asyncio.gather(task, return_exceptions=True)
