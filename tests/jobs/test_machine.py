"""Jobs through any faults, in any order: a model checker's walk over the whole jobs floor, in memory.

Each example is a history of submissions, ticks, cancels, sweeps and time; in it workers are killed, stopped and told
to end at any of their calls, Redis forgets, the store fails, microVMs vanish. What may never be written is watched
for write by write (tests.jobs.memory.history); at its end all trouble ends, and what must then hold is demanded.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobs.execute import MAX_RUNS
from tenancy.data_models import JobRecord
from tenancy.ids import TenantId
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

T = TypeVar("T")
index = st.integers(0, 7)
kinds = st.one_of(st.just(Kind.NONE), st.sampled_from(Kind))
store_troubles = st.sampled_from([Kind.FAILED, Kind.UNHEARD, Kind.REPEATED, Kind.CONFLICT])
calls = st.integers(1, 9)
work = st.sampled_from(WORKS)
tenants = st.sampled_from(TENANTS)


class JobMachine(RuleBasedStateMachine):
    """Two tenants' jobs, driven by as many processes as there are ticks."""

    @initialize(caps=st.tuples(st.integers(1, 2), st.integers(1, 3)), restartable=st.booleans())
    def begin(self, caps: tuple[int, int], *, restartable: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._world = World(dict(zip(TENANTS, caps, strict=True)), restartable=restartable)
        # Every key that was asked with, heard or not.
        self._keys: list[tuple[TenantId, str]] = []
        self._most_effects = MAX_RUNS if restartable else 1

    @rule(tenant=tenants, body=work)
    def submit(self, tenant: TenantId, body: bytes) -> None:
        assert self._do(self._submit(tenant, body, Process())) is not None

    @rule(tenant=tenants, body=work, kind=store_troubles, at=calls)
    def submit_in_trouble(self, tenant: TenantId, body: bytes, kind: Kind, at: int) -> None:
        self._do(self._submit(tenant, body, Process(kind, at)))

    @rule(tenant=tenants, body=work, kind=store_troubles, at=calls)
    def submit_twice_at_once(self, tenant: TenantId, body: bytes, kind: Kind, at: int) -> None:
        key = self._new_key(tenant)
        submits = [self._world.submit(tenant, body, process, key=key) for process in (Process(kind, at), Process())]
        self._do(self._both(*submits))

    @rule(which=index, body=work)
    def ask_again(self, which: int, body: bytes) -> None:
        if self._keys:
            tenant, key = self._keys[which % len(self._keys)]
            assert self._do(self._world.submit(tenant, body, key=key)) is not None

    @rule(which=index, kind=kinds, at=calls)
    def tick(self, which: int, kind: Kind, at: int) -> None:
        if due := self._world.due():
            self._do(self._world.run(due[which % len(due)], Process(kind, at)))

    @rule()
    def tick_all(self) -> None:
        for tick in self._world.due():
            self._do(self._world.run(tick))

    @rule(which=index, kind=kinds, at=calls)
    def tick_twice_at_once(self, which: int, kind: Kind, at: int) -> None:
        if due := self._world.due():
            tick = due[which % len(due)]
            self._do(self._both(self._world.run(tick, Process(kind, at)), self._world.run(tick)))

    @rule(which=index, kind=st.one_of(st.just(Kind.NONE), store_troubles), at=calls)
    def cancel(self, which: int, kind: Kind, at: int) -> None:
        if job := self._job(which):
            self._do(self._cancel(job, Process(kind, at)))

    @rule(which=index, tick=index, kind=kinds, at=calls)
    def cancel_while_it_is_ticked(self, which: int, tick: int, kind: Kind, at: int) -> None:
        job, due = self._job(which), self._world.due()
        if job is not None and due:
            ticking = self._world.run(due[tick % len(due)], Process(kind, at))
            self._do(self._both(ticking, self._cancel(job, Process())))

    @rule(which=index)
    def let_go_on(self, which: int) -> None:
        if standing := self._world.standing:
            self._do(self._world.go_on(standing[which % len(standing)]))

    @rule(which=index)
    def lose_the_microvm(self, which: int) -> None:
        if job := self._job(which):
            self._world.lose(job)

    @rule()
    def flush_redis(self) -> None:
        self._world.redis.flush()

    @rule(away=st.booleans())
    def lose_redis(self, *, away: bool) -> None:
        self._world.redis.away = away

    @rule()
    def pay(self) -> None:
        self._do(self._world.ticks.pay())

    @rule()
    def sweep(self) -> None:
        self._do(self._world.sweep())

    @rule(kind=st.one_of(store_troubles, st.just(Kind.KILLED_BEFORE)), at=st.integers(1, 60))
    def sweep_in_trouble(self, kind: Kind, at: int) -> None:
        self._do(self._world.sweep(Process(kind, at)))

    @rule()
    def sweep_twice_at_once(self) -> None:
        self._do(self._both(self._world.sweep(), self._world.sweep(Process())))

    @rule(tenant=tenants)
    def suspend(self, tenant: TenantId) -> None:
        self._world.suspended ^= {tenant}

    @rule(which=index)
    def spend_the_budget(self, which: int) -> None:
        if job := self._job(which):
            self._world.spending.refused.add(job.job_id)

    @rule()
    def withdraw_the_agent(self) -> None:
        self._world.agents.agent = None

    @rule()
    def bring_the_agent_back(self) -> None:
        self._world.agents.agent = self._world.agent

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

    async def _cancel(self, job: JobRecord, process: Process) -> None:
        done = await self._world.cancel(job, process)
        if done is not None and not done.was_over:
            self._world.history.cancelled.add(job.job_id)

    def _submit(self, tenant: TenantId, body: bytes, process: Process) -> Coroutine[None, None, JobRecord | None]:
        return self._world.submit(tenant, body, process, key=self._new_key(tenant))

    def _new_key(self, tenant: TenantId) -> str:
        self._keys.append((tenant, key := str(len(self._keys))))
        return key

    async def _both(self, one: Coroutine[None, None, object], other: Coroutine[None, None, object]) -> None:
        await asyncio.gather(one, other)

    def _job(self, which: int) -> JobRecord | None:
        jobs = self._world.jobs
        return jobs[which % len(jobs)] if jobs else None

    def _do(self, act: Coroutine[None, None, T]) -> T:
        return self._loop.run_until_complete(act)


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


TestJobs = JobMachine.TestCase
TestJobs.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
