"""The metrics of several workers, read back from the text that Prometheus would scrape."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ops.aggregate import Totals

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def metrics(count: int, seconds: float = 0.3, live: int = 0) -> bytes:
    registry = CollectorRegistry()
    Counter("asked_total", "Asked", ["code"], registry=registry).labels("ok").inc(count)
    Histogram("took_seconds", "Took", registry=registry, buckets=(0.5, 1)).observe(seconds)
    Gauge("live", "Live", registry=registry).set(live)
    return generate_latest(registry)


def samples(text: bytes) -> Samples:
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_counters_and_histograms_are_summed() -> None:
    totals = Totals()
    totals.seen("one", metrics(2, 0.3))
    totals.seen("two", metrics(5, 0.7))
    found = samples(totals.text({}))
    assert found["asked_total", (("code", "ok"),)] == 7
    assert found["took_seconds_bucket", (("le", "0.5"),)] == 1
    assert found["took_seconds_bucket", (("le", "+Inf"),)] == 2
    assert found["took_seconds_count", ()] == 2
    assert found["took_seconds_sum", ()] == 1.0


def test_a_gauge_says_whose_it_is_and_only_of_those_who_serve() -> None:
    totals = Totals()
    for worker, live in (("one", 3), ("two", 4), ("leaving", 9)):
        totals.seen(worker, metrics(1, live=live))
    found = samples(totals.text({"one": "1", "two": "2"}))
    assert {key: value for key, value in found.items() if key[0] == "live"} == {
        ("live", (("worker", "1"),)): 3,
        ("live", (("worker", "2"),)): 4,
    }


def test_a_worker_that_has_ended_stays_in_the_sum_with_its_last_word() -> None:
    totals = Totals()
    totals.seen("old", metrics(2))
    totals.ended("old", metrics(3))
    totals.seen("new", metrics(10))
    assert samples(totals.text({}))["asked_total", (("code", "ok"),)] == 13


def test_a_crashed_worker_stays_in_the_sum_as_last_seen() -> None:
    totals = Totals()
    totals.seen("crashed", metrics(2))
    totals.ended("crashed", None)
    assert samples(totals.text({}))["asked_total", (("code", "ok"),)] == 2


def test_a_worker_seen_again_is_not_counted_twice() -> None:
    totals = Totals()
    totals.seen("one", metrics(2))
    totals.seen("one", metrics(6))
    assert samples(totals.text({}))["asked_total", (("code", "ok"),)] == 6


def test_the_text_can_be_read_and_names_each_family_once() -> None:
    totals = Totals()
    totals.seen("one", metrics(2))
    totals.seen("two", metrics(2))
    text = totals.text({"one": "1", "two": "2"}).decode()
    kinds = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))
    assert "# TYPE asked_total counter" in kinds
    assert "# TYPE took_seconds histogram" in kinds
