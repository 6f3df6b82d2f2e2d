"""The small site of hostile tests as a process of its own, with the real log: `python -m` it, end it by SIGTERM."""

import asyncio
import signal

import structlog

from gateway.bodies import Pace
from gateway.connection import Patience
from ops import telemetry
from ops.settings import Settings
from tests.gateway.hostile import site


async def main() -> None:
    """Serve until told to end."""
    telemetry.configure(Settings(log_level="debug"), "site")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with site(patience=Patience(head_s=1, close_s=0.2), pace=Pace(grace_s=0.2)) as running:
        structlog.get_logger("site").info("serving", port=running.port)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
