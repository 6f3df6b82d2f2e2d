"""What is measured: a light upstream, and beside each other what stands in front of it. Ends all it started."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aioboto3

from ops.bootstrap import ensure_bucket, ensure_tables
from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from ops.devstack.stores import start_redis, start_store
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion, IdentityBinding, Mode, ReleaseState, Tenant
from tenancy.ids import AgentName, TenantId
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tenancy.tiers import LimitOverrides, Tier
from tests.conftest import BUCKET, REGION, STORE_PYTHON
from tests.gateway.signing import AUDIENCE, DIRECTORY, Forge, running_authority

ROOT = Path(__file__).parents[2]
_PREFIX = "bench-"
_TENANT, _AGENT, _CLIENT = TenantId("bench"), AgentName("bench-agent"), "bench-client"
_ARN = f"arn:aws:bedrock-agentcore:{REGION}:000000000000:runtime/bench-0000000000"
_INVOCATIONS = f"/runtimes/{_ARN.replace(':', '%3A').replace('/', '%2F')}/invocations?qualifier=DEFAULT"
_SESSION = {"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "bench-" + "0" * 32}
# Premium in every respect, but a load generator has no other tenants to share the machine with.
_LIMITS = LimitOverrides(requests_per_s=100_000, burst_requests=100_000, concurrent_streams=10_000)
_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream agentcore {{ server 127.0.0.1:{upstream}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{
      proxy_pass http://agentcore; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers invocations, and how it wants to be asked."""

    name: str
    port: int
    pid: int
    path: str = _INVOCATIONS
    headers: dict[str, str] = field(default_factory=lambda: _SESSION)
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """All of them; `missing` names what this machine does not have."""

    upstream: Target
    targets: tuple[Target, ...]
    missing: tuple[str, ...]


@asynccontextmanager
async def running_bench(
    folder: Path, *, loops: Sequence[str] = ("asyncio", "uvloop"), profile: Path | None = None
) -> AsyncIterator[Bench]:
    """Start everything, a naive proxy per loop; `profile` runs Lockgate under cProfile, which writes there."""
    async with AsyncExitStack() as stack:
        upstream = await _start(stack, "upstream", [sys.executable, "-m", "tests.bench.upstream"], folder)
        naive = [
            await _start(
                stack,
                f"aiohttp on {loop}",
                [sys.executable, "-m", "tests.bench.naive"],
                folder,
                after=[f"http://127.0.0.1:{upstream.port}", loop],
            )
            for loop in loops
        ]
        nginx = await _nginx(stack, upstream, folder)
        lockgate = await _lockgate(stack, upstream, folder, profile)
        yield Bench(upstream, (lockgate, *naive, *nginx), () if nginx else ("nginx",))


async def _start(
    stack: AsyncExitStack, name: str, argv: list[str], folder: Path, *, after: list[str] | None = None
) -> Target:
    """Start a module that takes its port first; return it once it listens."""
    port = free_port()
    process = await _spawn(stack, name, [*argv, str(port), *(after or [])], folder, port, {})
    return Target(name, port, process.pid)


async def _spawn(
    stack: AsyncExitStack, name: str, argv: list[str], folder: Path, port: int, env: dict[str, str]
) -> asyncio.subprocess.Process:
    log = folder / f"{name.replace(' ', '-')}.log"
    process = await spawn(argv, env={"PYTHONPATH": str(ROOT), **env}, log=log)
    stack.push_async_callback(stop, process)
    await until_ready(name, process, lambda: listens(port), log=log, fix="see the log")
    return process


async def _nginx(stack: AsyncExitStack, upstream: Target, folder: Path) -> list[Target]:
    nginx = shutil.which("nginx")
    if nginx is None:
        return []
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, upstream=upstream.port, port=port))
    process = await _spawn(stack, "nginx", [nginx, "-p", str(folder), "-c", str(config)], folder, port, {})
    return [Target("nginx", port, process.pid)]


async def _lockgate(stack: AsyncExitStack, upstream: Target, folder: Path, profile: Path | None) -> Target:
    """Start one gateway worker with everything on, on a real Redis and a real store."""
    redis_port, store_port, port = free_port(), free_port(), free_port()
    redis, store = await asyncio.gather(
        start_redis(redis_port, folder / "redis", folder / "redis.log"),
        start_store(store_port, folder / "store", folder / "store.log", env_python=STORE_PYTHON),
    )
    stack.push_async_callback(stop, redis)
    stack.push_async_callback(stop, store)
    authority = await stack.enter_async_context(running_authority())
    await _plant(f"http://127.0.0.1:{store_port}", authority.url)
    env = {
        "LOCKGATE_ENVIRONMENT": "local",
        "LOCKGATE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "LOCKGATE_TABLE_PREFIX": _PREFIX,
        "LOCKGATE_BUCKET": BUCKET,
        "LOCKGATE_HOME_REGION": REGION,
        "LOCKGATE_RUNTIME_REGION": REGION,
        "LOCKGATE_AUTHORITY": authority.url,
        "LOCKGATE_AUDIENCE": AUDIENCE,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{store_port}",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{store_port}",
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": f"http://127.0.0.1:{upstream.port}",
    }
    watched = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    argv = [sys.executable, *watched, "-m", "ops.cli.main", "serve", "--port", str(port)]
    process = await _spawn(stack, "lockgate", [*argv, "--private-port", str(free_port())], folder, port, env)
    token = Forge(authority.url, SystemClock().now()).token(azp=_CLIENT)
    return Target(
        "lockgate",
        port,
        process.pid,
        path=f"/v1/agents/{_AGENT}/invocations",
        headers={"Authorization": f"Bearer {token}"},
        wrapped=True,
    )


async def _plant(store_url: str, authority: str) -> None:
    """Store the tenant, its binding and the agent."""
    session = aioboto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    now = SystemClock().now()
    async with (
        session.client("dynamodb", endpoint_url=store_url) as dynamodb,
        session.client("s3", endpoint_url=store_url) as s3,
    ):
        await ensure_tables(dynamodb, _PREFIX)
        await ensure_bucket(s3, BUCKET, REGION)
        stores = TenantStores(dynamodb, s3, table_prefix=_PREFIX, bucket=BUCKET, on_violation=lambda _: None)
        platform = PlatformStore(dynamodb, table_prefix=_PREFIX, on_violation=lambda _: None)
        await stores.db(_TENANT).put(
            Tenant(
                tenant_id=_TENANT,
                name="bench",
                tier=Tier.PREMIUM,
                limits=_LIMITS,
                created_at=now,
                updated_at=now,
            )
        )
        issuer = f"{authority}/{DIRECTORY}/v2.0"
        await platform.put_binding(
            IdentityBinding(issuer=issuer, directory=DIRECTORY, client_id=_CLIENT, tenant_id=_TENANT, created_at=now)
        )
        await platform.put_agent_version(
            AgentVersion(
                name=_AGENT,
                version="1.0.0",
                modes=frozenset(Mode),
                runtime_arn=_ARN,
                state=ReleaseState.PROMOTED,
                created_at=now,
            )
        )
