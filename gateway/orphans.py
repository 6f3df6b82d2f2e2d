"""Finds what a process that has died was serving, and takes it over: nothing stays running that nobody serves.

Each invocation is taken by a conditional write that raises its fence, so that two processes never carry the same one
on. A process is forgotten once a second look, a lease later, finds nothing of it: the index it is read from may lag.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Final, Protocol

import structlog
from boto3.dynamodb.conditions import Attr
from prometheus_client import CollectorRegistry, Counter

from gateway.processes import Watch
from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import InvocationRecord, ProcessLease, Status, open_partition
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.platform_store import Owed
from tenancy.store import TenantStores

LOOK_S: Final = 3.0
# So many are asked for at once, and so many taken at the same time.
_PAGE: Final = 200
_AT_ONCE: Final = 20
RETRY_S: Final = 0.5
# What this process carries on when it ends has been told to end before: this is for its last words.
END_S: Final = 3.0

# Brings an invocation that this process has taken over to its end.
Carry = Callable[[InvocationRecord], Awaitable[None]]

_log = structlog.get_logger("gateway.orphans")


class Open(Protocol):
    """The index of what each process serves, which spans tenants."""

    async def open_invocations(self, process: str, *, limit: int) -> tuple[Owed, ...]:
        """Return up to `limit` invocations that a process serves; raises StoreUnavailableError."""
        ...


class Orphans:
    """Takes over what dead processes have left."""

    def __init__(
        self,
        watch: Watch,
        index: Open,
        stores: TenantStores,
        carry: Carry,
        *,
        process: str,
        clock: Clock,
        resting: Callable[[], bool],
        metrics: CollectorRegistry,
    ) -> None:
        self._watch = watch
        self._index = index
        self._stores = stores
        self._carry = carry
        self._process = process
        self._clock = clock
        # Whether this process takes over nothing more.
        self._resting = resting
        self._carried: set[asyncio.Task[None]] = set()
        self._dead = Counter("lockgate_processes_dead_total", "Gateway processes found dead", registry=metrics)
        self._taken = Counter(
            "lockgate_invocations_taken_over_total", "Invocations taken over from dead processes", registry=metrics
        )

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look until the block ends; what is carried on then has END_S to end, and is left to others after that."""
        looker = asyncio.get_running_loop().create_task(self._run(), context=Context())
        try:
            yield
        finally:
            looker.cancel()
            await asyncio.gather(looker, return_exceptions=True)
            if carried := tuple(self._carried):
                await asyncio.wait(carried, timeout=END_S)
                for task in carried:
                    task.cancel()
                await asyncio.gather(*carried, return_exceptions=True)

    async def look(self) -> int:
        """Take over what has been left; return how much that was. Raises StoreUnavailableError."""
        number = 0
        for lapsed in await self._watch.lapsed():
            dead = await self._watch.taken(lapsed)
            if dead is None:
                continue
            found = await self._take_all(dead)
            number += found
            if dead.taken == 1:
                self._dead.inc()
            elif not found:
                await self._watch.forget(dead)
            _log.warning("process dead", process=dead.process, invocations=found, look=dead.taken)
        return number

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            if self._resting():
                continue
            try:
                await self.look()
            except StoreUnavailableError as away:
                _log.warning("orphans not looked for", cause=away.code)
            except Exception:
                # The boundary of a look: the next one comes whatever became of this one.
                _log.exception("looking for orphans crashed")

    async def _take_all(self, dead: ProcessLease) -> int:
        """Take all of a process's invocations; those that a lagging index still shows fail their condition."""
        number, room = 0, asyncio.Semaphore(_AT_ONCE)

        async def take(owed: Owed) -> bool:
            async with room:
                return await self._take(dead.process, owed)

        while owed := await self._index.open_invocations(dead.process, limit=_PAGE):
            taken = sum(await asyncio.gather(*(take(each) for each in owed)))
            number += taken
            if taken == 0:
                break
        return number

    async def _take(self, dead: str, owed: Owed) -> bool:
        record, unsure = None, False
        while True:
            try:
                record = await self._claimed(dead, owed, unsure=unsure)
            except StoreUnavailableError:
                # It may have been taken all the same: nobody else would see it then.
                unsure = True
                await self._clock.sleep(RETRY_S)
            else:
                break
        if record is None:
            return False
        self._taken.inc()
        # Outlives this look, and acts for a tenant of its own.
        task = asyncio.get_running_loop().create_task(self._carry_on(record), context=Context())
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return True

    async def _claimed(self, dead: str, owed: Owed, *, unsure: bool) -> InvocationRecord | None:
        """Return an invocation that is this process's to carry on from now; None where it is not.

        `unsure` says that it may have been taken already, by a write whose answer was lost.
        """
        db, key = self._stores.db(owed.tenant_id), InvocationRecord.key_of(owed.tenant_id, owed.record_id)
        mine = {"process": self._process, tables.OPEN_INDEX.partition_key: open_partition(self._process)}
        condition = Attr("process").eq(dead) & Attr("status").eq(Status.RUNNING.value)
        try:
            return await db.update(InvocationRecord, key, mine, add={"fence": 1}, condition=condition)
        except ConditionFailedError:
            record = await db.get(InvocationRecord, key, consistent=True) if unsure else None
        mine_already = record is not None and record.process == self._process and not record.status.terminal
        return record if mine_already else None

    async def _carry_on(self, record: InvocationRecord) -> None:
        try:
            await self._carry(record)
        except Exception:
            # The boundary of one invocation: the others are carried on.
            _log.exception("orphan not carried on", tenant=record.tenant_id, id=record.invocation_id)
