"""The embedded DynamoDB, S3 and STS server, run by its own environment's Python; imports nothing of Lockgate.

Usage: `python store_launcher.py PORT STATE_DIR`; where its data lives is told to it by the environment (see stores.py).
As shipped, the server saves DynamoDB only on a clean stop. Here every write marks its service as changed, and what
changed is saved `SAVE_EVERY_S` later: a kill -9 loses at most that much of DynamoDB, and nothing of S3's objects,
which are on disk before they are acknowledged. SIGTERM saves everything and exits 0.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import _get_module, app
from ministack.core.persistence import save_state

Scope: TypeAlias = MutableMapping[str, Any]
Call: TypeAlias = Callable[..., Awaitable[None]]

SAVE_EVERY_S = 3.0
READS = (b"Get", b"Query", b"Scan", b"BatchGet", b"TransactGet", b"Describe", b"List")


class Saver:
    """Passes requests on to the server and saves the state of each service that a request may have changed."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Call, send: Call) -> None:
        """Serve one ASGI connection."""
        try:
            await app(scope, receive, send)
        finally:
            if scope["type"] == "http" and (service := changed_by(scope)):
                self._changed.add(service)
                self._wake.set()

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Save what changed, at most every SAVE_EVERY_S, until stopped; no save is under way when this returns."""
        while not self._stopping.is_set():
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SAVE_EVERY_S)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            for service in sorted(changed):
                # The copy is made here, where no request can change what is being copied; only writing it is moved.
                state = _get_module(service).get_state()
                await asyncio.to_thread(save_state, service, state)


def changed_by(scope: Scope) -> str | None:
    """Return the service whose saved state this request may have changed."""
    target = next((value for name, value in scope["headers"] if name == b"x-amz-target"), b"")
    if target.startswith(b"DynamoDB_"):
        operation = target.partition(b".")[2]
        return None if operation.startswith(READS) else "dynamodb"
    bucket_only = "/" not in scope["path"].strip("/")
    return "s3" if scope["method"] in ("PUT", "DELETE") and bucket_only else None


async def main(port: int) -> None:
    """Serve on loopback until SIGTERM; the server itself saves all state as it shuts down."""
    saver = Saver()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, saver.stop)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    config.accesslog = None
    await serve(saver, config, shutdown_trigger=saver.run)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
