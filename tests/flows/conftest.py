"""One whole local stack per test process, on free ports, reached as its users reach it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout

from ops.devstack.ports import Ports
from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from ops.devstack.stack import Stack, running_stack
from tenancy.ids import TenantId
from tests.flows.events import Event, events_of

ECHO = "/v1/agents/echo-agent/invocations"


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's client of the running gateway."""

    session: ClientSession
    gateway: str

    async def get(self, path: str) -> tuple[int, dict[str, object]]:
        """GET a path; return the status and the JSON."""
        async with self.session.get(self.gateway + path) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[ClientResponse, dict[str, object]]:
        """POST JSON; return the answer and its JSON."""
        async with self.session.post(self.gateway + path, json=body, headers=headers) as answer:
            return answer, await answer.json(content_type=None)

    def echo(self, **fields: object) -> dict[str, object]:
        """Return an invocation's body for echo-agent."""
        return {"input": {"prompt": "one two three", **fields}}

    async def stream(self, body: object) -> AsyncIterator[Event]:
        """Yield a streamed invocation's events as they arrive."""
        headers = {"Accept": "text/event-stream"}
        async with self.session.post(self.gateway + ECHO, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for event in events_of(answer.content):
                yield event


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the whole platform."""
    with watched_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@contextmanager
def watched_stack(folder: Path) -> Iterator[Stack]:
    """Run a platform on a loop of its own: it watches and answers while tests run on theirs."""
    running = running_stack(folder, Ports.free())
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
async def acme(stack: Stack) -> AsyncIterator[Caller]:
    """Return the premium tenant's client."""
    async with _caller(stack, stack.tenants[TenantId("acme")].token) as session:
        yield Caller(session, stack.gateway)


@pytest.fixture
async def globex(stack: Stack) -> AsyncIterator[Caller]:
    """Return the basic tenant's client."""
    async with _caller(stack, stack.tenants[TenantId("globex")].token) as session:
        yield Caller(session, stack.gateway)


@pytest.fixture
async def operator(stack: Stack) -> AsyncIterator[Caller]:
    """Return the operator's client."""
    async with _caller(stack, stack.operator.token) as session:
        yield Caller(session, stack.gateway)


def _caller(_stack: Stack, token: str) -> ClientSession:
    return ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=ClientTimeout(total=30))


@pytest.fixture(scope="session")
def second_gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Join one more gateway process to the stack; return its URL."""
    port, private, log = free_port(), free_port(), tmp_path_factory.mktemp("second") / "gateway.log"
    argv = [sys.executable, "-m", "ops.cli.main", "serve", "--port", str(port), "--private-port", str(private)]

    async def ready() -> bool:
        return await listens(port)

    with asyncio.Runner() as runner:
        process = runner.run(spawn(argv, env=stack.variables, log=log))
        runner.run(until_ready("gateway", process, ready, log=log, fix="see the log"))
        yield f"http://127.0.0.1:{port}"
        runner.run(stop(process))
        assert process.returncode == 0, log.read_text()


@pytest.fixture
async def globex_elsewhere(stack: Stack, second_gateway: str) -> AsyncIterator[Caller]:
    """Return the basic tenant's client of the second gateway."""
    async with _caller(stack, stack.tenants[TenantId("globex")].token) as session:
        yield Caller(session, second_gateway)


@pytest.fixture
async def acme_elsewhere(stack: Stack, second_gateway: str) -> AsyncIterator[Caller]:
    """Return the premium tenant's client of the second gateway."""
    async with _caller(stack, stack.tenants[TenantId("acme")].token) as session:
        yield Caller(session, second_gateway)
