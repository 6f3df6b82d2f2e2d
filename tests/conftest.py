"""Real parts for tests: one Valkey and one DynamoDB/S3 server per test process, on free ports, in temporary folders.

They start when the first test asks for them and end with the process. Isolation between tests is by tenant: tables
are made once per process (making them takes a second), and `tenant_id` gives every test tenants nobody else has.
A test of what spans tenants (bindings, agents, the sweeper's index) that cannot pick unique names asks for
`fresh_aws`, which has tables and a bucket of its own. Redis is emptied before each test that asks for it.

`--store dynamodb-local` has DynamoDB served by AWS's own build instead (and S3 by the embedded server still).
"""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import aioboto3
import botocore.session
import pytest
from aiohttp import web_app
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from ops.bootstrap import ensure_bucket, ensure_tables
from ops.devstack.process import free_port, stop
from ops.devstack.stores import start_redis, start_store
from tenancy.ids import TenantId
from tenancy.tables import TABLES, TTL_ATTRIBUTE
from tests.clock import FakeClock
from tests.conformance import dynamodb_local

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_s3.client import S3Client

# How long a machine takes to make up an example says nothing about what is tried.
settings.register_profile("lockgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lockgate")

STORE_PYTHON = Path(__file__).parent.parent / ".venvs" / "store" / "bin" / "python"
REGION = "eu-west-2"
BUCKET = "lockgate-test-data"


@dataclass(frozen=True, slots=True)
class Aws:
    """Unguarded clients of the real store, and the names of this test's tables and bucket.

    `endpoint_url` is the embedded server's; DynamoDB may be elsewhere, and its client knows where.
    """

    dynamodb: "DynamoDBClient"
    s3: "S3Client"
    table_prefix: str
    bucket: str
    session: aioboto3.Session
    endpoint_url: str


def pytest_configure() -> None:
    """Heed Ctrl-C, and let all that tests start: what a shell starts in the background is told to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=["embedded", "dynamodb-local"], default="embedded", help="what is DynamoDB")
    parser.addoption("--job-s", type=float, default=15.0, help="how long the job works that outlives its workers")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is tested on."""
    ministack = next(STORE_PYTHON.parents[1].glob("lib/*/site-packages/ministack-*.dist-info"), Path("not installed"))
    embedded = f"embedded ({ministack.stem})"
    local = config.getoption("store") == "dynamodb-local"
    return f"DynamoDB: {dynamodb_local.version() if local else embedded}; S3: {embedded}"


@pytest.fixture(scope="session")
def parts_loop() -> Iterator[asyncio.Runner]:
    """Give the session's parts an event loop of their own: each test has another."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def redis_server(parts_loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real Valkey; use `redis_url`."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    process = parts_loop.run(start_redis(port, folder / "data", folder / "log"))
    yield f"redis://127.0.0.1:{port}/0"
    parts_loop.run(stop(process))


@pytest.fixture(scope="session")
def store_url(parts_loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real DynamoDB/S3 server."""
    folder, port = tmp_path_factory.mktemp("store"), free_port()
    process = parts_loop.run(start_store(port, folder / "data", folder / "log", env_python=STORE_PYTHON))
    yield f"http://127.0.0.1:{port}"
    parts_loop.run(stop(process))


@pytest.fixture(scope="session")
def dynamodb_url(
    request: pytest.FixtureRequest, parts_loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return where DynamoDB is: the embedded server, unless another one was chosen."""
    if request.config.getoption("store") == "embedded":
        yield request.getfixturevalue("store_url")
        return
    folder, port = tmp_path_factory.mktemp("dynamodb-local"), free_port()
    process = parts_loop.run(dynamodb_local.start_dynamodb_local(port, folder / "log"))
    yield f"http://127.0.0.1:{port}"
    parts_loop.run(stop(process))


@pytest.fixture(scope="session", autouse=True)
def aws_models() -> Iterator[None]:
    """Have AWS's service models read once: a gateway reads them once in its life, but tests build hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


@pytest.fixture(autouse=True)
def forgotten_apps() -> Iterator[None]:
    """Let go of the apps a test built: aiohttp remembers the handlers of the last thousand requests' routes."""
    yield
    web_app._cached_build_middleware.cache_clear()


@pytest.fixture(scope="session")
def aws_session() -> aioboto3.Session:
    """Return the session all clients come from: it reads AWS's service models once."""
    return aioboto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


@pytest.fixture(scope="session")
def shared_tables(parts_loop: asyncio.Runner, aws_session: aioboto3.Session, dynamodb_url: str, store_url: str) -> str:
    """Make this process's tables and bucket; return the tables' prefix."""
    return parts_loop.run(_make_tables(aws_session, dynamodb_url, store_url))


@pytest.fixture
async def redis_url(redis_server: str) -> str:
    """Return the URL of a real Valkey that holds nothing."""
    async with Redis.from_url(redis_server) as redis:
        await redis.flushall()
    return redis_server


@pytest.fixture
async def aws(
    aws_session: aioboto3.Session, dynamodb_url: str, store_url: str, shared_tables: str
) -> AsyncIterator[Aws]:
    """Return clients of the real store and tables shared within the process: use fresh tenants."""
    async with AsyncExitStack() as stack:
        yield await clients(stack, aws_session, dynamodb_url, store_url, shared_tables)


@pytest.fixture
async def fresh_aws(aws_session: aioboto3.Session, dynamodb_url: str, store_url: str) -> AsyncIterator[Aws]:
    """Return clients of the real store, empty tables and a bucket that only this test uses (it takes a second)."""
    prefix = await _make_tables(aws_session, dynamodb_url, store_url)
    async with AsyncExitStack() as stack:
        aws = await clients(stack, aws_session, dynamodb_url, store_url, prefix)
        await ensure_bucket(aws.s3, own := f"{prefix}data", REGION)
        yield replace(aws, bucket=own)


@pytest.fixture
def tenant_id() -> Callable[[], TenantId]:
    """Return a maker of tenant ids that no other test has."""
    return lambda: TenantId(f"t{secrets.token_hex(8)}")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that only the test moves."""
    return FakeClock()


async def _make_tables(session: aioboto3.Session, dynamodb_url: str, store_url: str) -> str:
    prefix = f"t{secrets.token_hex(4)}-"
    async with AsyncExitStack() as stack:
        aws = await clients(stack, session, dynamodb_url, store_url, prefix)
        await ensure_tables(aws.dynamodb, prefix)
        await _keep_what_expired(aws)
        await ensure_bucket(aws.s3, BUCKET, REGION)
    return prefix


async def _keep_what_expired(aws: Aws) -> None:
    """Turn expiry off: the tests' clocks stand in the past, and each store takes away what has expired by now."""
    for table in TABLES:
        if table.expires:
            await aws.dynamodb.update_time_to_live(
                TableName=aws.table_prefix + table.name,
                TimeToLiveSpecification={"Enabled": False, "AttributeName": TTL_ATTRIBUTE},
            )


async def clients(
    stack: AsyncExitStack, session: aioboto3.Session, dynamodb_url: str, store_url: str, prefix: str
) -> Aws:
    """Return clients of the real store; `stack` closes them."""
    return Aws(
        dynamodb=await stack.enter_async_context(session.client("dynamodb", endpoint_url=dynamodb_url)),
        s3=await stack.enter_async_context(session.client("s3", endpoint_url=store_url)),
        table_prefix=prefix,
        bucket=BUCKET,
        session=session,
        endpoint_url=store_url,
    )
