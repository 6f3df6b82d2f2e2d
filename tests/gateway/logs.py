"""Looking at streams' logs from outside, and losing parts of them."""

import asyncio

from redis.asyncio import Redis

from tenancy import tables
from tenancy.data_models import StreamSegment
from tenancy.ids import InvocationId
from tenancy.keys import tail_key
from tests.gateway.whole import Whole


async def segments(gateway: Whole, invocation_id: InvocationId) -> list[StreamSegment]:
    """Return the segments of a stream, in order."""
    page = await gateway.stores.db(gateway.tenant_id).query(
        StreamSegment,
        tables.tenant_partition(gateway.tenant_id),
        sort_prefix=StreamSegment.prefix_of(invocation_id),
        limit=100,
        newest_first=False,
        consistent=True,
    )
    return list(page.items)


async def until_stored(gateway: Whole, invocation_id: InvocationId, last: int) -> list[StreamSegment]:
    """Return the segments of a stream once they hold this event."""
    async with asyncio.timeout(10):
        while not (found := await segments(gateway, invocation_id)) or found[-1].last < last:
            await asyncio.sleep(0.02)
    return found


async def without_tail(redis_url: str, gateway: Whole, invocation_id: InvocationId) -> None:
    """Lose what Redis has of a stream."""
    async with Redis.from_url(redis_url) as redis:
        await redis.delete(tail_key(gateway.tenant_id, invocation_id))


async def forgotten(redis_url: str, gateway: Whole, invocation_id: InvocationId, last: int) -> None:
    """Lose all that is kept of a stream that ended with event `last`."""
    db = gateway.stores.db(gateway.tenant_id)
    for segment in await until_stored(gateway, invocation_id, last):
        await db.delete(StreamSegment, segment.key())
    await without_tail(redis_url, gateway, invocation_id)
