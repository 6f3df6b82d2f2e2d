"""More gateways on a running stack, as processes of their own that a test can signal and watch end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import ClientConnectionError, ClientSession

from ops.devstack.process import free_port, spawn, stop, until_ready
from ops.devstack.stack import Stack


@dataclass(frozen=True, slots=True)
class Joined:
    """A gateway that has joined the stack."""

    process: asyncio.subprocess.Process
    port: int
    private_port: int
    log: Path

    @property
    def url(self) -> str:
        """Its public API."""
        return f"http://127.0.0.1:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def private(self, path: str) -> tuple[int, str]:
        """GET a path of its private port; (0, "") where nothing listens."""
        try:
            async with ClientSession() as http, http.get(f"http://127.0.0.1:{self.private_port}{path}") as answer:
                return answer.status, await answer.text()
        except ClientConnectionError:
            return 0, ""

    async def ready(self) -> dict[str, object]:
        """Return what it says of its readiness."""
        _, text = await self.private("/ready")
        told: dict[str, object] = orjson.loads(text)
        return told

    async def until_refused(self) -> None:
        """Return once it takes no new connections."""
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    return
                writer.close()
                await asyncio.sleep(0.01)

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return await asyncio.wait_for(self.process.wait(), 60)

    def lines(self) -> list[dict[str, object]]:
        """Return what it has logged."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()]


@asynccontextmanager
async def joined(
    stack: Stack, folder: Path, *options: str, log: Path | None = None, **variables: str
) -> AsyncIterator[Joined]:
    """Run `lockgate serve` with more options and variables until it is ready, and for the block."""
    port, private_port, log = free_port(), free_port(), log or folder / "gateway.log"
    ports = ("--port", str(port), "--private-port", str(private_port))
    process = await spawn(
        [sys.executable, "-m", "ops.cli.main", "serve", *ports, *options], env={**stack.variables, **variables}, log=log
    )
    gateway = Joined(process, port, private_port, log)

    async def ready() -> bool:
        return (await gateway.private("/ready"))[0] == 200

    try:
        await until_ready("gateway", process, ready, log=log, fix="see the log")
        yield gateway
    finally:
        await stop(process)
