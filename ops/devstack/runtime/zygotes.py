"""One zygote per interpreter, started once however many sessions wait for it, and again after its death."""

import asyncio
from pathlib import Path

from ops.devstack.runtime.forkserver import ForkServer


class Zygotes:
    """Owns the zygotes; their own output goes to one log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._starts: dict[Path, asyncio.Task[ForkServer]] = {}

    async def get(self, python: Path) -> ForkServer:
        """Return a living zygote on this interpreter; raises AgentFaultError."""
        start = self._starts.get(python)
        if start is None or _is_over(start):
            start = self._starts[python] = asyncio.get_running_loop().create_task(ForkServer.start(python, self._log))
        return await asyncio.shield(start)

    async def aclose(self) -> None:
        """End every zygote, and with it every process it forked."""
        starts = list(self._starts.values())
        for start in starts:
            start.cancel()
        for server in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(server, ForkServer):
                await server.aclose()


def _is_over(start: "asyncio.Task[ForkServer]") -> bool:
    if not start.done():
        return False
    return start.cancelled() or start.exception() is not None or not start.result().alive
