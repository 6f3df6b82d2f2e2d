"""A full quota, rehearsed: sessions that do not exist are counted as a tenant's, for nothing but the count."""

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.census import Census
from ops.devstack import echo
from ops.devstack.ports import HOST
from tenancy.clock import SystemClock
from tenancy.ids import TenantId, new_session_id
from tenancy.trips import RoundTrips


async def crowd(redis_port: int, tenant_id: TenantId, count: int) -> None:
    """Count so many sessions of the reference agent as a tenant's; raises RedisAwayError."""
    clock = SystemClock()
    redis: Redis = Redis.from_url(f"redis://{HOST}:{redis_port}/0")
    try:
        census = Census(RoundTrips(redis, clock=clock, metrics=CollectorRegistry()), clock)
        agent = echo.version("", clock.now())
        for _ in range(count):
            census.used(tenant_id, agent, new_session_id())
        await census.count()
    finally:
        await redis.aclose()
