"""Builds every object of a process once, in order, and closes them in reverse.

`floor` is what each process stands on: the clock, the AWS and Redis clients behind their guards, the doors to data,
the way to agents. The gateway adds the request path to it (`ops.gateway_process`), the worker ticks (`ops.work`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import aioboto3
import aiohttp
from arq.connections import ArqRedis
from botocore.config import Config
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from redis.asyncio import Redis

from agents.answer import AnswerLimits
from agents.authorize import Outgoing, SigV4Authorizer
from agents.catalog import Catalog
from agents.census import Census
from agents.retries import RetryBudget
from agents.runtime import AgentCore, RuntimeTimeouts
from agents.sigv4 import Credentials, SigV4Signer
from agents.upstream import open_upstream
from gateway.interceptors.bound import Interceptors
from gateway.interceptors.decisions import Decisions
from gateway.tooltokens import ToolKeys, ToolTokens
from jobs.metrics import JobMetrics
from jobs.queue import JobQueue, WebhookTicks
from jobs.store import JobStore
from jobs.ticks import TickQueue, connect
from ops.beside import running
from ops.census import counting
from ops.outbound import StorePost, open_http
from ops.private import Check, PrivatePort
from ops.readings import Readings
from ops.regions import Regional, regional
from ops.settings import Settings
from ops.webhooks import Webhooks, webhooks
from tenancy import client_guard, straight
from tenancy.audit import AuditTrail
from tenancy.chain import AuditChain
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock, SystemClock
from tenancy.data_models import ProcessLease
from tenancy.errors import OnViolation
from tenancy.estate import Estate
from tenancy.ids import AgentName
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tenancy.trips import RoundTrips

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_s3.client import S3Client

    from ops.tracing import Traces

# How long a process that ends waits for what it still has to write.
FLUSH_S: Final = 5.0
ANSWERS: Final = AnswerLimits(answer_bytes=16 * 1024 * 1024, event_bytes=1024 * 1024)
_AWS: Final = Config(
    connect_timeout=2,
    read_timeout=5,
    max_pool_connections=100,
    retries={"mode": "standard", "max_attempts": 3},
    # Else botocore composes one anew for every call, which takes a fifth of the call's time.
    user_agent="lockgate",
)
# An answer of Redis that takes longer is no answer: what Redis knows can be done without.
_REDIS_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Floor:
    """What every process stands on."""

    settings: Settings
    clock: Clock
    metrics: CollectorRegistry
    readings: Readings
    redis: Redis
    trips: RoundTrips
    stores: TenantStores
    platform: PlatformStore
    estate: Estate
    acts: PlatformActs
    audit: AuditTrail
    changes: ChangeFeed
    catalog: Catalog
    http: aiohttp.ClientSession
    runtime: AgentCore
    region: Regional
    credentials: Credentials
    tool_tokens: ToolTokens
    interceptors: Interceptors
    census: Census
    traces: "Traces | None"
    jobs: JobStore
    job_metrics: JobMetrics
    arq: ArqRedis
    queue: JobQueue
    webhook_ticks: WebhookTicks
    webhooks: Webhooks

    @property
    def chain(self) -> AuditChain:
        """What operators' acts are told on."""
        return AuditChain(self.stores, self.clock)

    def private(self, draining: Callable[[], bool]) -> PrivatePort:
        """Return the private port of this process."""
        required: dict[str, Check] = {"dynamodb": self._reads_dynamodb, "region": self.region.watch.ready}
        degraded: dict[str, Check] = {"redis": self.redis.ping, "agentcore": self.region.breakers.check}
        return PrivatePort(self.metrics, required, degraded, draining)

    def telling(self, lease: ProcessLease) -> ProcessLease:
        """Add to a process's lease which region it serves and how that answers."""
        serving = self.region.regions.serving
        lately = self.region.health.lately(serving)
        return lease.model_copy(update={"region": serving, "calls": lately.calls, "faults": lately.faults})

    async def _reads_dynamodb(self) -> None:
        await self.platform.agent_version(AgentName("readiness"), "0.0.0")


@asynccontextmanager
async def floor(settings: Settings) -> AsyncIterator[Floor]:
    """Build what a process stands on, and close it when left."""
    async with AsyncExitStack() as stack:
        clock, metrics = SystemClock(), _metrics()
        session = aioboto3.Session()
        audit, http = AuditTrail(clock=clock, metrics=metrics), await stack.enter_async_context(open_http())
        dynamodb, s3 = await _guarded(stack, session, settings, audit.on_violation, clock)
        stores = _stores(settings, dynamodb, s3, audit.on_violation, clock)
        platform = PlatformStore(dynamodb, table_prefix=settings.table_prefix, on_violation=audit.on_violation)
        redis = await stack.enter_async_context(_redis(settings))
        trips = RoundTrips(redis, clock=clock, metrics=metrics)
        stack.push_async_callback(bounded, trips.aclose)
        changes = ChangeFeed(redis, clock=clock)
        catalog = Catalog(platform, changes, clock=clock)
        stack.push_async_callback(catalog.aclose)
        credentials: Credentials = await session.get_credentials()
        tokens = _tool_tokens(settings, clock)
        census = await stack.enter_async_context(counting(trips, settings.runtime_sessions, clock, metrics))
        region = await stack.enter_async_context(
            regional(settings, credentials, platform, changes, clock=clock, metrics=metrics)
        )
        runtime = _runtime(settings, region, tokens, census=census, clock=clock, metrics=metrics)
        job_store, job_metrics = JobStore(stores, clock), JobMetrics(metrics)
        arq, ticks = await stack.enter_async_context(_ticks(settings, clock, job_metrics))
        queue = JobQueue(job_store, ticks, clock=clock, metrics=job_metrics, job_timeout_s=settings.job_timeout_s)
        webhook_ticks = WebhookTicks(ticks)
        hooks = webhooks(settings, stores, audit, webhook_ticks.delivery, clock=clock, registry=metrics)
        audit.start(stores)
        stack.push_async_callback(bounded, audit.aclose)
        await stack.enter_async_context(running(changes.run()))
        await stack.enter_async_context(running(region.watch.run()))
        yield Floor(
            settings=settings,
            clock=clock,
            metrics=metrics,
            readings=_readings(metrics, catalog, changes),
            redis=redis,
            trips=trips,
            stores=stores,
            platform=platform,
            estate=_estate(settings, dynamodb, s3, redis, clock),
            acts=PlatformActs(dynamodb, table_prefix=settings.table_prefix),
            audit=audit,
            changes=changes,
            catalog=catalog,
            http=http,
            runtime=runtime,
            region=region,
            credentials=credentials,
            tool_tokens=tokens,
            interceptors=Interceptors(Decisions(metrics)),
            census=census,
            traces=await stack.enter_async_context(_traces(settings)),
            jobs=job_store,
            job_metrics=job_metrics,
            arq=arq,
            queue=queue,
            webhook_ticks=webhook_ticks,
            webhooks=stack.enter_context(hooks),
        )


@asynccontextmanager
async def _traces(settings: Settings) -> "AsyncIterator[Traces | None]":
    """Give what makes spans, where somebody collects them."""
    if settings.otlp_endpoint is None:
        yield None
        return
    # What it imports is paid for by those alone who collect spans.
    from ops.tracing import sending  # noqa: PLC0415

    async with sending(settings.otlp_endpoint, version("lockgate")) as traces:
        yield traces


def _estate(settings: Settings, dynamodb: "DynamoDBClient", s3: "S3Client", redis: Redis, clock: Clock) -> Estate:
    return Estate(dynamodb, s3, redis, table_prefix=settings.table_prefix, bucket=settings.bucket, clock=clock)


def _stores(
    settings: Settings, dynamodb: "DynamoDBClient", s3: "S3Client", on_violation: OnViolation, clock: Clock
) -> TenantStores:
    return TenantStores(
        dynamodb,
        s3,
        table_prefix=settings.table_prefix,
        bucket=settings.bucket,
        on_violation=on_violation,
        clock=clock,
    )


@asynccontextmanager
async def _ticks(settings: Settings, clock: Clock, metrics: JobMetrics) -> AsyncIterator[tuple[ArqRedis, TickQueue]]:
    """Give a way to ask for ticks; what Redis did not take is asked for again, and once more in the end."""
    arq = connect(settings.redis_url.get_secret_value())
    ticks = TickQueue(arq, clock=clock, metrics=metrics)
    try:
        async with running(ticks.run()):
            yield arq, ticks
    finally:
        await bounded(ticks.pay)
        await arq.aclose()


def _readings(metrics: CollectorRegistry, catalog: Catalog, changes: ChangeFeed) -> Readings:
    readings = Readings(metrics)
    promoted, others = catalog.copies
    readings.cache("agents", promoted)
    readings.cache("agent_versions", others)
    readings.total("lockgate_changes_malformed", "Words of a change ignored", lambda: changes.malformed)
    readings.total("lockgate_changes_unannounced", "Changes that Redis did not take", lambda: changes.unannounced)
    return readings


async def _guarded(
    stack: AsyncExitStack,
    session: aioboto3.Session,
    settings: Settings,
    on_violation: OnViolation,
    clock: Clock,
) -> "tuple[DynamoDBClient, S3Client]":
    """Open the AWS clients of the home region, each held to the active scope."""
    dynamodb = await stack.enter_async_context(
        session.client("dynamodb", region_name=settings.home_region, config=_AWS)
    )
    s3 = await stack.enter_async_context(session.client("s3", region_name=settings.home_region, config=_AWS))
    signer = SigV4Authorizer(SigV4Signer(settings.home_region, "dynamodb"), await session.get_credentials(), clock)

    async def sign(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        return await signer.headers(Outgoing("POST", "/", "", headers, body))

    upstream = await stack.enter_async_context(open_upstream(dynamodb.meta.endpoint_url, clock=clock))
    straight.install(dynamodb, StorePost(upstream), sign)
    for client in (dynamodb, s3):
        client_guard.install(
            client, table_prefix=settings.table_prefix, bucket=settings.bucket, on_violation=on_violation
        )
    return dynamodb, s3


def _metrics() -> CollectorRegistry:
    # A second series per counter that only says when the process began.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _redis(settings: Settings) -> Redis:
    redis: Redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        socket_timeout=_REDIS_TIMEOUT_S,
        health_check_interval=15,
    )
    return redis


def _runtime(
    settings: Settings,
    region: Regional,
    tokens: ToolTokens,
    *,
    census: Census,
    clock: Clock,
    metrics: CollectorRegistry,
) -> AgentCore:
    return AgentCore(
        region.regions,
        clock=clock,
        timeouts=RuntimeTimeouts(settings.sync_timeout_s, settings.stream_timeout_s),
        limits=ANSWERS,
        breakers=region.breakers,
        health=region.health,
        repeats=RetryBudget(metrics),
        token=tokens.mint,
        census=census,
    )


def _tool_tokens(settings: Settings, clock: Clock) -> ToolTokens:
    keys = ToolKeys.read(settings.tool_token_keys.get_secret_value())
    return ToolTokens(keys, settings.public_url, clock=clock)


async def bounded(work: Callable[[], Awaitable[None]]) -> None:
    """Wait for work that a store or runtime that is away would hold up for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_S):
            await work()
