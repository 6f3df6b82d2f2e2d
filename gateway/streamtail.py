"""The newest events of live streams in Redis, where any process can follow them.

A tail is a Redis stream: an entry is a piece of events, its id the number of the last of them, so that one entry is
never written over another. It holds what the store does not have yet and may be lost at any moment; who reads it
looks at the numbers and takes what is missing from the segments.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.frames import Frames
from tenancy.clock import Clock
from tenancy.ids import InvocationId, TenantId
from tenancy.keys import tail_key
from tenancy.trips import Argument, RedisAwayError, RoundTrips, Script

# How often those that follow are looked after, all with one command.
LOOK_EVERY_S: Final = 0.05
# How many pieces one look takes of one stream.
PIECES: Final = 64
# How many streams, and bytes, one command carries: Redis does nothing else meanwhile.
STREAMS_AT_ONCE: Final = 100
BYTES_AT_ONCE: Final = 262_144

Place: TypeAlias = tuple[TenantId, InvocationId]

# KEYS: tails. ARGV of each: number of the last event, the events, number of the last one that is stored, ms to keep.
# What stands in a tail already is passed over.
_APPEND: Final = Script("""
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4
  redis.pcall('XADD', key, 'MINID', (ARGV[at + 3] + 1) .. '-0', ARGV[at + 1] .. '-0', 'f', ARGV[at + 2])
  redis.call('PEXPIRE', key, ARGV[at + 4])
end
return 0
""")


@dataclass(frozen=True, slots=True)
class Grown:
    """What a stream has grown by; up to `stored` its tail may be forgotten."""

    place: Place
    frames: Frames
    stored: int
    keep_s: int


class StreamTails:
    """All tails, as one process writes and reads them."""

    def __init__(self, trips: RoundTrips, clock: Clock) -> None:
        self._trips = trips
        self._clock = clock
        self._waiting: dict[Place, list[tuple[int, asyncio.Future[tuple[Frames, ...]]]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def append(self, grown: Sequence[Grown]) -> None:
        """Add to tails; raises RedisAwayError."""
        for some in _portions(grown):
            keys = tuple(tail_key(*each.place) for each in some)
            arguments: list[Argument] = []
            for each in some:
                arguments += (each.frames.last, each.frames.data, each.stored, each.keep_s * 1000)
            await self._trips.run(_APPEND, keys, *arguments)

    def let_go(self, place: Place, seconds: int) -> None:
        """Forget a tail after some time: all of it is stored."""
        self._trips.send("PEXPIRE", tail_key(*place), seconds * 1000)

    async def newest(self, place: Place) -> Frames | None:
        """Return the newest piece of a tail; None where there is none, or Redis is away."""
        with suppress(RedisAwayError):
            found = await self._trips.send("XREVRANGE", tail_key(*place), "+", "-", "COUNT", 1)
            return next(_pieces(found), None)
        return None

    async def after(self, place: Place, number: int) -> tuple[Frames, ...]:
        """Return all of a tail after an event; nothing where Redis is away."""
        with suppress(RedisAwayError):
            return tuple(_pieces(await self._trips.send("XRANGE", tail_key(*place), f"({number}-0", "+")))
        return ()

    async def grown(self, place: Place, number: int, within_s: float) -> tuple[Frames, ...]:
        """Return the pieces that hold what comes after an event, once there are some; none where none come in time.

        They may begin later than that: what is stored, or lost, is not in the tail.
        """
        waiter: asyncio.Future[tuple[Frames, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, []).append((number, waiter))
        if self._looking is None:
            # Outlives the request that happens to begin it: it must not inherit its tenant.
            self._looking = asyncio.get_running_loop().create_task(self._look(), context=Context())
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await waiter
        return ()

    async def aclose(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            while self._still_waiting():
                with suppress(RedisAwayError):
                    await self._read()
                await self._clock.sleep(LOOK_EVERY_S)
        finally:
            self._looking = None

    def _still_waiting(self) -> bool:
        for place, waiting in list(self._waiting.items()):
            waiting[:] = [one for one in waiting if not one[1].done()]
            if not waiting:
                del self._waiting[place]
        return bool(self._waiting)

    async def _read(self) -> None:
        asked = {tail_key(*place).encode(): waiting for place, waiting in self._waiting.items()}
        numbers = [f"{min(number for number, _ in waiting)}-0" for waiting in asked.values()]
        found = await self._trips.send("XREAD", "COUNT", PIECES, "STREAMS", *asked, *numbers)
        for stream in _listed(found):
            match stream:
                case [bytes(key), entries]:
                    _tell(asked[key], tuple(_pieces(entries)))
                case _:
                    raise TypeError("Redis answered XREAD otherwise than it does")


def _tell(waiting: Sequence[tuple[int, asyncio.Future[tuple[Frames, ...]]]], pieces: Sequence[Frames]) -> None:
    for number, waiter in waiting:
        later = tuple(piece for piece in pieces if piece.last > number)
        if later and not waiter.done():
            waiter.set_result(later)


def _pieces(entries: object) -> Iterator[Frames]:
    for entry in _listed(entries):
        match entry:
            case [bytes(number), {b"f": bytes(data)}]:
                yield Frames.ending(int(number.partition(b"-")[0]), data)
            case _:
                raise TypeError("an entry of a tail is its number and its events")


def _listed(answer: object) -> list[object]:
    if not isinstance(answer, list):
        raise TypeError("Redis answered with what is no list")
    return answer


def _portions(grown: Sequence[Grown]) -> Iterator[list[Grown]]:
    some: list[Grown] = []
    size = 0
    for each in grown:
        if some and (len(some) == STREAMS_AT_ONCE or size + len(each.frames.data) > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(each)
        size += len(each.frames.data)
    if some:
        yield some
