"""The numbers of the jobs floor, for the process's Prometheus registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class JobMetrics:
    """Counters and timings of submitting and driving jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.submitted = Counter("lockgate_jobs_submitted_total", "Jobs stored", registry=registry)
        self.started = Counter("lockgate_jobs_started_total", "Jobs begun for the first time", registry=registry)
        self.waited = Counter(
            "lockgate_jobs_waited_total",
            "Times a job found as many of its tenant's running as may run",
            registry=registry,
        )
        self.dead_letters = Counter(
            "lockgate_jobs_dead_letters_total", "Jobs given up on because they kept killing workers", registry=registry
        )
        self.ended = Counter("lockgate_jobs_ended_total", "Jobs ended, by status", ["status"], registry=registry)
        self.ticks = Counter(
            "lockgate_job_ticks_total", "Ticks run, by kind and outcome", ["kind", "outcome"], registry=registry
        )
        self.tick_lag = Histogram(
            "lockgate_job_tick_lag_seconds",
            "Time from when a tick was due until it ran, by kind",
            ["kind"],
            registry=registry,
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
        )
        self.tick_seconds = Histogram(
            "lockgate_job_tick_seconds",
            "Time one tick took, by kind",
            ["kind"],
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
        self.sweeps = Counter(
            "lockgate_sweeps_total", "Rounds over what is owed a tick, by outcome", ["outcome"], registry=registry
        )
        self.swept = Counter(
            "lockgate_sweep_ticks_total", "Ticks a sweep asked for, by kind", ["kind"], registry=registry
        )
        self.overdue = Gauge(
            "lockgate_sweep_overdue",
            "What the last sweep of this process found overdue, by table",
            ["table"],
            registry=registry,
        )
        self.oldest_overdue_s = Gauge(
            "lockgate_sweep_oldest_overdue_seconds", "How long the oldest of it was overdue", registry=registry
        )
        self.leading = Gauge("lockgate_sweep_leading", "1 where this process sweeps", registry=registry)
