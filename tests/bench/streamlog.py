"""`python -m tests.bench.streamlog`: what logging costs a process for each event, beside what an event costs anyway.

Streams of 25 events a second write into logs that are kept in a Redis that answers at once and a store that takes
everything: what is left is this process's own work.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from gateway.journal import Journal
from gateway.segments import Segments
from gateway.sse import frame
from gateway.streamlog import StreamLog, StreamLogs
from gateway.streamtail import Grown, StreamTails
from tenancy.clock import SystemClock
from tenancy.data_models import TenantItem
from tenancy.ids import InvocationId, TenantId

EVENT = b'{"index": 1, "text": "' + b"x" * 80 + b'"}'
EVENTS_PER_S = 25


class Still(StreamTails):
    """Takes what grows, and sends it nowhere."""

    async def append(self, grown: Sequence[Grown]) -> None:
        """Take it."""
        await asyncio.sleep(0)

    def let_go(self, place: tuple[TenantId, InvocationId], seconds: int) -> None:
        """Forget it."""


async def taken(tenant_id: TenantId, items: Sequence[TenantItem]) -> None:
    """Take a batch, as the door does until it calls the store."""
    for item in items:
        item.to_item()
    await asyncio.sleep(0)


async def measure(streams: int, seconds: float, *, logged: bool) -> float:
    """Return the CPU microseconds of an event."""
    clock, metrics = SystemClock(), CollectorRegistry()
    tails, segments = object.__new__(Still), object.__new__(Segments)
    logs = StreamLogs(tails, segments, Journal(taken, clock, metrics), sure=lambda: True, clock=clock, metrics=metrics)
    async with logs.running():
        open_logs = [logs.open(TenantId("bench"), InvocationId(f"inv_{number}"), 600) for number in range(streams)]
        began_s, events = time.process_time(), 0
        for number in range(1, int(seconds * EVENTS_PER_S) + 1):
            write(open_logs, number, logged=logged)
            events += streams
            await asyncio.sleep(1 / EVENTS_PER_S)
        return (time.process_time() - began_s) * 1e6 / events


def write(logs: list[StreamLog], number: int, *, logged: bool) -> None:
    """Frame an event for each stream, and log it where it is to be."""
    for log in logs:
        framed = frame(number, b"agent.chunk", EVENT)
        if logged:
            log.append(framed)


def main() -> int:
    """Measure with and without the log."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streamlog")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    without = asyncio.run(measure(chosen.streams, chosen.seconds, logged=False))
    logged = asyncio.run(measure(chosen.streams, chosen.seconds, logged=True))
    sys.stdout.write(f"µs CPU an event: {without:.2f} framed, {logged:.2f} framed and logged\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
