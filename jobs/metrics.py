"""The numbers of the jobs floor, for the process's Prometheus registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class JobMetrics:
    """Counters and timings of submitting and driving jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.submitted = Counter("lockgate_jobs_submitted_total", "Jobs stored", registry=registry)
        self.ended = Counter("lockgate_jobs_ended_total", "Jobs ended, by status", ["status"], registry=registry)
        self.ticks = Counter("lockgate_job_ticks_total", "Ticks run, by outcome", ["outcome"], registry=registry)
        self.tick_seconds = Histogram(
            "lockgate_job_tick_seconds",
            "Time one tick took",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 130),
        )
        self.enqueue_failures = Counter(
            "lockgate_job_enqueue_failures_total", "Ticks that Redis did not take", registry=registry
        )
        self.owed = Gauge(
            "lockgate_job_ticks_owed", "Ticks that Redis did not take and is asked to take again", registry=registry
        )
        self.upstream_faults = Counter(
            "lockgate_job_upstream_faults_total", "Faults of the runtime, by code", ["code"], registry=registry
        )
