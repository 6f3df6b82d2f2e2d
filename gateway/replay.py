"""Reading a stream's log on any process: what is stored, then what Redis has, then what comes.

Nothing is ever left out or given twice: a piece is taken only where it follows the event before it, by its numbers.
What should follow and is nowhere is waited for, and told of in the end.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.errors import EventUnknownError, NotFoundError, ReplayExpiredError
from gateway.frames import Frames, joined
from gateway.segments import Segments
from gateway.streamlog import StreamLogs
from gateway.streamtail import Place, StreamTails
from tenancy.clock import Clock
from tenancy.data_models import InvocationRecord
from tenancy.errors import StoreUnavailableError
from tenancy.ids import InvocationId, TenantId

# A silent stream's segments are looked at this often: Redis may have lost its tail.
LOOK_EVERY_S: Final = 2.0
LOOK_AGAIN_S: Final = 0.25
# How long what should be in a log is waited for once nobody writes it any more.
PATIENCE_S: Final = 5.0
# A reader may know more than the log of a process that has just died, until another has gone on with the stream:
# so many events at most, for so long.
AHEAD: Final = 256
AHEAD_PATIENCE_S: Final = 20.0

Find: TypeAlias = Callable[[TenantId, InvocationId], Awaitable[InvocationRecord]]


@dataclass(frozen=True, slots=True)
class Newest:
    """The last event of a log so far, and whether it is the terminal one."""

    id: int = 0
    ends: bool = False


class Replays:
    """The logs of all tenants' streams, for reading."""

    def __init__(self, segments: Segments, tails: StreamTails, logs: StreamLogs, find: Find, clock: Clock) -> None:
        self._segments = segments
        self._tails = tails
        self._logs = logs
        self._find = find
        self._clock = clock

    async def reached(self, record: InvocationRecord, number: int) -> Newest:
        """Return the newest event once the log has come to this one; raises EventUnknownError where it does not."""
        place = (record.tenant_id, record.invocation_id)
        served = self._logs.served(place)
        if served is not None:
            if number > served.last_id:
                raise EventUnknownError
            return Newest(served.last_id)
        newest = await self._newest(place)
        began_s = self._clock.monotonic()
        while number > newest.id:
            patience_s = PATIENCE_S if record.status.terminal else AHEAD_PATIENCE_S
            if number > newest.id + AHEAD or self._clock.monotonic() - began_s >= patience_s or newest.ends:
                raise EventUnknownError
            await self._clock.sleep(LOOK_AGAIN_S)
            newest = await self._newest(place)
        return newest

    async def follow(self, place: Place, after: int) -> AsyncGenerator[Frames, None]:
        """Yield what comes after an event, up to the terminal one.

        Raises ReplayExpiredError where what should follow is not kept. A store that is away is asked again.
        """
        while (frames := await self._stored(place, after)) is not None:
            yield frames
            after = frames.last
            if frames.ends:
                return
        frames = joined(await self._tails.after(place, after), after)
        missing_since_s: float | None = None
        while True:
            if frames is not None:
                yield frames
                after, missing_since_s = frames.last, None
                if frames.ends:
                    return
            pieces = await self._tails.grown(place, after, LOOK_EVERY_S)
            frames = joined(pieces, after) or await self._stored(place, after)
            if frames is None and (pieces or await self._over(place)):
                # More is said to have come than can be read: it is on its way to the store, or lost.
                missing_since_s = missing_since_s or self._clock.monotonic()
                if self._clock.monotonic() - missing_since_s >= PATIENCE_S:
                    raise ReplayExpiredError
                await self._clock.sleep(LOOK_AGAIN_S)

    async def _newest(self, place: Place) -> Newest:
        stored, tail = await self._segments.newest(place), await self._tails.newest(place)
        last = 0 if stored is None else stored.last
        if tail is not None and tail.last >= last:
            return Newest(tail.last, tail.ends)
        if stored is None:
            return Newest()
        frames = await self._segments.after(place, last - 1)
        return Newest(last, frames is not None and frames.ends)

    async def _stored(self, place: Place, after: int) -> Frames | None:
        with suppress(StoreUnavailableError):
            return await self._segments.after(place, after)
        return None

    async def _over(self, place: Place) -> bool:
        """Tell whether the stream's end is on record."""
        try:
            return (await self._find(*place)).status.terminal
        except StoreUnavailableError:
            return False
        except NotFoundError:
            return True
