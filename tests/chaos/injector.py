"""Does a plan's faults to a running stack, each at its time, and undoes each: at the end everything runs again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Final

from tests.chaos.ground import Ground, Member
from tests.chaos.plan import REDIS, RUNTIME, STORE, Fault, Kind
from tests.chaos.proxy import Loss

# Of the calls to the store while it loses some; a call to the runtime is never carried out late: nobody can tell a
# start that comes after its job's end from a new one.
_STORE_LOSES: Final[Mapping[Loss, float]] = {
    Loss.ANSWER_CUT: 0.10,
    Loss.ANSWER_HELD: 0.05,
    Loss.REQUEST_CUT: 0.10,
    Loss.LATE: 0.05,
}
_RUNTIME_LOSES: Final[Mapping[Loss, float]] = {Loss.ANSWER_CUT: 0.2, Loss.ANSWER_HELD: 0.1, Loss.REQUEST_CUT: 0.1}


class Injector:
    """Injects; `done` counts faults by kind and part."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.done: Final[Counter[str]] = Counter()

    async def run(self, faults: Sequence[Fault]) -> float:
        """Inject every fault at its time; return when, by the ground's clock, the last one was undone."""
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                tasks.create_task(self._inject(fault))
        return self._ground.clock.monotonic()

    async def _inject(self, fault: Fault) -> None:
        await self._ground.clock.sleep(fault.at_s)
        member = self._ground.members[fault.part]
        if member.lock.locked():
            # It is being broken already.
            return
        async with member.lock:
            self.done[f"{fault.kind} {fault.part.partition('-')[0]}"] += 1
            await self._ways[fault.kind](fault, member)

    @property
    def _ways(self) -> Mapping[Kind, Callable[[Fault, Member], Awaitable[None]]]:
        return {
            Kind.KILL: self._kill,
            Kind.TERM: self._end,
            Kind.FREEZE: self._freeze,
            Kind.WIPE: self._wipe,
            Kind.FLUSH: self._flush,
            Kind.CUT_CLIENTS: self._cut_clients,
            Kind.LOSE: self._lose,
        }

    async def _kill(self, fault: Fault, member: Member) -> None:
        if member.name == STORE:
            await self._restart_store(fault, SIGKILL)
        else:
            await self._restart(fault, member, SIGKILL)

    async def _end(self, fault: Fault, member: Member) -> None:
        if member.name == STORE:
            await self._restart_store(fault, SIGTERM)
        else:
            await self._restart(fault, member, SIGTERM)

    async def _restart(self, fault: Fault, member: Member, number: Signals) -> None:
        await member.down(number)
        await self._ground.clock.sleep(fault.for_s)
        await member.up()

    async def _restart_store(self, fault: Fault, number: Signals) -> None:
        """Kill the store as its callers see it, losing nothing it had acknowledged.

        DynamoDB acknowledges what is on several disks. The embedded store writes its own some seconds late, so every
        connection is broken off first, and the process ends once it has saved what it was asked until then.
        """
        ground, member = self._ground, self._ground.members[STORE]
        await ground.cut_store()
        try:
            if number is SIGKILL:
                await ground.until_saved()
            await self._restart(fault, member, number)
        finally:
            ground.store.cut = False

    async def _freeze(self, fault: Fault, member: Member) -> None:
        member.send(SIGSTOP)
        try:
            await self._ground.clock.sleep(fault.for_s)
        finally:
            member.send(SIGCONT)

    async def _wipe(self, fault: Fault, member: Member) -> None:
        await member.down(SIGKILL)
        self._ground.forget_redis()
        await self._ground.clock.sleep(fault.for_s)
        await member.up()

    async def _flush(self, _: Fault, member: Member) -> None:
        assert member.name == REDIS
        await self._ground.redis("FLUSHALL")

    async def _cut_clients(self, _: Fault, member: Member) -> None:
        assert member.name == REDIS
        await self._ground.redis("CLIENT", "KILL", "TYPE", "normal")

    async def _lose(self, fault: Fault, member: Member) -> None:
        proxy = self._ground.runtime if member.name == RUNTIME else self._ground.store
        proxy.loses = dict(_RUNTIME_LOSES if member.name == RUNTIME else _STORE_LOSES)
        try:
            await self._ground.clock.sleep(fault.for_s)
        finally:
            proxy.loses = {}
            if member.name == STORE:
                # The late ones are part of the fault.
                await proxy.drained()
