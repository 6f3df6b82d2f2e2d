"""What parts count for themselves, read when metrics are asked for: counting must cost the parts no more than a sum."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Cache(Protocol):
    """A cache that counts."""

    @property
    def hits(self) -> int:
        """Answers given from a copy."""
        ...

    @property
    def loads(self) -> int:
        """Loads begun."""
        ...

    @property
    def failures(self) -> int:
        """Loads that failed."""
        ...


class Readings(Collector):
    """Counters that only rise, each read from its part; one for a process's registry."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._caches: dict[str, Cache] = {}
        self._totals: dict[str, tuple[str, Callable[[], int]]] = {}
        metrics.register(self)

    def cache(self, name: str, cache: Cache) -> None:
        """Read a cache."""
        self._caches[name] = cache

    def total(self, name: str, text: str, read: Callable[[], int]) -> None:
        """Read a counter; its series has the name with `_total`."""
        self._totals[name] = (text, read)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield every counter as it stands."""
        if self._caches:
            yield self._by_cache("lockgate_cache_hits", "Reads answered from a local copy", lambda cache: cache.hits)
            yield self._by_cache("lockgate_cache_loads", "Loads of a copy begun", lambda cache: cache.loads)
            yield self._by_cache("lockgate_cache_failures", "Loads of a copy failed", lambda cache: cache.failures)
        for name, (text, read) in self._totals.items():
            yield CounterMetricFamily(name, text, value=read())

    def _by_cache(self, name: str, text: str, read: Callable[[Cache], int]) -> CounterMetricFamily:
        family = CounterMetricFamily(name, text, labels=["cache"])
        for cache, counted in self._caches.items():
            family.add_metric([cache], read(counted))
        return family
