"""The local AgentCore as one object: wires the parts, serves both planes on loopback, ends everything it started."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from ops.devstack.runtime.admin import PREFIX, Admin
from ops.devstack.runtime.artifact import CodeRoot
from ops.devstack.runtime.bearer import BearerCheck
from ops.devstack.runtime.callers import Callers, DevKey
from ops.devstack.runtime.catalogue import Catalogue
from ops.devstack.runtime.control import ControlPlane
from ops.devstack.runtime.data import DataPlane
from ops.devstack.runtime.errors import PortTakenError
from ops.devstack.runtime.faults import Faults
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.registry import Registry
from ops.devstack.runtime.supervisor import Supervisor
from ops.devstack.runtime.zygotes import Zygotes
from tenancy.clock import Clock, SystemClock

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Options:
    """How a local AgentCore is set up; port 0 takes any free one."""

    state: Path
    code_root: Path
    python: Path
    data_port: int = 0
    control_port: int = 0
    key: DevKey | None = None
    region: str = "eu-west-1"
    require_auth: bool = False
    strict_ping: bool = False
    limits: Limits = field(default_factory=Limits)


class LocalAgentCore:
    """A running local AgentCore, as an async context manager."""

    def __init__(self, options: Options, *, clock: Clock | None = None, zygotes: Zygotes | None = None) -> None:
        self.options = options
        self.clock = clock or SystemClock()
        self.faults = Faults()
        self.data_url = ""
        self.control_url = ""
        self.supervisor: Supervisor
        self.registry: Registry
        self.catalogue: Catalogue
        self._zygotes = zygotes
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        options, clock = self.options, self.clock
        code_root = CodeRoot(options.code_root, options.python.absolute())
        zygotes = self._zygotes
        if zygotes is None:  # else they are their giver's to close
            zygotes = Zygotes(options.state / "logs" / "zygotes.log")
            stack.push_async_callback(zygotes.aclose)
        bearer = BearerCheck(clock)
        stack.push_async_callback(bearer.aclose)
        self.supervisor = Supervisor(
            code_root=code_root,
            zygotes=zygotes,
            state=options.state,
            limits=options.limits,
            strict_ping=options.strict_ping,
            faults=self.faults,
            clock=clock,
        )
        stack.push_async_callback(self.supervisor.aclose)
        self.registry = Registry(options.state / "runtimes.json")
        self.catalogue = Catalogue(
            registry=self.registry,
            code_root=code_root,
            zygotes=zygotes,
            supervisor=self.supervisor,
            limits=options.limits,
            clock=clock,
        )
        stack.push_async_callback(self.catalogue.aclose)
        callers = Callers(options.key, region=options.region, require_auth=options.require_auth, clock=clock)
        data = DataPlane(
            registry=self.registry,
            supervisor=self.supervisor,
            callers=callers,
            bearer=bearer,
            faults=self.faults,
            limits=options.limits,
            clock=clock,
        )
        control = ControlPlane(registry=self.registry, catalogue=self.catalogue, callers=callers).app()
        control.add_subapp(PREFIX, Admin(supervisor=self.supervisor, faults=self.faults).app())
        self.data_url = await _serve(stack, data.app(), options.data_port)
        self.control_url = await _serve(stack, control, options.control_port)
        self.catalogue.resume()


async def _serve(stack: AsyncExitStack, app: web.Application, port: int) -> str:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
    except OSError as error:
        raise PortTakenError(f"port {port} is taken: {error.strerror}") from error
    bound: int = runner.addresses[0][1]
    return f"http://{LOOPBACK}:{bound}"


async def serve_until_told(core: LocalAgentCore, announce: Callable[[], Awaitable[None]]) -> None:
    """Serve until SIGTERM or Ctrl-C; `announce` runs once both planes listen. Raises PortTakenError."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with core:
        await announce()
        await told.wait()
