"""`python -m tests.bench.jobs`: what driving jobs and telling of their ends costs, where no store bounds it.

Each figure is taken by a worker process of its own (tests.bench.jobfloor), on a Redis of this run's own.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tests.bench.jobfloor import TENANTS, Figures, Order
from tests.webhooks.receivers import receiving

_PATIENCE_S: Final = 900.0
# So few are always due where each is due at once.
_BUSY_JOBS: Final = 200
_AT_ONCE_S: Final = 0.01
_EVENTS_PER_S: Final = 20
_DELIVERIES_PER_S: Final = 50


class Bench:
    """Runs orders, each on a database of Redis of its own."""

    def __init__(self, redis_url: str, receiver_port: int, folder: Path) -> None:
        self._redis_url = redis_url
        self._receiver_port = receiver_port
        self._folder = folder
        self._runs = 0

    async def run(self, order: Order) -> Figures:
        """Return what one worker process measured."""
        self._runs += 1
        where = {"redis_url": f"{self._redis_url}/{self._runs}", "receiver_port": self._receiver_port}
        text = order.model_copy(update=where).model_dump_json()
        errors = self._folder / f"{self._runs}.log"
        with errors.open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.bench.jobfloor", text, stdout=asyncio.subprocess.PIPE, stderr=log
            )
            try:
                out, _ = await asyncio.wait_for(child.communicate(), _PATIENCE_S)
            finally:
                if child.returncode is None:
                    child.kill()
        if child.returncode != 0:
            raise RuntimeError(errors.read_text())
        return Figures.model_validate_json(out)


Taken: TypeAlias = tuple[Figures, Figures, tuple[Figures, Figures], Figures, Figures]
"""Ticks as fast as may be; live jobs by one worker and by two; deliveries as fast as may be; first attempts."""


async def _take(bench: Bench, jobs: int, poll_s: float, seconds: float) -> Taken:
    def order(what: str, many: int, **more: float) -> Order:
        return Order.model_validate({"what": what, "redis_url": "", "many": many, "seconds": seconds, **more})

    busy = await bench.run(order("ticks", _BUSY_JOBS, poll_s=_AT_ONCE_S))
    one = await bench.run(order("ticks", jobs, poll_s=poll_s))
    two = [order("ticks", jobs // 2, poll_s=poll_s)] * 2
    first, second = await asyncio.gather(*map(bench.run, two))
    sent = await bench.run(order("deliveries", round(_DELIVERIES_PER_S * seconds)))
    told = await bench.run(order("first attempts", round(_EVENTS_PER_S * seconds)))
    return busy, one, (first, second), sent, told


def told(jobs: int, poll_s: float, taken: Taken, load_before: float) -> str:
    """Return the figures as text."""
    busy, one, two, sent, first = taken
    live = f"{jobs} jobs polled every {poll_s:g} s"
    lines = [
        f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after; a store in memory, a real Redis",
        f"ticks as fast as may be, one worker{_rate(busy, 'ticks')}",
        *_lagging(f"{live}, one worker", [one]),
        *_lagging(f"{live}, two workers", two),
        f"deliveries as fast as may be, {TENANTS} receivers{_rate(sent, 'deliveries')}",
        f"from commit to first attempt, {_EVENTS_PER_S} events/s{_percentiles(first.sampled_s)}",
    ]
    return "\n".join(lines) + "\n"


def _rate(figures: Figures, things: str) -> str:
    per_core = figures.done / figures.cpu_s
    return f"   {figures.done / figures.seconds:.0f} {things}/s, {per_core:.0f} a second of a core"


def _lagging(name: str, workers: Sequence[Figures]) -> Iterator[str]:
    seconds = max(one.seconds for one in workers)
    done, cores = sum(one.done for one in workers), sum(one.cpu_s for one in workers) / seconds
    yield f"{name}   {done / seconds:.0f} ticks/s on {cores:.2f} cores"
    yield f"  the oldest tick that is due{_percentiles([lag for one in workers for lag in one.sampled_s])}"


def _percentiles(sampled_s: Sequence[float]) -> str:
    cuts = statistics.quantiles(sampled_s, n=100, method="inclusive")
    return f"   p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms, most {1000 * max(sampled_s):.0f} ms"


async def measure(jobs: int, poll_s: float, seconds: float) -> str:
    """Start what workers need, take every figure, and return them as text."""
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        port, state = free_port(), Path(folder)
        redis = await start_redis(port, state / "redis", state / "redis.log")
        try:
            async with receiving() as receiver:
                bench = Bench(f"redis://127.0.0.1:{port}", receiver.port, state)
                before = os.getloadavg()[0]
                return told(jobs, poll_s, await _take(bench, jobs, poll_s, seconds), before)
        finally:
            await stop(redis)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-jobs")
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--poll-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    sys.stdout.write(asyncio.run(measure(chosen.jobs, chosen.poll_s, chosen.seconds)))


if __name__ == "__main__":
    main()
