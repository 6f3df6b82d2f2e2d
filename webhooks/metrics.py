"""The numbers of the webhooks floor, for the process's Prometheus registry."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class WebhookMetrics:
    """Counters and timings of fanning out and delivering."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter("lockgate_webhook_deliveries_total", "Deliveries made of events", registry=registry)
        self.attempts = Counter(
            "lockgate_webhook_attempts_total", "HTTP attempts, by what came of them", ["result"], registry=registry
        )
        self.attempt_seconds = Histogram(
            "lockgate_webhook_attempt_seconds",
            "Time one attempt took",
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
        )
        self.first_attempt_seconds = Histogram(
            "lockgate_webhook_first_attempt_seconds",
            "Time from an event to the first attempt to deliver it",
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self.ended = Counter(
            "lockgate_webhook_deliveries_ended_total", "Deliveries ended, by status", ["status"], registry=registry
        )
        self.put_off = Counter("lockgate_webhook_put_off_total", "Attempts put off for want of room", registry=registry)
        self.held = Counter(
            "lockgate_webhook_held_total", "Looks at deliveries of suspended tenants", registry=registry
        )
        self.disabled = Counter(
            "lockgate_webhook_endpoints_disabled_total", "Endpoints disabled, by reason", ["reason"], registry=registry
        )
