"""The metrics of several workers as those of one process.

Counters, histograms and summaries are summed over the workers, those that have ended included: a sum never falls, so
`rate()` stays true over restarts. Gauges say how one process stands: they are not summed but carry its place as
`worker`. What a crashed worker counted since it was last asked is lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SUMMED: Final = frozenset({"counter", "histogram", "summary"})

Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]


@dataclass(slots=True)
class _Family:
    name: str
    text: str
    kind: str
    series: Series = field(default_factory=dict)

    def add(self, other: "_Family") -> None:
        for key, value in other.series.items():
            self.series[key] = self.series.get(key, 0.0) + value


Families = dict[str, _Family]


class Totals:
    """Sums what workers counted; any hashable thing stands for a worker."""

    def __init__(self) -> None:
        self._seen: dict[object, Families] = {}
        self._past: Families = {}

    def seen(self, worker: object, text: bytes) -> None:
        """Take a worker's metrics as they stand now."""
        self._seen[worker] = _parsed(text)

    def ended(self, worker: object, text: bytes | None) -> None:
        """Take the last metrics of a worker that has ended; None where only those last seen are known."""
        last = self._seen.pop(worker, {}) if text is None else _parsed(text)
        self._seen.pop(worker, None)
        _sum_into(self._past, last)

    def text(self, labels: Mapping[object, str]) -> bytes:
        """Return the sum, with the gauges of the workers that have a label; it is their `worker`."""
        merged: Families = {}
        _sum_into(merged, self._past)
        for worker, families in self._seen.items():
            _sum_into(merged, families)
            if worker in labels:
                _label_into(merged, families, labels[worker])
        return generate_latest(_Merged(merged))


class _Merged(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families.values():
            metric = Metric(family.name, family.text, family.kind)
            for (name, labels), value in family.series.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def _parsed(text: bytes) -> Families:
    found: Families = {}
    for metric in text_string_to_metric_families(text.decode()):
        family = found.setdefault(metric.name, _Family(metric.name, metric.documentation, metric.type))
        for sample in metric.samples:
            family.series[sample.name, tuple(sample.labels.items())] = sample.value
    return found


def _sum_into(merged: Families, families: Families) -> None:
    for name, family in families.items():
        if family.kind in _SUMMED:
            merged.setdefault(name, _Family(name, family.text, family.kind)).add(family)


def _label_into(merged: Families, families: Families, label: str) -> None:
    for name, family in families.items():
        if family.kind not in _SUMMED:
            target = merged.setdefault(name, _Family(name, family.text, family.kind))
            for (sample, labels), value in family.series.items():
                target.series[sample, (*labels, ("worker", label))] = value
