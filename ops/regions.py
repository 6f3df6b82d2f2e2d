"""Builds a process's ways to AgentCore's regions, and what follows the flag that says which serves."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from agents.authorize import SigV4Authorizer
from agents.breaker import Breakers
from agents.region_health import RegionHealth
from agents.region_watch import RegionWatch
from agents.regions import Regions, Way
from agents.sigv4 import Credentials, SigV4Signer
from agents.upstream import open_upstream
from ops.settings import Settings
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.platform_store import PlatformStore


@dataclass(frozen=True, slots=True)
class Regional:
    """The regions, what keeps them true, how they answer, and what spares the runtimes in them."""

    regions: Regions
    watch: RegionWatch
    health: RegionHealth
    breakers: Breakers


@asynccontextmanager
async def regional(
    settings: Settings,
    credentials: Credentials,
    flag: PlatformStore,
    changes: ChangeFeed,
    *,
    clock: Clock,
    metrics: CollectorRegistry,
) -> AsyncIterator[Regional]:
    """Open the ways for the block, home's first; who takes them runs the watch."""
    urls = {settings.runtime_region: settings.agentcore_url, settings.failover_region: settings.failover_url}
    async with AsyncExitStack() as stack:
        ways = []
        for region, url in urls.items():
            upstream = await stack.enter_async_context(open_upstream(url, clock=clock))
            ways.append(Way(region, upstream, SigV4Authorizer(SigV4Signer(region), credentials, clock)))
        regions = Regions(ways)
        watch, breakers = RegionWatch(flag, regions, changes, clock=clock), Breakers(clock, metrics)
        health = RegionHealth(clock, metrics)
        regions.on_switch(breakers.forget)
        regions.on_switch(health.anew)
        yield Regional(regions, watch, health, breakers)
