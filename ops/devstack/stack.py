"""A whole local stack: started, described in dev.json and dev.env, answering to other terminals, ended without trace.

One stack per state directory. Everything a stack starts ends with it, in reverse order; data stays for the next one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ops.alarms.watch import AlarmState
from ops.devstack.bell import Bell
from ops.devstack.control import PartReport, Reply, Request, choose_socket, listening
from ops.devstack.dev_files import DevFile, DevOperator, DevTenant, remove_dev_files, write_dev_env
from ops.devstack.environment import lockgate_variables
from ops.devstack.hooks import Hooks
from ops.devstack.layout import Layout
from ops.devstack.lock import only_stack
from ops.devstack.parts import Part, Parts, Watcher
from ops.devstack.plan import Plan, fix_for
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError
from ops.devstack.seed import Seed
from ops.settings import DevSettings
from tenancy.clock import Clock, SystemClock
from tenancy.errors import LockgateError
from tenancy.ids import TenantId


class Quiet:
    """A Watcher that says nothing."""

    def starting(self, part: str) -> None:
        """Say nothing."""

    def ready(self, part: str, seconds: float) -> None:
        """Say nothing."""

    def failed(self, part: str) -> None:
        """Say nothing."""

    def died(self, part: str, status: str) -> None:
        """Say nothing."""

    def stopped(self, part: str) -> None:
        """Say nothing."""

    def rang(self, alarm: AlarmState) -> None:
        """Say nothing."""

    def ending(self) -> None:
        """Say nothing."""


class _Recording:
    """A Watcher that tells another and keeps dev.json's pids current."""

    def __init__(self, watcher: Watcher, stack: "Stack") -> None:
        self._watcher = watcher
        self._stack = stack

    def starting(self, part: str) -> None:
        self._watcher.starting(part)

    def ready(self, part: str, seconds: float) -> None:
        self._stack.record()
        self._watcher.ready(part, seconds)

    def failed(self, part: str) -> None:
        self._watcher.failed(part)

    def died(self, part: str, status: str) -> None:
        self._stack.record()
        self._watcher.died(part, status)

    def stopped(self, part: str) -> None:
        self._stack.record()
        self._watcher.stopped(part)

    def rang(self, alarm: AlarmState) -> None:
        self._watcher.rang(alarm)

    def ending(self) -> None:
        self._watcher.ending()


class Stack:
    """A running stack; `tenants` and `operator` hold tokens good for 12 h."""

    def __init__(self, plan: Plan, *, watcher: Watcher, clock: Clock) -> None:
        self.layout: Final = plan.layout
        self.ports: Final = plan.ports
        self.variables: Final = plan.variables
        self.socket: Final = choose_socket(plan.layout.state)
        self._seed: Final = Seed(plan.layout, plan.ports, plan.keys, clock=clock)
        hooks = Hooks(plan.layout, plan.ports)
        steps = plan.parts(
            prepare=self._seed.prepare,
            seed=self._seed.plant,
            register=lambda: hooks.register(self.tenants),
        )
        self.parts: Final = Parts(steps, watcher=_Recording(watcher, self), clock=clock)
        self.bell: Final = Bell(plan.ports, watcher=watcher, clock=clock)
        self.dev: DevFile | None = None

    @property
    def gateway(self) -> str:
        """The public API's base URL."""
        return self.ports.url("gateway")

    @property
    def private(self) -> str:
        """The base URL of health and metrics."""
        return self.ports.url("private")

    @property
    def tenants(self) -> dict[TenantId, DevTenant]:
        """The seeded tenants with a token each."""
        return self._seed.tenants

    @property
    def operator(self) -> DevOperator:
        """The operator's token."""
        return self._seed.operator

    def check_alive(self) -> None:
        """Raise PartFailedError for a part that came up and died before the stack was up."""
        for part in self.parts:
            if not part.step and part.name not in self.parts.pids:
                log = self.layout.log(part.name)
                raise PartFailedError(part.name, log, fix_for(part.name, log))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Have alarms ring while the block lasts."""
        watching = asyncio.create_task(self.bell.run())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def record(self) -> None:
        """Rewrite dev.json, if the stack is up, with the pids of what lives now."""
        if self.dev is not None:
            self.dev = self.dev.model_copy(update={"pids": dict(self.parts.pids)})
            self.dev.write(self.layout)

    def publish(self) -> None:
        """Write dev.json and dev.env: the stack is up."""
        self.dev = DevFile(
            gateway=self.gateway,
            private=self.private,
            runtime=self.ports.url("runtime"),
            runtime_control=self.ports.url("runtime_control"),
            issuer=self.ports.url("issuer"),
            receiver=self.ports.url("receiver"),
            tenants=self.tenants,
            operator=self.operator,
            pids=dict(self.parts.pids),
            stack_pid=os.getpid(),
            control=self.socket,
        )
        write_dev_env(self.layout, self.variables)
        self.dev.write(self.layout)

    async def answer(self, request: Request) -> Reply:
        """Do what another terminal asks."""
        try:
            match request.verb:
                case "start":
                    pid = await self.parts.start(request.part)
                    return Reply(ok=True, detail=f"{request.part} is up again (pid {pid})")
                case "stop":
                    await self.parts.stop(request.part)
                    return Reply(ok=True, detail=f"{request.part} is stopped")
                case "status":
                    return Reply(ok=True, parts=await self._reports())
                case "alarms":
                    return Reply(ok=True, alarms=await self.bell.look())
                case "seen":
                    self.bell.seen(request.alarm)
                    return Reply(ok=True, detail=f"{request.alarm} counts from now on")
        except (LockgateError, PartFailedError) as error:
            return Reply(ok=False, detail=str(error))

    async def _reports(self) -> tuple[PartReport, ...]:
        parts = [part for part in self.parts if not part.step]
        return tuple(await asyncio.gather(*map(self._report, parts)))

    async def _report(self, part: Part) -> PartReport:
        pid = self.parts.pids.get(part.name)
        return PartReport(
            name=part.name,
            state=self.parts.states[part.name],
            pid=pid,
            ports=part.ports,
            healthy=await part.healthy() if pid is not None and part.healthy is not None else None,
            log=str(self.layout.log(part.name)),
        )


@asynccontextmanager
async def running_stack(
    state: Path,
    ports: Ports,
    *,
    watcher: Watcher | None = None,
    settings: DevSettings | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Stack]:
    """Start a whole stack on this state and these ports, and end it when left.

    Raises StackRunningError, PortTakenError, StateUnreadableError, PartFailedError; then nothing is left running.
    """
    settings = settings or DevSettings()
    layout = Layout(state)
    layout.make()
    with only_stack(layout):
        remove_dev_files(layout)
        ports.check_free()
        layout.keep_last_logs()
        keys = layout.keys()
        variables = lockgate_variables(ports, keys, webhook_allow=settings.webhook_allow)
        plan = Plan(layout, ports, keys, variables, settings.inherited)
        stack = Stack(plan, watcher=watcher or Quiet(), clock=clock or SystemClock())
        try:
            async with listening(stack.socket, stack.answer):
                await stack.parts.start_all()
                stack.check_alive()
                stack.publish()
                async with stack.watched():
                    yield stack
        finally:
            await stack.parts.stop_all()
            remove_dev_files(layout)
