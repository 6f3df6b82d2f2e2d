"""docs/OPERATIONS.md lists every metric a process registers, with its labels, and nothing else."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from ops.gateway_process import gateway
from ops.listen import bind
from ops.logs import LineWriter
from ops.serve import _hosted
from ops.settings import Settings
from ops.supervise import Supervisor
from ops.telemetry import Telemetry
from tenancy.clock import SystemClock
from tests.docs.papers import pages

PAGE = "docs/OPERATIONS.md"
OURS = "lockgate_"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registries(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[CollectorRegistry]]:
    """Return the registries of a gateway that serves and of a parent, built as they are in production."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "none")
        yield await _registries(tmp_path_factory.mktemp("workers"))


async def _registries(folder: Path) -> list[CollectorRegistry]:
    settings, parents = Settings(redis_url=NOWHERE), CollectorRegistry()
    async with gateway(settings) as process, _hosted(process, settings):
        writer = LineWriter(1, lambda _: b"")
        Telemetry(writer).measured(process.private.metrics)
        writer.close()
    Supervisor(1, lambda: bind("127.0.0.1", 0), folder, parents, SystemClock())
    return [process.private.metrics, parents]


def registered(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield every metric of ours, as it is exposed, with its labels."""
    collectors: set[Collector] = set(registry._collector_to_names)
    for collector in collectors:
        for metric in collector.collect():
            labels = frozenset(
                collector._labelnames
                if isinstance(collector, MetricWrapperBase)
                else {name for sample in metric.samples for name in sample.labels}
            )
            if metric.name.startswith(OURS):
                yield metric.name + ("_total" if metric.type == "counter" else ""), labels


def listed() -> dict[str, frozenset[str]]:
    rows = [row for row in pages()[PAGE].rows() if row[0].startswith(f"`{OURS}")]
    assert [row for row in rows if len(row) != 3 or not row[2]] == []
    return {row[0].strip("`"): frozenset() if row[1] == "-" else frozenset(row[1].split(", ")) for row in rows}


async def test_every_metric_is_documented_with_its_labels(registries: list[CollectorRegistry]) -> None:
    assert dict(pair for registry in registries for pair in registered(registry)) == listed()


async def test_no_metric_is_exposed_twice(registries: list[CollectorRegistry]) -> None:
    for registry in registries:
        types = Counter(line for line in generate_latest(registry).decode().splitlines() if line.startswith("# TYPE"))
        assert [line for line, times in types.items() if times > 1] == []


async def test_no_metric_has_a_label_without_bound(registries: list[CollectorRegistry]) -> None:
    labels = {label for registry in registries for _, names in registered(registry) for label in names}
    assert labels & {"tenant", "tenant_id", "principal", "path", "session", "invocation", "job"} == set()
