"""What a whole stack is made of: each part's command, environment, needs and health."""

import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeAlias

from aiohttp import ClientError, ClientSession, ClientTimeout

from ops.devstack.environment import FAILOVER_REGION, REGION, SESSIONS, child_environment
from ops.devstack.layout import CHECKOUT, DevKeys, Layout
from ops.devstack.parts import Part
from ops.devstack.ports import Ports
from ops.devstack.process import listens, spawn, until_ready
from ops.devstack.stores import answers_http, answers_ping, health_of_store, start_redis, start_store

# In the order in which they are shown.
NAMES: Final = (
    *("redis", "store", "issuer", "runtime", "runtime-failover", "receiver", "tools"),
    *("tables", "seed", "worker", "gateway", "webhooks"),
)

_NEW_SESSIONS_PER_S: Final = 100

Probe: TypeAlias = Callable[[], Awaitable[bool]]
Work: TypeAlias = Callable[[], Awaitable[None]]
Argv: TypeAlias = Sequence[str | int | Path]


@dataclass(frozen=True, slots=True)
class Plan:
    """One stack's parts. `variables` is what joins a process to it, `inherited` what any process gets."""

    layout: Layout
    ports: Ports
    keys: DevKeys
    variables: Mapping[str, str]
    inherited: Mapping[str, str]

    def parts(self, *, prepare: Work, seed: Work, register: Work) -> tuple[Part, ...]:
        """Return every part and step; a part comes after what it needs.

        Gateway and worker say themselves when the tables are there (`/ready`), so their imports need not wait.
        """
        ports = self.ports
        return (
            Part("redis", self._redis, ports=(ports.redis,), healthy=partial(answers_ping, ports.redis)),
            Part(
                "store", self._store, ports=(ports.store,), healthy=partial(answers_http, health_of_store(ports.store))
            ),
            Part("issuer", self._issuer, ports=(ports.issuer,), healthy=partial(answers_http, ports.url("issuer"))),
            Part(
                "runtime",
                self._runtime,
                ports=(ports.runtime, ports.runtime_control),
                healthy=partial(answers_http, ports.url("runtime_control")),
            ),
            Part(
                "runtime-failover",
                self._runtime_failover,
                ports=(ports.runtime_failover, ports.runtime_failover_control),
                healthy=partial(answers_http, ports.url("runtime_failover_control")),
            ),
            Part(
                "receiver",
                self._receiver,
                ports=(ports.receiver,),
                healthy=partial(answers_http, ports.url("receiver")),
            ),
            Part(
                "tools",
                self._tools,
                ports=(ports.tools,),
                healthy=partial(answers_http, ports.url("tools") + "/calls"),
            ),
            Part("tables", _step(prepare), needs=("store",), step=True),
            Part("seed", _step(seed), needs=("tables", "redis", "runtime", "runtime-failover"), step=True),
            Part(
                "worker",
                self._worker,
                needs=("redis", "store"),
                ports=(ports.worker_private,),
                healthy=partial(_is_ready, ports.url("worker_private")),
            ),
            Part(
                "gateway",
                self._gateway,
                needs=("redis", "store", "issuer"),
                ports=(ports.gateway, ports.private),
                healthy=partial(_is_ready, ports.url("private")),
            ),
            Part("webhooks", _step(register), needs=("seed", "receiver", "gateway"), step=True),
        )

    async def _redis(self) -> Process:
        return await start_redis(self.ports.redis, self.layout.data("redis"), self.layout.log("redis"))

    async def _store(self) -> Process:
        python = CHECKOUT / ".venvs" / "store" / "bin" / "python"
        return await start_store(
            self.ports.store, self.layout.data("store"), self.layout.log("store"), env_python=python
        )

    async def _issuer(self) -> Process:
        argv: Argv = ["-m", "ops.devstack.issuer", "--port", self.ports.issuer, "--state", self.layout.data("issuer")]
        return await self._python("issuer", argv, {}, partial(listens, self.ports.issuer))

    async def _receiver(self) -> Process:
        state = self.layout.data("receiver")
        argv: Argv = ["-m", "ops.devstack.receiver", "--port", self.ports.receiver, "--state", state]
        return await self._python("receiver", argv, {}, partial(listens, self.ports.receiver))

    async def _tools(self) -> Process:
        python, server = CHECKOUT / ".venvs" / "tools" / "bin" / "python", Path(__file__).with_name("toolserver.py")
        argv: Argv = [server, "--port", self.ports.tools]
        return await self._python("tools", argv, {}, partial(listens, self.ports.tools), python=python)

    async def _runtime(self) -> Process:
        return await self._agentcore("runtime", self.ports.runtime, self.ports.runtime_control, REGION)

    async def _runtime_failover(self) -> Process:
        ports = self.ports
        return await self._agentcore(
            "runtime-failover", ports.runtime_failover, ports.runtime_failover_control, FAILOVER_REGION
        )

    async def _agentcore(self, part: str, data_port: int, control_port: int, region: str) -> Process:
        argv: Argv = [
            *("-m", "ops.devstack.runtime"),
            *("--data-port", data_port, "--control-port", control_port, "--region", region),
            *("--state", self.layout.data(part), "--code-root", CHECKOUT / "agents"),
            *("--max-sessions", SESSIONS, "--new-sessions-per-second", _NEW_SESSIONS_PER_S),
            *("--access-key", self.keys.access_key, "--secret-key-file", self.layout.secret_key_file),
        ]

        async def serves() -> bool:
            return await listens(data_port) and await listens(control_port)

        return await self._python(part, argv, {}, serves)

    async def _gateway(self) -> Process:
        argv: Argv = [
            *("-m", "ops.cli.main", "serve"),
            *("--port", self.ports.gateway, "--private-port", self.ports.private),
        ]
        return await self._python("gateway", argv, self.variables, partial(_is_ready, self.ports.url("private")))

    async def _worker(self) -> Process:
        argv: Argv = ["-m", "ops.cli.main", "work", "--private-port", self.ports.worker_private]
        return await self._python("worker", argv, self.variables, partial(_is_ready, self.ports.url("worker_private")))

    async def _python(
        self, part: str, argv: Argv, variables: Mapping[str, str], ready: Probe, *, python: Path | None = None
    ) -> Process:
        log = self.layout.log(part)
        command = [str(python or sys.executable), *map(str, argv)]
        process = await spawn(command, env=child_environment(self.inherited, variables), log=log)
        await until_ready(part, process, ready, log=log, fix=fix_for(part, log))
        return process


def _step(work: Work) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await work()

    return run


def fix_for(part: str, log: Path) -> str:
    """Return what to do about a part that ended too early."""
    return f"{log} tells why {part} ended; `make install` repairs a half-installed environment"


async def _is_ready(private: str) -> bool:
    async with ClientSession(timeout=ClientTimeout(total=3)) as session:
        try:
            async with session.get(f"{private}/ready") as answer:
                return answer.status == HTTPStatus.OK
        except (ClientError, TimeoutError):
            return False
