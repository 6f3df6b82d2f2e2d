"""The worker process: drives jobs until it is told to end, then lets the ticks under way finish."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import structlog
from aiohttp import web

from jobs.election import Election
from jobs.execute import Execute
from jobs.finish import Finish, untold
from jobs.gate import Gates
from jobs.lease import Leases
from jobs.metering import JobSpending
from jobs.sweep import Sweeper
from jobs.worker import TickWorker, job_line, webhook_line
from ops import telemetry
from ops.guarding import job_guard
from ops.metering import metering
from ops.private import PrivatePort
from ops.settings import Settings
from ops.wiring import Floor, floor
from tenancy.data_models import TenantStatus
from tenancy.errors import TenantUnknownError
from tenancy.ids import TenantId
from tenancy.registry import TenantRegistry
from tenancy.tiers import limits_of
from tenancy.tool_calls import ToolCalls

# Fargate kills after 120 s.
GRACE_S: Final = 110.0
# Five tenants whose receivers all hang leave room to the others.
ATTEMPTS_AT_ONCE: Final = 120
# A worker that has not looked at the queue for this long is not ready.
SILENCE_S: Final = 15.0

_log = structlog.get_logger("ops.work")


class QueueSilentError(Exception):
    """The worker has not looked at the queue for too long."""


async def work(settings: Settings, *, private_port: int) -> None:
    """Drive jobs, with the private port on loopback, until SIGTERM or SIGINT; then drain and return."""
    told = telemetry.configure(settings, "worker")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(floor(settings))
        told.measured(base.metrics)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        registry = TenantRegistry(base.stores, base.changes, clock=base.clock)
        stack.push_async_callback(registry.aclose)
        meter = await stack.enter_async_context(metering(base, registry))
        spending = JobSpending(meter.budgets, ToolCalls(base.trips), base.clock)
        workers = [_jobs(base, registry, owner, spending), _webhooks(base, registry)]
        port = await _listen(stack, _private(base, workers, stopping), private_port)
        _log.info("working", owner=owner, private_port=port)
        await _run(workers, _sweeper(base, owner), stopping)
    _log.info("ended")


async def _run(workers: Sequence[TickWorker], sweeper: Sweeper, stopping: asyncio.Event) -> None:
    """Run ticks and sweep until told to end; who ends sweeps no more while the last ticks finish."""
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(sweeper.run())
        for worker in workers:
            tasks.create_task(worker.run(stopping, grace_s=GRACE_S))
        await stopping.wait()
        sweeping.cancel()


def _jobs(base: Floor, registry: TenantRegistry, owner: str, spending: JobSpending) -> TickWorker:
    clock, metrics = base.clock, base.job_metrics

    async def cap_of(tenant_id: TenantId) -> int:
        try:
            tenant = await registry.get(tenant_id)
        except TenantUnknownError:
            return 1
        cap = limits_of(tenant.tier, tenant.limits).running_jobs
        match tenant.status:
            case TenantStatus.ACTIVE:
                return cap
            case TenantStatus.SUSPENDED:
                # What runs already goes on; what has not begun waits until the tenant is served again.
                return 0
            case TenantStatus.DELETED:
                # What waits has to be taken up to be cancelled.
                return max(1, cap)

    async def is_disowned(tenant_id: TenantId) -> bool:
        try:
            return (await registry.get(tenant_id)).status is TenantStatus.DELETED
        except TenantUnknownError:
            return True

    gates = Gates(base.jobs, base.queue, cap_of, clock=clock, metrics=metrics)
    ask = base.webhook_ticks.outbox
    finish = Finish(
        base.jobs,
        gates,
        ask,
        base.catalog,
        base.runtime,
        clock=clock,
        metrics=metrics,
        spending=spending,
        tell_run=untold if base.traces is None else base.traces.run,
    )
    execute = Execute(
        base.jobs,
        Leases(base.jobs, clock, owner=owner),
        base.queue,
        base.catalog,
        base.runtime,
        gates=gates,
        finish=finish,
        clock=clock,
        metrics=metrics,
        spending=spending,
        poll_s=base.settings.job_poll_s,
        place=base.region.regions.place,
        guard=job_guard(base.interceptors, registry),
        is_disowned=is_disowned,
    )
    return TickWorker(job_line(execute, gates), base.arq, clock=clock, metrics=metrics)


def _webhooks(base: Floor, registry: TenantRegistry) -> TickWorker:
    async def status_of(tenant_id: TenantId) -> TenantStatus | None:
        try:
            return (await registry.get(tenant_id)).status
        except TenantUnknownError:
            return None

    line = webhook_line(base.webhooks.fan_out, base.webhooks.deliver(status_of), at_once=ATTEMPTS_AT_ONCE)
    return TickWorker(line, base.arq, clock=base.clock, metrics=base.job_metrics)


def _sweeper(base: Floor, owner: str) -> Sweeper:
    election = Election(base.platform, owner=owner, clock=base.clock)
    return Sweeper(
        base.platform, election, base.jobs, base.queue, base.webhook_ticks, clock=base.clock, metrics=base.job_metrics
    )


def _private(base: Floor, workers: Sequence[TickWorker], stopping: asyncio.Event) -> PrivatePort:
    async def polls() -> None:
        if any(worker.silent_s() > SILENCE_S for worker in workers):
            raise QueueSilentError

    private = base.private(stopping.is_set)
    return replace(private, required={**private.required, "queue": polls})


async def _listen(stack: AsyncExitStack, private: PrivatePort, port: int) -> int:
    runner = web.AppRunner(private.build(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    bound: int = runner.addresses[0][1]
    return bound
