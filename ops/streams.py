"""Builds what keeps the streams of a gateway: their logs, who reads them, and those that go on without a caller."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from gateway.detach import Detachments
from gateway.journal import Journal
from gateway.replay import Find, Replays
from gateway.segments import Segments
from gateway.streamlog import StreamLogs
from gateway.streamtail import StreamTails
from ops.wiring import Floor, bounded
from tenancy.clock import Clock
from tenancy.trips import RoundTrips


@dataclass(frozen=True, slots=True)
class Streams:
    """The parts of a process that keep streams."""

    segments: Segments
    tails: StreamTails
    logs: StreamLogs
    detached: Detachments
    clock: Clock

    def replays(self, find: Find) -> Replays:
        """Return who reads logs; `find` finds an invocation's record."""
        return Replays(self.segments, self.tails, self.logs, find, self.clock)


@asynccontextmanager
async def streams(base: Floor, journal: Journal, sure: Callable[[], bool]) -> AsyncIterator[Streams]:
    """Keep streams for the block, writing while this process is `sure` that they are its own.

    When it is left, what is logged is handed to the journal first.
    """
    async with AsyncExitStack() as stack:
        # Trips of their own: what streams say must not hold up who asks whether it may come in. The log counts them.
        trips = RoundTrips(base.redis, clock=base.clock, metrics=CollectorRegistry())
        stack.push_async_callback(bounded, trips.aclose)
        tails, segments = StreamTails(trips, base.clock), Segments(base.stores)
        stack.push_async_callback(tails.aclose)
        logs = StreamLogs(tails, segments, journal, sure=sure, clock=base.clock, metrics=base.metrics)
        await stack.enter_async_context(logs.running())
        detached = Detachments()
        stack.push_async_callback(bounded, detached.aclose)
        yield Streams(segments, tails, logs, detached, base.clock)
