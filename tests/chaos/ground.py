"""A whole stack to break: two gateways, two workers, the stores and the runtime behind proxies, and the oracle.

Every process is its own member, started on free loopback ports below one state directory; each fault is done to one of
them by its pid, and all of them end with the block, however it is left.
"""

import asyncio
import random
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agents.control import ControlPlane
from ops.devstack import echo
from ops.devstack.aws import control_client, store_clients
from ops.devstack.environment import BUCKET, REGION, TABLE_PREFIX, child_environment, lockgate_variables
from ops.devstack.issuer import SigningKeys
from ops.devstack.layout import CHECKOUT, DevKeys, Layout
from ops.devstack.people import Application, SeededTenant
from ops.devstack.ports import Ports
from ops.devstack.process import free_port, listens, spawn, until_ready
from ops.devstack.seed import Seed
from ops.devstack.stores import start_redis, start_store
from ops.settings import DevSettings
from tenancy.clock import Clock, SystemClock
from tenancy.context import Role
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId, parse_agent_name
from tenancy.platform_store import PlatformStore
from tenancy.store import TenantStores
from tenancy.tiers import Tier
from tests.chaos.load import AGENT
from tests.chaos.plan import GATEWAYS, REDIS, RUNTIME, STORE, WORKERS
from tests.chaos.proxy import Listen, Proxy

_HERE: Final = Path(__file__).parent
_STORE_PYTHON: Final = CHECKOUT / ".venvs" / "store" / "bin" / "python"
_AGENT_PYTHON: Final = CHECKOUT / "agents" / "echo-agent" / ".venv" / "bin" / "python"
_AGENTS: Final = (
    CHECKOUT / "agents" / "echo-agent",
    CHECKOUT / "agents" / "tool-agent",
    _HERE / AGENT,
)
_INITECH: Final = SeededTenant(
    "Initech",
    Tier.STANDARD,
    Application(
        TenantId("initech"),
        "171ec000-0000-4000-8000-000000000004",
        "171ec000-0000-4000-8000-0000000000c4",
        (Role.AGENT_INVOKE,),
    ),
)
# What the embedded store was told it has written to its disk after this long; see store_launcher.
_SAVED_S: Final = 7.0
_GRACE_S: Final = 20.0
# AWS's own: a result is read from a session that nobody could ask for a while.
_IDLE_TIMEOUT_S: Final = 900

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]


@dataclass(slots=True)
class Member:
    """One process of the stack; `lock` lets one fault at a time have it."""

    name: str
    start: Start
    process: asyncio.subprocess.Process | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def up(self) -> None:
        """Start it and return once it is ready; raises PartFailedError."""
        self.process = await self.start()

    def send(self, number: Signals) -> None:
        """Send it a signal, if it lives."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def down(self, number: Signals) -> None:
        """End it by a signal, at the latest after a grace."""
        self.send(number)
        if self.process is None:
            return
        try:
            await asyncio.wait_for(self.process.wait(), _GRACE_S)
        except TimeoutError:
            self.send(SIGKILL)
            await self.process.wait()


@dataclass(slots=True)
class Ground:
    """The running stack: its members by name, its proxies, and what clients need."""

    layout: Layout
    ports: Ports
    keys: DevKeys
    store: Proxy
    runtime: Proxy
    oracle: str
    gateways: tuple[str, ...]
    clock: Clock
    members: dict[str, Member] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def effects(self) -> str:
        """Where the agent tells of its effects."""
        return f"{self.oracle}/effects"

    async def redis(self, command: str, *args: str) -> None:
        """Have Redis do something, if it answers."""
        url = f"redis://127.0.0.1:{self.ports.redis}/0"
        with suppress(RedisError, OSError, TimeoutError):
            async with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as redis:
                await redis.execute_command(command, *args)

    async def cut_store(self) -> None:
        """Break every call to the store off, and return once what was on its way is through."""
        self.store.cut = True
        await self.store.drained()

    async def until_saved(self) -> None:
        """Return once the store, which is asked nothing any more, has all it acknowledged on its disk."""
        await self.clock.sleep(_SAVED_S)

    def forget_redis(self) -> None:
        """Take away what Redis, which is down, wrote to its disk."""
        shutil.rmtree(self.layout.data("redis"))


@asynccontextmanager
async def running_ground(state: Path, rng: random.Random, listen: Listen) -> AsyncIterator[Ground]:
    """Start everything, with tenants, their webhooks and the agent; end everything when left."""
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        layout, ports = Layout(state), Ports.free()
        layout.make()
        keys = layout.keys()
        store, runtime = [
            await stack.enter_async_context(Proxy(url, random.Random(rng.random()), heard).running())  # noqa: S311
            for url, heard in ((ports.url("store"), listen), (ports.url("runtime"), _unheard))
        ]
        oracle_port, second = free_port(), free_port()
        ground = Ground(
            layout,
            ports,
            keys,
            store,
            runtime,
            oracle=f"http://127.0.0.1:{oracle_port}",
            gateways=(ports.url("gateway"), f"http://127.0.0.1:{second}"),
            clock=clock,
        )
        starts = _Starts(ground, oracle_port, (ports.gateway, second), _code_root(state))
        ground.members = {name: Member(name, start) for name, start in starts.all().items()}
        stack.push_async_callback(_end, ground)
        await _begin(ground)
        yield ground


async def _begin(ground: Ground) -> None:
    seed = Seed(ground.layout, ground.ports, ground.keys, clock=ground.clock)

    async def stores() -> None:
        await asyncio.gather(*(ground.members[name].up() for name in (STORE, RUNTIME, "issuer", "oracle")))
        await seed.prepare()
        await seed.plant()
        ground.tokens = {str(name): tenant.token for name, tenant in seed.tenants.items()}
        await _plant(ground)

    await asyncio.gather(stores(), ground.members[REDIS].up())
    await asyncio.gather(*(ground.members[name].up() for name in (*WORKERS, *GATEWAYS)))
    for name, token in ground.tokens.items():
        await _register(ground, name, token)


async def _end(ground: Ground) -> None:
    """End every process by its pid; what stands still is woken by its end."""
    last = (RUNTIME, "issuer", "oracle")
    for name, member in ground.members.items():
        if name not in last:
            await member.down(SIGKILL)
    for name in last:
        # The runtime ends its sessions with it.
        await ground.members[name].down(SIGTERM)


async def _plant(ground: Ground) -> None:
    """Add a tenant of the middle tier, and the agent that has effects."""
    now, authority = ground.clock.now(), ground.ports.url("issuer")
    control_url = ground.ports.url("runtime_control")
    async with (
        store_clients(ground.ports, ground.keys) as aws,
        control_client(control_url, REGION, ground.keys) as client,
    ):
        platform = PlatformStore(aws.dynamodb, table_prefix=TABLE_PREFIX, on_violation=_ignore)
        stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=TABLE_PREFIX, bucket=BUCKET, on_violation=_ignore)
        tenant_id = TenantId("initech")
        await stores.db(tenant_id).put(_INITECH.record(tenant_id, now))
        await platform.put_binding(_INITECH.application.binding(authority, now))
        control = ControlPlane(client, clock=ground.clock)
        wanted = replace(echo.runtime(ground.keys.access_key, AGENT), idle_timeout_s=_IDLE_TIMEOUT_S)
        runtime = await control.ensure_runtime(wanted)
        version = echo.version(runtime.arn, now).model_copy(update={"name": parse_agent_name(AGENT)})
        await platform.put_agent_version(version)
    signing = SigningKeys.open(ground.layout.data("issuer"))
    ground.tokens["initech"] = _INITECH.application.token(signing, authority, now)


async def _register(ground: Ground, name: str, token: str) -> None:
    """Have a tenant's events sent to the oracle."""
    wanted = {"url": f"{ground.oracle}/hooks/{name}", "description": "the oracle"}
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=20)) as http:
        async with http.post(f"{ground.gateways[0]}/v1/webhooks", json=wanted) as answer:
            assert answer.status == 201, await answer.text()
            secret = (await answer.json())["secret"]
        async with http.put(f"{ground.oracle}/secrets/{name}", data=secret) as answer:
            assert answer.status == 204


@dataclass(frozen=True, slots=True)
class _Starts:
    """How each member is started."""

    ground: Ground
    oracle_port: int
    gateway_ports: tuple[int, int]
    code_root: Path

    def all(self) -> dict[str, Start]:
        """Return them by name, in the order in which they end."""
        return {
            **{name: partial(self._worker, name) for name in WORKERS},
            **{
                name: partial(self._gateway, name, port)
                for name, port in zip(GATEWAYS, self.gateway_ports, strict=True)
            },
            REDIS: self._redis,
            STORE: self._store,
            RUNTIME: self._runtime,
            "issuer": self._issuer,
            "oracle": self._oracle,
        }

    @property
    def _variables(self) -> dict[str, str]:
        ground = self.ground
        variables = lockgate_variables(ground.ports, ground.keys, webhook_allow=f"127.0.0.1:{self.oracle_port}")
        store = {f"AWS_ENDPOINT_URL_{name}": ground.store.url for name in ("DYNAMODB", "S3", "STS")}
        return variables | store | {"AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": ground.runtime.url}

    async def _redis(self) -> asyncio.subprocess.Process:
        layout = self.ground.layout
        return await start_redis(self.ground.ports.redis, layout.data("redis"), layout.log("redis"))

    async def _store(self) -> asyncio.subprocess.Process:
        layout = self.ground.layout
        port, log = self.ground.ports.store, layout.log("store")
        return await start_store(port, layout.data("store"), log, env_python=_STORE_PYTHON)

    async def _issuer(self) -> asyncio.subprocess.Process:
        port, state = self.ground.ports.issuer, self.ground.layout.data("issuer")
        argv = ("-m", "ops.devstack.issuer", "--port", str(port), "--state", str(state))
        return await self._python("issuer", argv, partial(listens, port))

    async def _oracle(self) -> asyncio.subprocess.Process:
        argv = ("-P", str(_HERE / "oracle.py"), "--port", str(self.oracle_port))
        return await self._python("oracle", argv, partial(listens, self.oracle_port))

    async def _runtime(self) -> asyncio.subprocess.Process:
        ground = self.ground
        argv = (
            *("-m", "ops.devstack.runtime", "--python", str(_AGENT_PYTHON), "--code-root", str(self.code_root)),
            *("--data-port", str(ground.ports.runtime), "--control-port", str(ground.ports.runtime_control)),
            *("--state", str(ground.layout.data("runtime")), "--max-sessions", "600"),
            *("--new-sessions-per-second", "100"),
            *("--access-key", ground.keys.access_key, "--secret-key-file", str(ground.layout.secret_key_file)),
        )
        return await self._python("runtime", argv, partial(listens, ground.ports.runtime_control))

    async def _worker(self, name: str) -> asyncio.subprocess.Process:
        return await self._lockgate(name, "work")

    async def _gateway(self, name: str, port: int) -> asyncio.subprocess.Process:
        return await self._lockgate(name, "serve", "--port", str(port))

    async def _lockgate(self, name: str, *command: str) -> asyncio.subprocess.Process:
        private = free_port()
        argv = ("-m", "ops.cli.main", *command, "--private-port", str(private))
        # Alive is enough: a part that it needs may be away just now.
        return await self._python(name, argv, partial(_lives, private))

    async def _python(
        self, name: str, argv: tuple[str, ...], ready: Callable[[], Awaitable[bool]]
    ) -> asyncio.subprocess.Process:
        log = self.ground.layout.log(name)
        env = child_environment(DevSettings().inherited, self._variables)
        process = await spawn([sys.executable, *argv], env=env, log=log)
        await until_ready(name, process, ready, log=log, fix="see the log")
        return process


async def _lives(private: int) -> bool:
    async with ClientSession(timeout=ClientTimeout(total=2)) as http:
        with suppress(ClientError, TimeoutError):
            async with http.get(f"http://127.0.0.1:{private}/live") as answer:
                return answer.status == 200
    return False


def _code_root(state: Path) -> Path:
    """Lay the agents out for the local runtime, which runs nothing from outside one folder."""
    root = state / "agents"
    for folder in _AGENTS:
        shutil.copytree(folder, root / folder.name, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    return root


def _unheard(_: object) -> None:
    """Keep nothing: what the runtime did, the oracle knows."""


def _ignore(_: TenantAccessViolation) -> None:
    """Do nothing more: the violation is raised."""
