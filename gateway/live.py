"""The invocations this process is serving now, and how to end one early.

An invocation runs inside one `asyncio.timeout` scope that bounds its total time; ending it early moves that
deadline to now, so that a time-out and an order to stop take the same well-trodden way out.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType

from gateway.errors import DrainingError
from tenancy.errors import LockgateError
from tenancy.ids import InvocationId, TenantId


class EndedEarlyError(LockgateError):
    """Root of what ends an invocation before its agent is done."""


class InvocationTimedOutError(EndedEarlyError):
    """It took longer than its mode allows."""

    code = "upstream_timeout"


class InvocationCancelledError(EndedEarlyError):
    """Its tenant cancelled it."""

    code = "cancelled"


class InvocationSuspendedError(EndedEarlyError):
    """Its tenant was suspended."""

    code = "tenant_suspended"


class InvocationDisownedError(EndedEarlyError):
    """Its tenant was deleted."""

    code = "tenant_deleted"


class InvocationOverBudgetError(EndedEarlyError):
    """Its time is paid no more."""

    code = "budget_exceeded"


class InvocationDrainedError(EndedEarlyError):
    """The process serving it had to end."""

    code = "draining"


class InvocationRegionLostError(EndedEarlyError):
    """The region in which its agent ran serves no more."""

    code = "region_failover"


@dataclass(slots=True)
class LiveInvocation:
    """One invocation being served."""

    scope: asyncio.Timeout
    ending: type[EndedEarlyError] = InvocationTimedOutError

    def end(self, ending: type[EndedEarlyError]) -> None:
        """End it as soon as the event loop comes round; a second order changes nothing."""
        if self.ending is InvocationTimedOutError and not self.scope.expired():
            self.ending = ending
            self.scope.reschedule(asyncio.get_running_loop().time())


class LiveInvocations:
    """All of them, by tenant and id: an order names both, so no tenant can end another's."""

    def __init__(self) -> None:
        self._live: dict[tuple[TenantId, InvocationId], LiveInvocation] = {}
        self._draining = self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many are being served."""
        return len(self._live)

    @property
    def draining(self) -> bool:
        """Whether the process is on its way out."""
        return self._draining

    def check_open(self) -> None:
        """Raise DrainingError once nothing new is taken."""
        if self._closed:
            raise DrainingError

    def serving(self, tenant_id: TenantId, invocation_id: InvocationId, limit_s: float) -> "_Serving":
        """Serve an invocation in the block for at most `limit_s`; raises EndedEarlyError, DrainingError."""
        self.check_open()
        return _Serving(self, (tenant_id, invocation_id), LiveInvocation(asyncio.timeout(limit_s)))

    def enter(self, key: tuple[TenantId, InvocationId], live: LiveInvocation) -> None:
        """Take note of an invocation."""
        self._live[key] = live
        self._idle.clear()

    def leave(self, key: tuple[TenantId, InvocationId]) -> None:
        """Forget an invocation."""
        del self._live[key]
        if not self._live:
            self._idle.set()

    def serves(self, tenant_id: TenantId, invocation_id: InvocationId) -> bool:
        """Tell whether this process serves an invocation now."""
        return (tenant_id, invocation_id) in self._live

    def cancel(self, tenant_id: TenantId, invocation_id: InvocationId) -> bool:
        """Cancel an invocation; tells whether this process serves it."""
        live = self._live.get((tenant_id, invocation_id))
        if live is None:
            return False
        live.end(InvocationCancelledError)
        return True

    def tenants(self) -> frozenset[TenantId]:
        """Whose invocations are being served."""
        return frozenset(tenant_id for tenant_id, _ in self._live)

    def end_tenant(self, tenant_id: TenantId, ending: type[EndedEarlyError] = InvocationSuspendedError) -> int:
        """End all invocations of a tenant that is served no more; tells how many."""
        ended = [live for (owner, _), live in self._live.items() if owner == tenant_id]
        for live in ended:
            live.end(ending)
        return len(ended)

    def end_region(self, _serves_now: str) -> None:
        """End all there are: the region they run in has been left for another."""
        for live in self._live.values():
            live.end(InvocationRegionLostError)

    def drain(self) -> None:
        """Say that the process is on its way out; what still comes on connections it has accepted is served."""
        self._draining = True

    async def idle(self) -> None:
        """Return once nothing is being served."""
        await self._idle.wait()

    async def end(self) -> None:
        """Take nothing new, end what is left, and return once it has ended."""
        self._closed = True
        for live in list(self._live.values()):
            live.end(InvocationDrainedError)
        await self._idle.wait()


@dataclass(slots=True)
class _Serving:
    """The block in which an invocation is served. A class, for every request enters one: a generator costs thrice."""

    among: LiveInvocations
    key: tuple[TenantId, InvocationId]
    live: LiveInvocation

    async def __aenter__(self) -> LiveInvocation:
        await self.live.scope.__aenter__()
        self.among.enter(self.key, self.live)
        return self.live

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.among.leave(self.key)
        try:
            await self.live.scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self.live.ending from None
        if isinstance(error, TimeoutError) and self.live.scope.expired():
            raise self.live.ending from None
