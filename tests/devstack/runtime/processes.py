"""Whether a process still lives, seen from outside."""

import asyncio
from pathlib import Path


def process_lives(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody has waited for yet still has a number."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}


async def until_dead(pid: int) -> None:
    """Return once a process runs no more."""
    async with asyncio.timeout(10):
        while process_lives(pid):
            await asyncio.sleep(0)
