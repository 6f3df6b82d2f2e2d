"""Who calls with an API key: the tenant that the key was made for, with the roles it was given.

A key seen before costs a hash and one look-up in memory. A key that was revoked opens nothing within 2 s on every
process: word of it drops the copy, and without word a copy is looked up anew after 1.5 s.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from gateway.errors import ApiKeyExpiredError, ApiKeyUnknownError
from tenancy.api_keys import KeyUses, hash_of, well_formed
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import TENANT_ROLES, Principal
from tenancy.data_models import KeyHash
from tenancy.snapshots import Snapshots

KIND: Final = "api-key"
KEYS: Final = 10_000
FRESH_S: Final = 30.0
# How long a key that may have been revoked holds while neither word of changes nor the store comes through.
STALE_S: Final = 60.0
# What a principal with a key is called as an application.
CLIENT: Final = "api-key"

FindKeyHash: TypeAlias = Callable[[str], Awaitable[KeyHash | None]]


class ApiKeys:
    """Turns an API key into a Principal; `find` is the platform door's verb."""

    def __init__(self, find: FindKeyHash, uses: KeyUses, changes: ChangeFeed, *, clock: Clock) -> None:
        self.uses = uses
        self._now = clock.now
        self.copies: Snapshots[str, KeyHash] = Snapshots(
            find, clock=clock, fresh_s=FRESH_S, stale_s=STALE_S, size=KEYS, sighted=lambda: changes.current
        )
        changes.on(KIND, self.copies.invalidate)
        changes.on_gap(self.copies.clear)

    async def principal(self, key: str) -> Principal:
        """Return the caller; raises ApiKeyUnknownError, ApiKeyExpiredError, StoreUnavailableError."""
        if not well_formed(key):
            raise ApiKeyUnknownError
        sha256 = hash_of(key)
        found = self.copies.peek(sha256) or await self.copies.get(sha256)
        if found is None or not hmac.compare_digest(found.sha256, sha256):
            raise ApiKeyUnknownError
        if found.expires_at is not None and self._now() >= found.expires_at:
            raise ApiKeyExpiredError
        self.uses.note(found.tenant_id, found.key_id)
        # What is stored is not trusted to say more than a tenant may be given.
        roles = frozenset(role for role in TENANT_ROLES if role in found.roles)
        return Principal(found.key_id, CLIENT, roles, found.tenant_id)

    async def aclose(self) -> None:
        """End the reads under way."""
        await self.copies.aclose()
