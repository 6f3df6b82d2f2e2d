"""Runtime sessions bound to a tenant.

AgentCore does not check who owns a session id: this does. A session is made for one tenant and one agent, its id
cannot be guessed, and one that is another tenant's, expired or made up is simply unknown. It stays on the agent
version it began with.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from cachetools import LRUCache

from agents.errors import SessionUnknownError
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, SessionRecord
from tenancy.errors import InvalidIdError
from tenancy.ids import SessionId, TenantId, new_session_id, parse_session_id
from tenancy.store import TenantStores

KEPT: Final = timedelta(hours=24)
_REMEMBERED: Final = 20_000


class Records(Protocol):
    """Takes records to be stored soon, and knows those not stored yet."""

    def put(self, item: SessionRecord) -> object:
        """Store the record with the next batch."""
        ...

    def pending(self, model: type[SessionRecord], tenant_id: TenantId, record_id: str) -> SessionRecord | None:
        """Return a record that is not stored yet."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A session this tenant may use; `fresh` until its first turn ends."""

    id: SessionId
    agent_version: str
    fresh: bool


class Sessions:
    """Opens sessions for tenants."""

    def __init__(self, stores: TenantStores, records: Records, clock: Clock) -> None:
        self._stores = stores
        self._records = records
        self._clock = clock
        self._known: LRUCache[tuple[TenantId, SessionId], SessionRecord] = LRUCache(_REMEMBERED)

    async def open(self, tenant_id: TenantId, agent: AgentVersion, session_id: str | None) -> Session:
        """Return the tenant's session, or a new one where `session_id` is None.

        Raises SessionUnknownError, whatever the reason.
        """
        if session_id is None:
            return self._create(tenant_id, agent)
        try:
            parsed = parse_session_id(session_id)
        except InvalidIdError:
            raise SessionUnknownError from None
        record = await self._find(tenant_id, parsed)
        now = self._clock.now()
        if record is None or record.agent != agent.name or record.ttl <= now.timestamp():
            raise SessionUnknownError
        used = record.changed({"last_used_at": now, "ttl": int((now + KEPT).timestamp())})
        self._remember(used)
        return Session(used.session_id, used.agent_version, fresh=False)

    def _create(self, tenant_id: TenantId, agent: AgentVersion) -> Session:
        now = self._clock.now()
        record = SessionRecord.made(
            tenant_id=tenant_id,
            session_id=new_session_id(),
            agent=agent.name,
            agent_version=agent.version,
            created_at=now,
            last_used_at=now,
            ttl=int((now + KEPT).timestamp()),
        )
        self._remember(record)
        return Session(record.session_id, record.agent_version, fresh=True)

    async def _find(self, tenant_id: TenantId, session_id: SessionId) -> SessionRecord | None:
        known = self._known.get((tenant_id, session_id))
        if known is not None:
            return known
        pending = self._records.pending(SessionRecord, tenant_id, session_id)
        if pending is not None:
            return pending
        key = SessionRecord.key_of(tenant_id, session_id)
        return await self._stores.db(tenant_id).get(SessionRecord, key, consistent=True)

    def _remember(self, record: SessionRecord) -> None:
        self._known[record.tenant_id, record.session_id] = record
        self._records.put(record)
