"""What parts count for themselves, read when metrics are asked for: counting must cost the parts no more than a sum."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

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
    """Counters that only rise, each read from its part."""

    def __init__(self, caches: Mapping[str, Cache], totals: Mapping[str, tuple[str, Callable[[], int]]]) -> None:
        """Take caches by name, and totals by metric name (without `_total`) with their description."""
        self._caches: Final = caches
        self._totals: Final = totals

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
