"""Which gateway processes live: each keeps a lease, and what one that has died was serving is for the others.

No clock is compared with another: a lease has run out once its record has not changed for as long as it says, by the
watcher's own clock and while it looked all the time. Who finds that writes it down first, so that one process acts on
it and the dead one, should it only have been paused, learns of it when it renews: it must end at once. Until it has
renewed it is not `sure`, and writes nothing that could stand against what another has written since.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import structlog

from tenancy.clock import Clock
from tenancy.data_models import ProcessLease
from tenancy.errors import ConditionFailedError, StoreUnavailableError

RENEW_S: Final = 3.0
LEASE_S: Final = 10
# A renewal that did not come through is tried again sooner.
RETRY_S: Final = 0.5
# Who has not renewed for so long writes nothing: less than a lease, by what a write may take.
SURE_S: Final = 7.0
# Who has not looked for so long cannot tell how long a lease has not changed.
LOOKED_S: Final = 7.0

_log = structlog.get_logger("gateway.processes")


class Leases(Protocol):
    """The leases of all processes; each raises StoreUnavailableError."""

    async def processes(self) -> tuple[ProcessLease, ...]:
        """Return all, as last written."""
        ...

    async def put_process(self, lease: ProcessLease, *, seen: ProcessLease | None) -> None:
        """Write one in place of what was seen of it; raises ConditionFailedError where it is another by now."""
        ...

    async def delete_process(self, lease: ProcessLease) -> None:
        """Remove one; raises ConditionFailedError where it is another by now."""
        ...


# Adds to a lease what the others are to know of its process.
Tell: TypeAlias = Callable[[ProcessLease], ProcessLease]


@dataclass(frozen=True, slots=True)
class _Seen:
    version: str
    at_s: float


class Standing:
    """The lease of this process."""

    def __init__(self, leases: Leases, clock: Clock, tell: Tell | None = None) -> None:
        self.process = secrets.token_hex(8)
        self._tell = tell
        # Set once another process has taken this one for dead.
        self.lost = asyncio.Event()
        self._leases = leases
        self._clock = clock
        self._lease: ProcessLease | None = None
        self._renewed_s = float("-inf")
        self._renewed = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None

    @property
    def sure_s(self) -> float:
        """For how many seconds from now no other process can take this one for dead; 0 where one may have."""
        return 0.0 if self.lost.is_set() else max(0.0, self._renewed_s + SURE_S - self._clock.monotonic())

    @property
    def sure(self) -> bool:
        """Whether no other process can have taken this one for dead."""
        return self.sure_s > 0

    async def settled(self) -> None:
        """Wait until it is sure, if it is not: a process that was paused may have been taken for dead."""
        if not self.sure:
            self._renewed.clear()
            await self._renewed.wait()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the lease for the block."""
        pause_s = await self._renewed_or_not()
        self._renewer = asyncio.get_running_loop().create_task(self._keep(pause_s), context=Context())
        try:
            yield
        finally:
            await self._rest()

    async def leave(self) -> None:
        """Give the lease back: nothing is left to take over."""
        await self._rest()
        if self._lease is not None and not self.lost.is_set():
            with suppress(StoreUnavailableError, ConditionFailedError):
                await self._leases.delete_process(self._lease)

    async def _rest(self) -> None:
        """Renew it no more."""
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)

    async def _keep(self, pause_s: float) -> None:
        while not self.lost.is_set():
            await self._clock.sleep(pause_s)
            pause_s = await self._renewed_or_not()

    async def _renewed_or_not(self) -> float:
        """Try to renew, and return after how many seconds to do so again."""
        try:
            async with asyncio.timeout(RENEW_S):
                return RENEW_S if await self._renew() else RETRY_S
        except (StoreUnavailableError, TimeoutError):
            _log.warning("lease not renewed", process=self.process)
        except Exception:
            # The boundary of one try: without a next one the process would never write again.
            _log.exception("renewing crashed", process=self.process)
        return RETRY_S

    async def _renew(self) -> bool:
        began_s, seen = self._clock.monotonic(), self._lease
        lease = ProcessLease(process=self.process, record_version=secrets.token_hex(8), lease_s=LEASE_S)
        if self._tell is not None:
            lease = self._tell(lease)
        try:
            await self._leases.put_process(lease, seen=seen)
        except ConditionFailedError:
            if not await self._written(lease, seen):
                return False
        self._lease, self._renewed_s = lease, began_s
        self._renewed.set()
        return True

    async def _written(self, lease: ProcessLease, seen: ProcessLease | None) -> bool:
        """Tell whether a lease that was refused stands all the same, its answer having been lost the first time."""
        stands = {each.process: each for each in await self._leases.processes()}.get(self.process)
        if stands is not None and stands.record_version == lease.record_version:
            return True
        if stands is not None and not stands.taken:
            # An earlier renewal of our own was written though its answer was lost.
            self._lease = stands
            return False
        if seen is not None or stands is not None:
            _log.error("taken for dead", process=self.process)
            self.lost.set()
        return False


class Watch:
    """Looks after the leases of the others."""

    def __init__(self, leases: Leases, clock: Clock, process: str) -> None:
        self._leases = leases
        self._clock = clock
        self._process = process
        self._seen: dict[str, _Seen] = {}
        self._looked_s = float("-inf")

    async def lapsed(self) -> list[ProcessLease]:
        """Return the leases that have run out; raises StoreUnavailableError."""
        leases, now_s = await self._leases.processes(), self._clock.monotonic()
        if now_s - self._looked_s > LOOKED_S:
            # They may have been renewed and nobody looked.
            self._seen = {}
        self._looked_s = now_s
        seen = {lease.process: self._seen.get(lease.process) for lease in leases}
        self._seen = {
            lease.process: before
            if (before := seen[lease.process]) is not None and before.version == lease.record_version
            else _Seen(lease.record_version, now_s)
            for lease in leases
        }
        return [
            lease
            for lease in leases
            if lease.process != self._process and now_s - self._seen[lease.process].at_s >= lease.lease_s
        ]

    async def taken(self, lapsed: ProcessLease) -> ProcessLease | None:
        """Write down that a process is dead; None where it is not, or another was first."""
        dead = lapsed.model_copy(update={"record_version": secrets.token_hex(8), "taken": lapsed.taken + 1})
        try:
            await self._leases.put_process(dead, seen=lapsed)
        except ConditionFailedError:
            return None
        return dead

    async def forget(self, dead: ProcessLease) -> None:
        """Remove what is left of a process; raises StoreUnavailableError."""
        with suppress(ConditionFailedError):
            await self._leases.delete_process(dead)
