"""How many tools an invocation or a job has called, so that its usage record can say so.

An agent's calls come in on any process, so they are counted in Redis. A count that is lost is counted from nothing
again: calls are audited one by one, the count is what the ledger shows. Kept a day longer than anything runs.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tenancy.ids import InvocationId, JobId, TenantId
from tenancy.keys import tool_calls_key
from tenancy.trips import RedisAwayError, RoundTrips

_KEPT_S: Final = 33 * 3600
# A count that Redis does not take at once is sent again for this long.
_OWED_S: Final = 60.0


class ToolCalls:
    """The counts; one for a process."""

    def __init__(self, trips: RoundTrips) -> None:
        self._trips = trips

    def count(self, tenant_id: TenantId, ref: InvocationId | JobId) -> None:
        """Count one call more; never waits and never fails."""
        key = tool_calls_key(tenant_id, ref)
        self._trips.send("INCR", key, keep_s=_OWED_S)
        self._trips.send("EXPIRE", key, _KEPT_S, keep_s=_OWED_S)

    def tell(self, tenant_id: TenantId, ref: InvocationId | JobId, told: Callable[[int], None]) -> None:
        """Tell the count so far once Redis has answered; nothing where it does not, or counts none."""

        def heard(answer: asyncio.Future[object]) -> None:
            if answer.exception() is None and isinstance(count := answer.result(), bytes | int):
                told(int(count))

        self._trips.send("GET", tool_calls_key(tenant_id, ref)).add_done_callback(heard)

    async def of(self, tenant_id: TenantId, ref: InvocationId | JobId) -> int:
        """Return the count so far; 0 where Redis does not answer."""
        try:
            answer = await self._trips.send("GET", tool_calls_key(tenant_id, ref))
        except RedisAwayError:
            return 0
        return int(answer) if isinstance(answer, bytes | int) else 0
