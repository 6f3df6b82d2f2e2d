"""Counts a process's runtime sessions with everybody's, and has metrics tell how near they are to AgentCore's quota."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Gauge

from agents.census import Census
from ops.beside import running
from tenancy.clock import Clock
from tenancy.trips import RoundTrips


@asynccontextmanager
async def counting(trips: RoundTrips, limit: int, clock: Clock, metrics: CollectorRegistry) -> AsyncIterator[Census]:
    """Count for the block."""
    census = Census(trips, clock)
    Gauge(
        "lockgate_runtime_sessions", "Runtime sessions in use by all processes, as last counted", registry=metrics
    ).set_function(lambda: census.last.total)
    Gauge(
        "lockgate_runtime_sessions_loudest", "Of them, those of the tenant that has the most", registry=metrics
    ).set_function(lambda: census.last.loudest)
    Gauge("lockgate_runtime_sessions_limit", "AgentCore's quota of them", registry=metrics).set(limit)
    async with running(census.run()):
        yield census
