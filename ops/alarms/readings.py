"""What processes told on their private ports at one moment, and what their counters grew by between such moments."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict, ValidationError

Labels = tuple[tuple[str, str], ...]
Series = Mapping[Labels, float]
Where = Mapping[str, Sequence[str]]

READY: Final = "ready"
_TIMEOUT: Final = ClientTimeout(total=4)


@dataclass(frozen=True, slots=True)
class Told:
    """What one process told: what is wrong with it, `ready` where it serves nobody, and its metrics by name."""

    wrong: frozenset[str] = frozenset({READY})
    metrics: Mapping[str, Series] = field(default_factory=dict)
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What every process told at one moment."""

    at_s: float
    processes: Mapping[str, Told]

    def highest(self, metric: str) -> float | None:
        """Return where a gauge stands at its highest; None where nobody told it."""
        values = [value for told in self.processes.values() for value in told.metrics.get(metric, {}).values()]
        return max(values, default=None)

    def total(self, metric: str, where: Where) -> float:
        """Return the sum of a metric's series."""
        return sum(
            value
            for told in self.processes.values()
            for labels, value in told.metrics.get(metric, {}).items()
            if _counts(labels, where)
        )


class _Ready(BaseModel):
    model_config = ConfigDict(extra="ignore")

    ready: bool
    wrong: tuple[str, ...] = ()
    # Of several workers; what is wrong with one is wrong with the process.
    workers: Mapping[str, "_Ready"] = {}

    def all_wrong(self) -> Iterator[str]:
        yield from self.wrong
        for worker in self.workers.values():
            yield from worker.all_wrong()


async def read(ports: Mapping[str, str], at_s: float) -> Reading:
    """Ask every process, by its name and the base URL of its private port; one that does not answer is not ready."""
    async with ClientSession(timeout=_TIMEOUT) as session:
        told = await asyncio.gather(*(_ask(session, url) for url in ports.values()))
    return Reading(at_s, dict(zip(ports, told, strict=True)))


async def _ask(session: ClientSession, url: str) -> Told:
    try:
        async with session.get(f"{url}/ready") as answer:
            ready = _Ready.model_validate_json(await answer.read())
        async with session.get(f"{url}/metrics") as answer:
            metrics = parsed(await answer.text())
    except (ClientError, TimeoutError, ValidationError, orjson.JSONDecodeError):
        return Told()
    wrong = frozenset(ready.all_wrong()) | (frozenset() if ready.ready else {READY})
    return Told(wrong, metrics, answered=True)


def parsed(text: str) -> Mapping[str, Series]:
    """Return the samples of Prometheus text by their names; only ours, and no buckets."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("lockgate_"):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def rise(readings: Sequence[Reading], metric: str, where: Where, since_s: float) -> float:
    """Return what a counter grew by after `since_s`, over processes that ended and were started again.

    What a process tells at the first reading of all counts as grown: the watch is as old as what it watches.
    """
    grown, last = 0.0, dict[tuple[str, Labels], float]()
    for reading in readings:
        for process, told in reading.processes.items():
            for labels, value in told.metrics.get(metric, {}).items():
                before = last.get((process, labels), 0.0)
                last[process, labels] = value
                if reading.at_s > since_s and _counts(labels, where):
                    # A count that fell began anew.
                    grown += value - before if value >= before else value
    return grown


def _counts(labels: Labels, where: Where) -> bool:
    told = dict(labels)
    return all(told.get(name) in values for name, values in where.items())
