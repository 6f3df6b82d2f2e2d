"""Watches the running stack's private ports and rings: whoever watches the stack is told as alarms begin and end."""

import asyncio
from typing import Final

from ops.alarms.catalogue import catalogue
from ops.alarms.watch import AlarmState, Watch
from ops.devstack.parts import Watcher
from ops.devstack.ports import Ports
from tenancy.clock import Clock

LOOK_S: Final = 5.0


class Bell:
    """One stack's alarms."""

    def __init__(self, ports: Ports, *, watcher: Watcher, clock: Clock) -> None:
        processes = {"gateway": ports.url("private"), "worker": ports.url("worker_private")}
        self._watch: Final = Watch(catalogue(), processes, clock)
        self._watcher: Final = watcher
        self._clock: Final = clock
        self._one_look: Final = asyncio.Lock()
        self._ringing: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> tuple[AlarmState, ...]:
        """Look now, and return how every alarm stands."""
        async with self._one_look:
            states = await self._watch.look()
            ringing = frozenset(state.name for state in states if state.ringing)
            for state in states:
                if state.name in ringing ^ self._ringing:
                    self._watcher.rang(state)
            self._ringing = ringing
        return states

    def seen(self, name: str) -> None:
        """Let an alarm that counts begin anew; raises AlarmUnknownError."""
        self._watch.seen(name)
