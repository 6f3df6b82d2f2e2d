"""The drill's course, and its account: what was accepted and begun, how each of it ended, and what the ledger holds."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import orjson
from aiohttp import ClientSession, ClientTimeout

from ops.devstack.ports import Ports
from ops.devstack.stack import Stack, running_stack
from tenancy.clock import Clock, SystemClock
from tenancy.ids import TenantId
from tests.failover.load import Load, Noted
from tests.flows.conftest import Caller
from tests.flows.gateways import joined
from tests.flows.test_region_failover import ECHO, PHOENIX, have_phoenix, until_known

_DETECTED_S: Final = 60.0
_SETTLED_S: Final = 180.0
_LOOK_S: Final = 0.2
# Silence is told by nothing: calls hang. Somebody hears of it some other way.
_SILENT_S: Final = 10.0


class Fault(StrEnum):
    """How the region is lost."""

    KILLED = "killed"
    SILENT = "silent"

    @property
    def causes(self) -> frozenset[str]:
        """Why jobs may fail that must not be begun anew."""
        # What is killed may be back, without its microVMs, before a job's next look finds that it was lost.
        return frozenset({"region_failover", "job_lost"} if self is Fault.KILLED else {"region_failover"})


@dataclass(slots=True)
class Account:
    """What is to be accounted for, in figures, and what is wrong with them."""

    noted: Noted
    causes: frozenset[str]
    # By agent, status and code.
    jobs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    lines: Counter[str] = field(default_factory=Counter)
    times: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> set[str]:
        """All that has begun and ended."""
        return self.noted.invocations | (set(self.noted.jobs) - self.lost)

    def wrong(self) -> Iterator[str]:
        """Yield what does not add up."""
        if self.lost:
            yield f"{len(self.lost)} jobs never ended: {', '.join(sorted(self.lost))}"
        if self.noted.completed != self.noted.turns:
            yield f"{self.noted.turns - self.noted.completed} turns never completed"
        for agent, status, code in self.jobs:
            if status == "failed" and agent == PHOENIX:
                yield f"a job that may be begun anew failed of {code}"
            elif (status, code) != ("succeeded", "") and (status != "failed" or code not in self.causes):
                yield f"a job of {agent} ended {status} {code}"
        if missing := self.ended - set(self.lines):
            yield f"the ledger lacks {', '.join(sorted(missing))}"
        if odd := set(self.lines) - self.ended:
            yield f"the ledger has lines of what nobody was told of: {', '.join(sorted(odd))}"
        if twice := [record for record, count in self.lines.items() if count > 1]:
            yield f"the ledger has two lines of {', '.join(sorted(twice))}"


class Drill:
    """One drill on a stack of its own."""

    def __init__(self, stack: Stack, gateways: tuple[str, ...], sessions: tuple[ClientSession, ...]) -> None:
        self._stack: Final = stack
        tenant, operator = sessions
        self._callers: Final = tuple(Caller(tenant, gateway) for gateway in gateways)
        self._operator: Final = Caller(operator, gateways[0])
        self._clock: Final[Clock] = SystemClock()

    async def run(self, fault: Fault, *, seconds: float, streams: int, jobs_per_s: float) -> Account:
        """Run load through an outage, a failover and a fail-back; a third of `seconds` before, between and after."""
        load = Load(self._callers, ECHO, (PHOENIX, ECHO), 1 / jobs_per_s)
        account = Account(load.noted, fault.causes)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run(streams))
            await self._clock.sleep(seconds / 3)
            async with self._without_dublin(fault):
                with self._timed(account, "detected"):
                    await self._detected(fault)
                with self._timed(account, "failed over"):
                    await self._switched("fail-over")
                await self._clock.sleep(seconds / 3)
            with self._timed(account, "failed back"):
                await self._switched("fail-back")
            await self._clock.sleep(seconds / 3)
            load.stopping.set()
            await running
        with self._timed(account, "settled"):
            await self._ended(account)
            await self._settled(account)
        return account

    @asynccontextmanager
    async def _without_dublin(self, fault: Fault) -> AsyncIterator[None]:
        pid = self._stack.parts.pids["runtime"]
        os.kill(pid, signal.SIGSTOP if fault is Fault.SILENT else signal.SIGKILL)
        try:
            yield
        finally:
            if fault is Fault.SILENT:
                os.kill(pid, signal.SIGCONT)
            else:
                await self._stack.parts.start("runtime")

    async def _detected(self, fault: Fault) -> None:
        if fault is Fault.SILENT:
            await self._clock.sleep(_SILENT_S)
            return
        async with asyncio.timeout(_DETECTED_S):
            while (await self._operator.get("/v1/admin/region"))[1]["advice"] != "fail_over":
                await self._clock.sleep(_LOOK_S)

    async def _switched(self, verb: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli.main", "region", verb, "--reason", "a drill", "--yes"),
            env={"LOCKGATE_DEV_STATE": str(self._stack.layout.state), "NO_COLOR": "1"},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    async def _ended(self, account: Account) -> None:
        """Note how every job has ended; what has not in time is lost."""
        account.lost = set(account.noted.jobs)
        until_s = self._clock.monotonic() + _SETTLED_S
        while account.lost and self._clock.monotonic() < until_s:
            for job in tuple(account.lost):
                status, told = await self._callers[0].get(f"/v1/jobs/{job}")
                if status == 200 and told["status"] not in {"queued", "running"}:
                    error = told.get("error")
                    code = str(error["code"]) if isinstance(error, dict) else ""
                    account.jobs[account.noted.jobs[job], str(told["status"]), code] += 1
                    account.lost.discard(job)
            await self._clock.sleep(_LOOK_S)

    async def _settled(self, account: Account) -> None:
        """Note the ledger's lines, once there are as many as there have to be, or after a while."""
        until_s = self._clock.monotonic() + _SETTLED_S / 3
        while True:
            account.lines = await self._lines()
            if account.ended <= set(account.lines) or self._clock.monotonic() > until_s:
                return
            await self._clock.sleep(1.0)

    async def _lines(self) -> Counter[str]:
        caller = self._callers[0]
        url = f"{caller.gateway}/v1/usage/export?month={self._clock.now():%Y-%m}"
        async with caller.session.get(url, headers={"Accept": "application/x-ndjson"}) as answer:
            *lines, total = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        assert total["type"] == "total"
        return Counter(str(line["recordId"]) for line in lines)

    def _timed(self, account: Account, what: str) -> "_Timed":
        return _Timed(account.times, what, self._clock)


class _Timed:
    """Notes how long its block takes."""

    def __init__(self, times: dict[str, float], what: str, clock: Clock) -> None:
        self._times, self._what, self._clock = times, what, clock
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = self._clock.monotonic()

    def __exit__(self, *_: object) -> None:
        self._times[self._what] = self._clock.monotonic() - self._began_s


async def drill(state: Path, fault: Fault, *, seconds: float, streams: int, jobs_per_s: float) -> Account:
    """Run a drill on a stack of its own, with two gateways."""
    async with AsyncExitStack() as closing:
        stack = await closing.enter_async_context(running_stack(state, Ports.free()))
        other = await closing.enter_async_context(joined(stack, state))
        await closing.enter_async_context(have_phoenix(stack))
        tokens = (stack.tenants[TenantId("acme")].token, stack.operator.token)
        sessions = [
            ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=ClientTimeout(total=120))
            for token in tokens
        ]
        for session in sessions:
            await closing.enter_async_context(session)
        for gateway in (stack.gateway, other.url):
            await until_known(Caller(sessions[0], gateway))
        running = Drill(stack, (stack.gateway, other.url), tuple(sessions))
        return await running.run(fault, seconds=seconds, streams=streams, jobs_per_s=jobs_per_s)
