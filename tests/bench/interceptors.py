"""`python -m tests.bench.interceptors`: what interceptors cost an event of a stream, and what an open stream holds.

Events pass all that a gateway has between an agent's bytes and a client's but the sockets: they are split, metered,
redacted, framed and logged. The budget's counter is a real Redis; the logs go to stores that take everything at once.
Nothing is on first; each interceptor is then seen beside that, all of them in every round.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.wire import EventSplitter
from gateway.interceptors.chain import StreamChain
from gateway.interceptors.decisions import Decision
from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy
from gateway.journal import Journal
from gateway.run import Run
from gateway.segments import Segments
from gateway.sse import frame
from gateway.streamlog import StreamLog, StreamLogs
from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis
from tenancy.budgets import Budgets, BudgetWarning
from tenancy.changes import ChangeFeed
from tenancy.clock import SystemClock
from tenancy.data_models import Tenant
from tenancy.ids import InvocationId, TenantId
from tenancy.ledger import Ledger
from tenancy.meters import Meters
from tenancy.prices import Price
from tenancy.trips import RoundTrips
from tests.bench.streamlog import Still, taken
from tests.tenancy import samples
from tests.tenancy.ledgers import agent, ended

_LIMIT_BYTES: Final = 1024 * 1024
_PRICE: Final = Price(input_1k_microusd=1000, output_1k_microusd=1000, runtime_s_microusd=10)
# Enough for every round: what is measured is drawing, not being cut.
_BUDGET_MICROUSD: Final = 10**12
Say = Callable[[int], str]


def words(number: int) -> str:
    """Return what most events of a chat say."""
    return f"{('streams', 'of', 'quiet', 'water', 'pass')[number % 5]} "


def sentence(number: int) -> str:
    """Return an event of 117 bytes."""
    return f"{words(number)}" * 4 + "and nobody has to look at any of this for long, as there is nothing in it. "


def mail(number: int) -> str:
    """Return an event that has to be changed."""
    return f"write to reader{number % 10}@example.com, "


@dataclass(frozen=True, slots=True)
class Case:
    """What is on, and what the events say."""

    name: str
    say: Say = words
    redacted: bool = False
    budget: bool = False


CASES: Final = (
    Case("nothing on, words"),
    Case("a budget, words", budget=True),
    Case("redaction, words", redacted=True),
    Case("redaction and a budget, words", redacted=True, budget=True),
    Case("nothing on, sentences", sentence),
    Case("redaction, sentences", sentence, redacted=True),
    Case("nothing on, an address each", mail),
    Case("redaction, an address each", mail, redacted=True),
)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int = 7
    streams: int = 100
    events: int = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU microseconds of an event by case and round; bytes a stream holds when it is open and after its events."""

    event_us: dict[str, list[float]]
    held_bytes: dict[str, tuple[float, float]]
    matches: dict[str, int]


class NoLedger(Ledger):
    """Has seen nothing."""

    async def spent(self, tenant_id: TenantId, month: str) -> int:
        """Return nothing."""
        del tenant_id, month
        return 0


class Unmerged(Segments):
    """Leaves segments as they are."""

    async def merge(self, place: tuple[TenantId, InvocationId], first: int, last: int) -> None:
        """Do nothing."""
        del place, first, last


class Bench:
    """What all streams share."""

    def __init__(self, meters: Meters, tenant: Tenant) -> None:
        self.meters = meters
        self.tenant = tenant
        self.redactor = Redactor(Policy("redact"))

    @asynccontextmanager
    async def streams(self, case: Case, many: int) -> AsyncIterator[list["Stream"]]:
        """Open streams, and have what they logged on its way to the end of the block."""
        clock, metrics = SystemClock(), CollectorRegistry()
        tails, segments, journal = object.__new__(Still), object.__new__(Unmerged), Journal(taken, clock, metrics)
        logs = StreamLogs(tails, segments, journal, sure=lambda: True, clock=clock, metrics=metrics)
        async with logs.running():
            opened = [await self._open(case, logs.open(self.tenant.tenant_id, _id(at), 600)) for at in range(many)]
            yield opened
            for stream in opened:
                await stream.end()
                self.meters.close(stream.run.meter)

    async def _open(self, case: Case, log: StreamLog) -> "Stream":
        budget = _BUDGET_MICROUSD if case.budget else None
        tenant = self.tenant.model_copy(update={"monthly_budget_microusd": budget})
        meter = await self.meters.open(tenant, agent(_PRICE), 100, None)
        run = Run(ended(self.tenant.tenant_id, samples.NOW), meter, time.monotonic)
        return Stream(run, log, self.redactor if case.redacted else None)


class Stream:
    """One open stream: what an event passes."""

    def __init__(self, run: Run, log: StreamLog, redactor: Redactor | None) -> None:
        self.run = run
        self.log = log
        self.decisions: list[Decision] = []
        self.chain = None if redactor is None else StreamChain(redactor.stream(), self.decisions.append)
        self._splitter = EventSplitter(limit_bytes=_LIMIT_BYTES)
        self._offer = run.metering(self._out)
        self._number = 0

    async def arrive(self, data: bytes) -> None:
        """Pass on what an agent sent."""
        # As a gateway does: what nothing has to look at is offered at once.
        alone = self._splitter.alone(data) if self.chain is None else None
        if alone is not None and self._offer(alone):
            return
        chunks = await self.run.metered(list(self._splitter.feed(data)))
        if self.chain is None:
            await self._write(*chunks)
        else:
            await self.chain.through(chunks, self._write)

    async def end(self) -> None:
        """Let go of what still waits."""
        if self.chain is not None:
            await self._write(*self.chain.finish())
        self.log.close()

    def _out(self, event: bytes) -> bool:
        self._number += 1
        self.log.append(frame(self._number, b"agent.chunk", event))
        return True

    async def _write(self, *events: bytes) -> None:
        for event in events:
            self._out(event)


@asynccontextmanager
async def running_bench(redis_url: str) -> AsyncIterator[Bench]:
    """Build what meters and redacts."""
    clock, tenant = SystemClock(), samples.tenant(TenantId("bench"))
    budgeted = tenant.model_copy(update={"monthly_budget_microusd": _BUDGET_MICROUSD})

    async def find(_: TenantId) -> Tenant:
        return budgeted

    async def warn(_: BudgetWarning) -> None:
        return

    async with Redis.from_url(redis_url) as redis:
        trips = RoundTrips(redis, clock=clock, metrics=CollectorRegistry())
        changes, ledger = ChangeFeed(redis, clock=clock), object.__new__(NoLedger)
        budgets = Budgets(trips, ledger, find, changes, clock=clock, name="bench", warn=warn)
        yield Bench(Meters(budgets, clock), tenant)
        await budgets.rest(now=True)
        await trips.aclose()


async def measured(bench: Bench, extent: Extent) -> Figures:
    """Take every figure, the cases of a round one after the other."""
    event_us: dict[str, list[float]] = {case.name: [] for case in CASES}
    matches: dict[str, int] = {}
    for _ in range(extent.rounds):
        for case in CASES:
            cost, matches[case.name] = await _event_us(bench, case, extent)
            event_us[case.name].append(cost)
    return Figures(event_us, {case.name: await _held_bytes(bench, case, extent) for case in CASES}, matches)


async def _event_us(bench: Bench, case: Case, extent: Extent) -> tuple[float, int]:
    arrivals = _arrivals(case, extent.events)
    async with bench.streams(case, extent.streams) as streams:
        began_s = time.process_time()
        for data in arrivals:
            await _pass(streams, [data])
            # The logs' own work belongs to it.
            await asyncio.sleep(0)
        spent_s = time.process_time() - began_s
    found = sum(decision.matches for stream in streams for decision in stream.decisions)
    return spent_s * 1e6 / (len(streams) * len(arrivals)), found


async def _held_bytes(bench: Bench, case: Case, extent: Extent) -> tuple[float, float]:
    """Return the Python memory that a stream holds at first, and with all its events in the log and none stored."""
    arrivals = _arrivals(case, extent.events)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        async with bench.streams(case, extent.streams) as streams:
            opened = tracemalloc.get_traced_memory()[0]
            await _pass(streams, arrivals)
            passed = tracemalloc.get_traced_memory()[0]
            return (opened - before) / extent.streams, (passed - before) / extent.streams
    finally:
        tracemalloc.stop()


async def _pass(streams: Sequence[Stream], arrivals: Sequence[bytes]) -> None:
    for data in arrivals:
        for stream in streams:
            await stream.arrive(data)


def _arrivals(case: Case, events: int) -> list[bytes]:
    texts = (orjson.dumps({"type": "delta", "index": at, "text": case.say(at)}) for at in range(events))
    return [b"data: %b\n\n" % text for text in texts]


def _id(number: int) -> InvocationId:
    return InvocationId(f"inv_{number:026d}")


def told(figures: Figures, extent: Extent, load: float) -> str:
    """Return the figures as a table for people."""
    lines = [
        f"{extent.rounds} rounds of {extent.streams} streams of {extent.events} events; median (least to most)",
        f"load average {load:.1f} before: differences hold, figures are noisy",
        "",
        f"{'':<32}{'µs CPU an event':<26}{'KiB a stream: open':>20}{f'after {extent.events} events':>20}",
    ]
    for name, costs in figures.event_us.items():
        cost = f"{statistics.median(costs):6.1f}  ({min(costs):.1f} to {max(costs):.1f})"
        opened, passed = (held / 1024 for held in figures.held_bytes[name])
        lines.append(f"{name:<32}{cost:<26}{opened:>20.1f}{passed:>20.1f}")
    lines += ["", "with its events in the log, none stored yet; a connection's own memory: make bench-crowd"]
    return "\n".join(lines) + "\n"


async def measure(extent: Extent) -> str:
    """Start Redis, measure, and return the table."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        port, state = free_port(), Path(folder)
        redis = await start_redis(port, state / "redis", state / "redis.log")
        try:
            async with running_bench(f"redis://127.0.0.1:{port}/0") as bench:
                return told(await measured(bench, extent), extent, load)
        finally:
            await stop(redis)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-interceptors")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--events", type=int, default=100)
    chosen = parser.parse_args()
    sys.stdout.write(asyncio.run(measure(Extent(chosen.rounds, chosen.streams, chosen.events))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
