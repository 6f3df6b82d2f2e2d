"""The older parts of streams' logs: segments in DynamoDB, the large and the merged ones in the tenant's own S3.

A segment holds events without a gap and never changes but by being merged: the merged one takes the place of the first
of those it is made of, and only then are the others removed. So whoever looks for an event finds it in the segment
with the greatest first number that is not greater, at any moment.
"""

from collections.abc import AsyncIterator
from typing import Final

from gateway.frames import Frames, joined
from gateway.streamtail import Place
from tenancy import tables
from tenancy.data_models import StreamSegment
from tenancy.store import TenantStores

# A DynamoDB item may hold 400 KB, a batch of them shares a request.
INLINE_LIMIT_BYTES: Final = 131_072
_PAGE: Final = 25
# More of a stream is read at a time only where one segment holds more.
_READ_BYTES: Final = 1_048_576
_NUMBER_DIGITS: Final = 9
_LAST_NUMBER: Final = 10**_NUMBER_DIGITS - 1


class Segments:
    """All tenants' segments, each through its tenant's own door. Methods raise StoreUnavailableError."""

    def __init__(self, stores: TenantStores) -> None:
        self._stores = stores

    async def newest(self, place: Place) -> StreamSegment | None:
        """Return a stream's last segment."""
        return await self._holding(place, _LAST_NUMBER - 1)

    async def after(self, place: Place, number: int) -> Frames | None:
        """Return some of what comes after an event, all of it if that is not much; None where nothing is kept."""
        holding = await self._holding(place, number + 1)
        if holding is None or holding.last <= number:
            return None
        pieces = [await self._frames(place, holding)]
        size, first = len(pieces[0].data), holding.first
        while size < _READ_BYTES and (page := await self._page(place, first)):
            for segment in page:
                if segment.s3_key is not None and size:
                    return joined(pieces, number)
                pieces.append(await self._frames(place, segment))
                size += len(pieces[-1].data)
            first = page[-1].first
        return joined(pieces, number)

    async def put_object(self, place: Place, frames: Frames) -> str:
        """Keep events in the tenant's S3; return the key."""
        tenant_id, invocation_id = place
        key = f"{tables.tenant_prefix(tenant_id)}streams/{invocation_id}/{frames.first:09d}-{frames.last:09d}"
        await self._stores.s3(tenant_id).put(key, frames.data, "text/event-stream")
        return key

    async def merge(self, place: Place, first: int, last: int) -> None:
        """Make one segment in S3 of those in DynamoDB that begin at `first` and end with `last`."""
        db = self._stores.db(place[0])
        segments = [segment async for segment in self._between(place, first, last)]
        whole = joined([await self._frames(place, segment) for segment in segments], first - 1)
        if whole is None or whole.last != last:
            return
        key = await self.put_object(place, whole)
        merged = segments[0].model_copy(update={"last": last, "text": None, "s3_key": key})
        await db.put(merged)
        for segment in segments[1:]:
            await db.delete(StreamSegment, segment.key())

    async def _between(self, place: Place, first: int, last: int) -> AsyncIterator[StreamSegment]:
        at = first - 1
        while at < last and (page := await self._page(place, at)):
            for segment in page:
                if segment.last <= last:
                    yield segment
            at = page[-1].first

    async def _holding(self, place: Place, number: int) -> StreamSegment | None:
        """Return the segment with the greatest first number up to this one."""
        tenant_id, invocation_id = place
        page = await self._stores.db(tenant_id).query(
            StreamSegment,
            tables.tenant_partition(tenant_id),
            sort_prefix=StreamSegment.prefix_of(invocation_id),
            limit=1,
            after=_sort(place, number + 1),
            consistent=True,
        )
        return page.items[0] if page.items else None

    async def _page(self, place: Place, first: int) -> tuple[StreamSegment, ...]:
        """Return some of the segments that begin after the one that begins with `first`."""
        tenant_id, invocation_id = place
        page = await self._stores.db(tenant_id).query(
            StreamSegment,
            tables.tenant_partition(tenant_id),
            sort_prefix=StreamSegment.prefix_of(invocation_id),
            limit=_PAGE,
            after=_sort(place, first),
            newest_first=False,
            consistent=True,
        )
        return page.items

    async def _frames(self, place: Place, segment: StreamSegment) -> Frames:
        data = b"" if segment.text is None else segment.text.encode()
        if segment.s3_key is not None:
            data = await self._stores.s3(place[0]).get(segment.s3_key) or b""
        # What has expired in between is a piece that nothing can be taken from.
        return Frames(segment.first, segment.last, data) if data else Frames(segment.first, 0, b"")


def _sort(place: Place, number: int) -> str:
    return StreamSegment.SORT_PREFIX + StreamSegment.record_id_of(place[1], number)
