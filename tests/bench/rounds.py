"""Rounds of measurements, the targets taking turns, so that what else the machine does falls on all alike.

All get the same load: at its own highest rate each would have the machine's caches to itself, and a proxy that does
less would look cheaper by request than it is.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import orjson

from tests.bench.load import Kind, Order, Sample
from tests.bench.targets import ROOT, Bench, Target

BASELINE: Final = "aiohttp on asyncio"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a run is, and how much at a time."""

    rounds: int
    seconds: float
    callers: int = 32
    requests_per_s: float = 250.0
    streams: int = 100
    events_per_s: float = 25.0
    open_streams: int = 300
    firsts: int = 60


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one target over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Return the median and the spread."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Result:
    """A run's figures by name and target, what went wrong, and how busy the machine was."""

    figures: Mapping[str, Mapping[str, Figure]]
    errors: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...]
    load_before: float
    load_after: float


class _Tally:
    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}
        self.errors: dict[str, tuple[str, ...]] = {}

    def add(self, figure: str, target: Target, value: float) -> None:
        self.values.setdefault(figure, {}).setdefault(target.name, []).append(value)

    def blame(self, target: Target, sample: Sample) -> Sample:
        self.errors[target.name] = (*self.errors.get(target.name, ()), *sample.errors)
        return sample


async def run(bench: Bench, extent: Extent) -> Result:
    """Measure every target in every round."""
    tally, load_before = _Tally(), os.getloadavg()[0]
    for target in bench.targets:
        await _warm(target, extent, tally)
    for number in range(extent.rounds):
        turn = number % len(bench.targets)
        direct = await _sample("first", bench.upstream, extent.firsts, 0)
        for target in (*bench.targets[turn:], *bench.targets[:turn]):
            await _round(target, extent, direct, tally)
    figures = {
        name: {target: Figure.of(values) for target, values in by_target.items()}
        for name, by_target in tally.values.items()
    }
    return Result(figures, tally.errors, bench.missing, load_before, os.getloadavg()[0])


async def _warm(target: Target, extent: Extent, tally: _Tally) -> None:
    """Fill caches and pools, then look at what open streams hold: later they would use memory freed before."""
    tally.blame(target, await _sample("unary", target, extent.callers, 0.3, per_s=extent.requests_per_s))
    opened = tally.blame(target, await _sample("stream", target, extent.open_streams, 0.5, per_s=1.0))
    tally.add("KiB / open stream", target, opened.rss_per_stream_bytes / 1024)


async def _round(target: Target, extent: Extent, direct: Sample, tally: _Tally) -> None:
    pace = extent.requests_per_s
    unary = tally.blame(target, await _sample("unary", target, extent.callers, extent.seconds, per_s=pace))
    stream = tally.blame(
        target, await _sample("stream", target, extent.streams, extent.seconds, per_s=extent.events_per_s)
    )
    first = tally.blame(target, await _sample("first", target, extent.firsts, 0))
    tally.add("µs CPU / unary request", target, unary.cpu_s * 1e6 / max(1, unary.units))
    tally.add("µs CPU / streamed event", target, stream.cpu_s * 1e6 / max(1, stream.units))
    tally.add("ms added to the first event, p50", target, first.median_ms - direct.median_ms)
    tally.add("ms / unary request, p50", target, unary.median_ms)
    tally.add("unary requests / s reached", target, unary.units / unary.seconds)


async def _sample(kind: Kind, target: Target, connections: int, seconds: float, *, per_s: float = 1.0) -> Sample:
    order = Order(
        kind=kind,
        port=target.port,
        pid=target.pid,
        path=target.path,
        headers=target.headers,
        wrapped=target.wrapped,
        connections=connections,
        seconds=seconds,
        per_s=per_s,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", orjson.dumps(order), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise RuntimeError(f"the load on {target.name} ended with {process.returncode}")
    return Sample(**orjson.loads(said))
