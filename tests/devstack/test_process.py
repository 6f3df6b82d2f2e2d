import asyncio
import contextlib
import sys
from pathlib import Path

from ops.devstack.process import spawn, until_ready


async def test_a_child_nobody_waits_for_any_longer_is_stopped(tmp_path: Path) -> None:
    child = await spawn([sys.executable, "-c", "import time; time.sleep(600)"], env={}, log=tmp_path / "log")
    asked = asyncio.Event()

    async def never() -> bool:
        asked.set()
        return False

    waiting = asyncio.create_task(until_ready("part", child, never, log=tmp_path / "log", fix=""))
    await asked.wait()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert child.returncode is not None
