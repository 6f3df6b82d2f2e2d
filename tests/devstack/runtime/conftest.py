"""A local AgentCore per test; the parent process that has imported the SDK is shared by all of a test process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from ops.devstack.runtime.callers import DevKey
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.server import LocalAgentCore, Options
from ops.devstack.runtime.zygotes import Zygotes
from tenancy.clock import Clock
from tests.clock import FakeClock
from tests.devstack.runtime.sdk import AGENTS, PYTHON, Sdk

Start = Callable[..., Awaitable[LocalAgentCore]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def zygotes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Zygotes]:
    """Share the parents of agent processes."""
    pool = Zygotes(tmp_path_factory.mktemp("zygotes") / "log")
    yield pool
    await pool.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def start(zygotes: Zygotes, tmp_path: Path) -> AsyncIterator[Start]:
    """Return what starts a local AgentCore with these options and, where given, this clock."""
    async with AsyncExitStack() as stack:

        async def _start(
            clock: Clock | None = None,
            *,
            limits: Limits | None = None,
            code_root: Path = AGENTS,
            key: DevKey | None = None,
            require_auth: bool = False,
            strict_ping: bool = False,
        ) -> LocalAgentCore:
            options = Options(
                state=tmp_path / "state",
                code_root=code_root,
                python=PYTHON,
                limits=limits or Limits(),
                key=key,
                require_auth=require_auth,
                strict_ping=strict_ping,
            )
            return await stack.enter_async_context(LocalAgentCore(options, clock=clock, zygotes=zygotes))

        yield _start


@pytest_asyncio.fixture(loop_scope="session")
async def core(start: Start) -> LocalAgentCore:
    """Run a local AgentCore on the machine's clock."""
    return await start()


@pytest_asyncio.fixture(loop_scope="session")
async def timed(start: Start, clock: FakeClock) -> LocalAgentCore:
    """Run a local AgentCore on the test's clock."""
    return await start(clock)


@pytest.fixture
def sdk(core: LocalAgentCore) -> Sdk:
    """Point boto3 at `core`."""
    return Sdk(core)


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[ClientSession]:
    """Return a plain HTTP client."""
    async with ClientSession() as client:
        yield client
