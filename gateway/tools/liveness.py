"""Whether what a tool token was made for still runs: a token outlives its five minutes never, its invocation neither.

Known at once where this process serves it; else its record is read, and believed for a second. A record may come
some moments after its invocation began: what is not there yet is looked for again before it is taken to be over.
"""

from collections import OrderedDict
from typing import Final

from gateway.errors import ToolTokenEndedError
from gateway.live import LiveInvocations
from gateway.tooltokens import ToolClaims
from tenancy.clock import Clock
from tenancy.data_models import InvocationRecord, JobRecord
from tenancy.ids import InvocationId, TenantId
from tenancy.store import TenantStores

BELIEVED_S: Final = 1.0
LOOKS_S: Final = (0.05, 0.15, 0.4)
_KEPT: Final = 10_000


class Liveness:
    """Looks; one for a process."""

    def __init__(self, stores: TenantStores, live: LiveInvocations, *, clock: Clock) -> None:
        self._stores = stores
        self._live = live
        self._clock = clock
        self._seen: OrderedDict[tuple[TenantId, str], float] = OrderedDict()

    async def require(self, claims: ToolClaims) -> None:
        """Raise ToolTokenEndedError unless the invocation or job runs; StoreUnavailableError where nobody knows."""
        key = (claims.tenant, claims.invocation)
        if self._live.serves(claims.tenant, InvocationId(claims.invocation)):
            return
        if self._clock.monotonic() < self._seen.get(key, float("-inf")):
            return
        if not await self._runs(claims):
            raise ToolTokenEndedError
        self._seen[key] = self._clock.monotonic() + BELIEVED_S
        self._seen.move_to_end(key)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)

    async def _runs(self, claims: ToolClaims) -> bool:
        record = await self._record(claims)
        for pause_s in LOOKS_S:
            if record is not None:
                break
            await self._clock.sleep(pause_s)
            record = await self._record(claims)
        return record is not None and not record.status.terminal

    async def _record(self, claims: ToolClaims) -> InvocationRecord | JobRecord | None:
        door = self._stores.db(claims.tenant)
        if claims.invocation.startswith("job_"):
            return await door.get(JobRecord, JobRecord.key_of(claims.tenant, claims.invocation), consistent=True)
        key = InvocationRecord.key_of(claims.tenant, claims.invocation)
        return await door.get(InvocationRecord, key, consistent=True)
