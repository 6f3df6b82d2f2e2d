"""`python -m tests.bench.crowd`: many streams at once through one gateway process, one of them read slowly.

Everything is on, the upstream is light. What counts is that every stream ends whole, that nobody's slowness costs the
others or the process anything, and that memory stays where it was once all streams were open.
"""

import argparse
import asyncio
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.bench.cost import cpu_s, rss_bytes
from tests.bench.load import Client, Order
from tests.bench.targets import Bench, Target, running_bench
from tests.bench.wire import Script

_MIB = 1024 * 1024
_PATIENCE_S = 60.0
# What a reader that does not read makes the kernel keep for it: as little as it allows.
_SLOW_BUFFER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Extent:
    """How many streams for how long; the slow reader's stream has `slow_per_s` events a second."""

    streams: int = 500
    seconds: float = 30.0
    events_per_s: float = 4.0
    slow_per_s: float = 1000.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen: resident bytes at moments of the run by name, events read, and how often something was not whole.

    `held_events` are those of the slow stream that were still under way when all other streams had ended.
    """

    rss_bytes: dict[str, int]
    events: int
    held_events: int
    errors: tuple[str, ...]
    opened_s: float
    cpu_share: float


async def crowd(bench: Bench, extent: Extent) -> Outcome:
    """Open all streams, look at the process while they last, and let the slow reader read the rest in the end."""
    target, script = bench.targets[0], _script(extent.events_per_s, extent.seconds)
    slow_script = _script(extent.slow_per_s, extent.seconds)
    async with asyncio.timeout(extent.seconds + _PATIENCE_S):
        # So that what only the first requests cost is not taken for what streams cost.
        await _whole([await _connected(target)], target, Script(2, 10.0))
        seen = {"before": rss_bytes(target.pid)}
        slow, clients = await _connected(target, slow=True), [await _connected(target) for _ in range(extent.streams)]
        began_s = perf_counter()
        slow_end = slow.ask(_request(target, slow_script))
        await slow.first
        slow.pause()
        ends = asyncio.gather(*(client.ask(_request(target, script)) for client in clients))
        await asyncio.gather(*(client.first for client in clients))
        opened_s, used_s, watched_s = perf_counter() - began_s, cpu_s(target.pid), perf_counter()
        seen["all open"] = rss_bytes(target.pid)
        await asyncio.sleep(extent.seconds / 2)
        seen["middle"] = rss_bytes(target.pid)
        await asyncio.sleep(max(0.0, began_s + extent.seconds - perf_counter()) * 0.9)
        seen["end"] = rss_bytes(target.pid)
        share = (cpu_s(target.pid) - used_s) / (perf_counter() - watched_s)
        good = await ends
        held = slow_script.events - slow.events
        slow.resume()
        good.append(await slow_end)
    seen["closed"] = rss_bytes(target.pid)
    wanted = [script.events] * len(clients) + [slow_script.events]
    read = [*clients, slow]
    errors = tuple(
        f"{client.events} of {events} events: {client.said}"
        for client, events, well in zip(read, wanted, good, strict=True)
        if not well or client.events != events
    )
    for client in read:
        client.close()
    return Outcome(seen, sum(client.events for client in read), held, errors, opened_s, share)


def told(outcome: Outcome, extent: Extent) -> str:
    """Return the outcome as text."""
    rss = outcome.rss_bytes
    per_stream = (rss["all open"] - rss["before"]) / (extent.streams + 1) / 1024
    many, slow = f"{extent.streams} streams of {extent.events_per_s:g} events/s", f"one of {extent.slow_per_s:g}"
    return "\n".join(
        [
            f"{many} for {extent.seconds:g} s, and {slow} that nobody reads until the others have ended",
            *(f"  {moment:<10}{size / _MIB:8.1f} MiB resident" for moment, size in rss.items()),
            f"  from open to end {(rss['end'] - rss['all open']) / _MIB:+.1f} MiB; {per_stream:.0f} KiB a stream",
            f"  all open after {outcome.opened_s:.1f} s, then {outcome.cpu_share:.0%} of a core",
            f"  {outcome.events} events read, {outcome.held_events} of them held back for the slow reader",
            f"  errors: {len(outcome.errors)}",
            *(f"  {error}" for error in outcome.errors[:3]),
            "",
        ]
    )


def _script(per_s: float, seconds: float) -> Script:
    return Script(max(2, round(per_s * seconds)), per_s)


def _request(target: Target, script: Script) -> bytes:
    order = Order("stream", target.port, target.pid, target.path, target.headers, target.wrapped, 1, 0.0)
    return order.request(script, "text/event-stream")


async def _connected(target: Target, *, slow: bool = False) -> Client:
    sock = socket.socket()
    sock.setblocking(False)
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", target.port))
    _, client = await loop.create_connection(Client, sock=sock)
    return client


async def _whole(clients: list[Client], target: Target, script: Script) -> None:
    await asyncio.gather(*(client.ask(_request(target, script)) for client in clients))
    for client in clients:
        client.close()


async def _run(extent: Extent) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="lockgate-crowd-") as folder:
        async with running_bench(Path(folder), loops=()) as bench:
            return await crowd(bench, extent)


def main() -> int:
    """Run it; 1 where a stream did not end whole."""
    parser = argparse.ArgumentParser(prog="make bench-crowd")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    extent = Extent(chosen.streams, chosen.seconds)
    outcome = asyncio.run(_run(extent))
    sys.stdout.write(told(outcome, extent))
    return 1 if outcome.errors else 0


if __name__ == "__main__":
    sys.exit(main())
