"""The numbers of HTTP exchanges. Their labels are the route table's own words: nothing a caller says makes a series."""

from prometheus_client import CollectorRegistry, Counter


class Traffic:
    """Counts a process's requests and what they were refused for."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._requests = Counter(
            "lockgate_requests_total", "Requests answered", ["method", "route", "status"], registry=metrics
        )
        self._problems = Counter(
            "lockgate_problems_total", "Requests answered with a problem, by its code", ["code"], registry=metrics
        )
        # Finding a series by its labels costs more than counting.
        self._series: dict[tuple[str, str, int], Counter] = {}

    def answered(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is the route's pattern."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._requests.labels(method, route, str(status))
        series.inc()

    def refused(self, code: str) -> None:
        """Count a problem."""
        self._problems.labels(code).inc()
