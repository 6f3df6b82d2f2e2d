"""Jobs through any faults, in any order: a model checker's walk over the whole jobs floor, in memory.

Each example is a history of submissions, ticks, cancels, sweeps and time; in it workers are killed, stopped and told
to end at any of their calls, Redis forgets, the store fails, microVMs vanish. What may never be written is watched
for write by write (tests.jobs.memory.history); at its end all trouble ends, and what must then hold is demanded.
"""

import asyncio
from collections.abc import Coroutine
from enum import StrEnum, auto
from typing import Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobs.execute import MAX_RUNS
from jobs.lease import LEASE_S
from jobs.ticks import JOBS
from tenancy.data_models import JobRecord
from tenancy.ids import TenantId
from tests.clock import settle
from tests.jobs.memory.redis import Queued
from tests.jobs.memory.world import TIMEOUT_S, Kind, Process, World

ACME: Final = TenantId("acme")
BETA: Final = TenantId("beta")
TENANTS: Final = (ACME, BETA)
# Within these, whatever was going on has ended: the deadline, a tick of a killed worker, a sweep and a poll.
SETTLED_S: Final = TIMEOUT_S + 240

WORKS: Final = (
    b'{"prompt":"hi"}',
    b'{"prompt":"hi","durationS":3}',
    b'{"prompt":"hi","durationS":40}',
    b'{"prompt":"hi","durationS":40,"stopS":3}',
    b'{"prompt":"hi","durationS":9999,"stopS":null}',
    b'{"prompt":"hi","durationS":3,"failAfter":3}',
)

TROUBLES: Final = tuple(kind for kind in Kind if kind is not Kind.NONE)
STORE_TROUBLES: Final = (Kind.FAILED, Kind.UNHEARD, Kind.REPEATED, Kind.CONFLICT)
# What a tick calls by name; "start" is the first of that name, whichever call it is.
NAMES: Final = ("start", "probe", "stop_job", "stop", "UpdateItem", "TransactWriteItems")


class Upset(StrEnum):
    """What may happen to what all processes share."""

    REDIS_FLUSHED = auto()
    REDIS_GONE = auto()
    REDIS_BACK = auto()
    TENANT_SUSPENDED = auto()
    TENANT_REINSTATED = auto()
    BUDGET_SPENT = auto()
    AGENT_WITHDRAWN = auto()
    AGENT_BACK = auto()


T = TypeVar("T")
index = st.integers(0, 7)
work = st.sampled_from(WORKS)
tenants = st.sampled_from(TENANTS)
calls = st.one_of(st.integers(1, 9), st.sampled_from(NAMES))
troubles = st.builds(Process, st.sampled_from(TROUBLES), calls)
store_troubles = st.builds(Process, st.sampled_from(STORE_TROUBLES), st.integers(1, 4))
sweep_troubles = st.builds(Process, st.sampled_from((*STORE_TROUBLES, Kind.KILLED_BEFORE)), st.integers(1, 60))


class JobMachine(RuleBasedStateMachine):
    """Two tenants' jobs, driven by as many processes as there are ticks."""

    @initialize(
        caps=st.tuples(st.integers(1, 2), st.integers(1, 3)),
        restartable=st.booleans(),
        bodies=st.lists(work, max_size=2),
    )
    def begin(self, caps: tuple[int, int], bodies: list[bytes], *, restartable: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._world = World(dict(zip(TENANTS, caps, strict=True)), restartable=restartable)
        # Every key that was asked with, heard or not.
        self._keys: list[tuple[TenantId, str]] = []
        self._most_effects = MAX_RUNS if restartable else 1
        for body in bodies:
            self.submit(ACME, body)

    @rule(tenant=tenants, body=work)
    def submit(self, tenant: TenantId, body: bytes) -> None:
        assert self._do(self._world.submit(tenant, body, key=self._new_key(tenant))) is not None

    @rule(tenant=tenants, body=work, trouble=store_troubles, twice=st.booleans())
    def submit_in_trouble(self, tenant: TenantId, body: bytes, trouble: Process, *, twice: bool) -> None:
        key = self._new_key(tenant)
        submits = [self._world.submit(tenant, body, process, key=key) for process in (trouble, Process())[: 1 + twice]]
        self._do(self._all(*submits))

    @rule(which=index, body=work)
    def ask_again(self, which: int, body: bytes) -> None:
        if self._keys:
            tenant, key = self._keys[which % len(self._keys)]
            assert self._do(self._world.submit(tenant, body, key=key)) is not None

    @rule(which=index, trouble=troubles)
    def tick(self, which: int, trouble: Process) -> None:
        if tick := self._due(which):
            self._do(self._world.run(tick, trouble))

    @rule()
    def tick_all(self) -> None:
        for tick in self._world.due():
            self._do(self._world.run(tick))

    @rule(which=index, trouble=troubles)
    def tick_twice_at_once(self, which: int, trouble: Process) -> None:
        if tick := self._due(which):
            self._do(self._all(self._world.run(tick, trouble), self._world.run(tick)))

    @rule(which=index, trouble=st.one_of(st.builds(Process), store_troubles))
    def cancel(self, which: int, trouble: Process) -> None:
        if job := self._job(which):
            self._do(self._cancel(job, trouble))

    @rule(which=index, trouble=troubles, later=st.integers(0, 30))
    def cancel_while_it_is_ticked(self, which: int, trouble: Process, later: int) -> None:
        if tick := self._due(which):
            jobs = [job for job in self._world.jobs if job.job_id in tick.args]
            cancels = [self._cancel(job, Process(), later) for job in jobs]
            self._do(self._all(self._world.run(tick, trouble), *cancels))

    @rule(which=index)
    def let_go_on(self, which: int) -> None:
        if standing := self._world.standing:
            self._do(self._world.go_on(standing[which % len(standing)]))

    @rule(which=index, kind=st.sampled_from([Kind.STOPPED_BEFORE, Kind.STOPPED_AFTER]), at=calls)
    def outlive_a_lease(self, which: int, kind: Kind, at: int | str) -> None:
        if tick := self._due(which):
            self._do(self._world.run(tick, process := Process(kind, at)))
            self.advance(LEASE_S + 1)
            self.sweep()
            self.tick_all()
            if process in self._world.standing:
                self._do(self._world.go_on(process))

    @rule(which=index)
    def lose_the_microvm(self, which: int) -> None:
        if job := self._job(which):
            self._world.lose(job)

    @rule(what=st.sampled_from(Upset), which=index, tenant=tenants)
    def upset(self, what: Upset, which: int, tenant: TenantId) -> None:
        world = self._world
        match what:
            case Upset.REDIS_FLUSHED:
                world.redis.flush()
            case Upset.REDIS_GONE | Upset.REDIS_BACK:
                world.redis.away = what is Upset.REDIS_GONE
                self._do(world.ticks.pay())
            case Upset.TENANT_SUSPENDED:
                world.suspended.add(tenant)
            case Upset.TENANT_REINSTATED:
                world.suspended.discard(tenant)
            case Upset.BUDGET_SPENT:
                world.spending.refused |= {job.job_id for job in [self._job(which)] if job}
            case Upset.AGENT_WITHDRAWN | Upset.AGENT_BACK:
                world.agents.agent = world.agent if what is Upset.AGENT_BACK else None

    @rule()
    def sweep(self) -> None:
        self._do(self._world.sweep())

    @rule(trouble=sweep_troubles)
    def sweep_twice_at_once(self, trouble: Process) -> None:
        self._do(self._all(self._world.sweep(), self._world.sweep(trouble)))

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 6.0, 16.0, 31.0, 60.0, 170.0]))
    def advance(self, seconds: float) -> None:
        self._do(self._world.clock.advance(seconds))

    @invariant()
    def nothing_is_broken(self) -> None:
        self._world.history.check()

    def teardown(self) -> None:
        try:
            self._do(self._world.settle(SETTLED_S))
            self._world.history.check_rest(self._world.runtime.effects, self._most_effects)
        finally:
            self._loop.run_until_complete(_end_all(self._loop))
            self._loop.close()

    async def _cancel(self, job: JobRecord, process: Process, later: int = 0) -> None:
        """Cancel a job once the others have had so many turns."""
        await settle(later)
        done = await self._world.cancel(job, process)
        if done is not None and not done.was_over:
            self._world.history.cancelled.add(job.job_id)

    def _new_key(self, tenant: TenantId) -> str:
        self._keys.append((tenant, key := str(len(self._keys))))
        return key

    async def _all(self, *acts: Coroutine[None, None, object]) -> None:
        await asyncio.gather(*acts)

    def _job(self, which: int) -> JobRecord | None:
        jobs = self._world.jobs
        return jobs[which % len(jobs)] if jobs else None

    def _due(self, which: int) -> Queued | None:
        """Return a tick that is due, having waited for one that is asked for."""
        asked = [tick.due_at for tick in self._world.redis.held.values() if tick.queue == JOBS]
        if asked and not self._world.due():
            self.advance((min(asked) - self._world.clock.now()).total_seconds())
        due = self._world.due()
        return due[which % len(due)] if due else None

    def _do(self, act: Coroutine[None, None, T]) -> T:
        return self._loop.run_until_complete(act)


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


TestJobs = JobMachine.TestCase
TestJobs.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
