"""Whether a process still lives, seen from outside."""

import asyncio
from pathlib import Path


def process_lives(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody has waited for yet still has a number."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        # It may be gone between the opening and the reading.
        return False
    return state.rpartition(")")[2].split()[0] not in {"Z", "X"}


async def until_dead(pid: int) -> None:
    """Return once a process runs no more."""
    async with asyncio.timeout(10):
        while process_lives(pid):
            await asyncio.sleep(0)
