"""One process of the agents' own environment, for all kit tests of a test worker."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops.devstack.process import free_port, listens

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "agents/echo-agent/.venv/bin/python"
LOCKGATE = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Lockgate-"


@dataclass(frozen=True)
class Agents:
    """The served agents, called as AgentCore calls a container."""

    http: aiohttp.ClientSession
    url: str

    def invoke(
        self, agent: str, payload: object, *, action: str | None = None, ref: str | None = None, accept: str = "*/*"
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Accept": accept, "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "s" * 40}
        headers |= {LOCKGATE + "Action": action} if action else {}
        headers |= {LOCKGATE.lower() + "ref": ref} if ref else {}
        return self.http.post(f"{self.url}/{agent}/invocations", json=payload, headers=headers)

    async def value(self, agent: str, payload: object, **how: str) -> object:
        async with self.invoke(agent, payload, **how) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def ask(self, agent: str, action: str, ref: str, payload: object = None) -> dict[str, Any]:
        status = await self.value(agent, payload or {}, action=action, ref=ref)
        assert isinstance(status, dict)
        return status

    async def happen(self, name: str) -> None:
        await self.value("control", {"happen": name})

    async def until(self, name: str) -> bool:
        return await self.value("control", {"await": name}) is True

    async def count(self, name: str) -> int:
        count = await self.value("control", {"count": name})
        assert isinstance(count, int)
        return count

    async def ping(self, agent: str) -> str:
        async with self.http.get(f"{self.url}/{agent}/ping") as answer:
            status: str = (await answer.json())["status"]
            return status


@pytest.fixture(scope="session")
def agents_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("kit") / "agents.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            [PYTHON, Path(__file__).parent / "probe_agents.py", str(port)], stdout=sink, stderr=sink
        ) as process,
    ):
        while process.poll() is None and not asyncio.run(listens(port)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()


@pytest.fixture
async def agents(agents_url: str) -> AsyncIterator[Agents]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        yield Agents(http, agents_url)
