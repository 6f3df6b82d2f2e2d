"""API keys: made, rotated with an overlap and revoked, pure; and when each was last used.

A key's secret is 260 random bits, so its SHA-256 is all that has to be stored: nobody finds a text for a hash by
trying, which is what slow hashes (bcrypt, Argon2) are for where people choose the text. And it can be looked up by that
hash, whose beginning a caller cannot choose: how long a look-up takes tells nothing of any key.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from tenancy.clock import Clock
from tenancy.data_models import ApiKey, KeySecret
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.ids import KeyId, TenantId, new_key_id
from tenancy.store import TenantScopedDynamoDB

BEGINNING: Final = "lg_live_"
# What may be shown of a key, and what it is searched by.
SHOWN: Final = len(BEGINNING) + 8
OVERLAP_MAX: Final = timedelta(days=7)
# A key that is rotated again while its former secrets still hold keeps the newest of those.
SECRETS_MAX: Final = 3

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS: Final = 8 + 52
_FORM: Final = re.compile(rf"{BEGINNING}[{_ALPHABET}]{{{_DIGITS}}}", re.ASCII)
# How often uses are written, and how old what is written may be for a key in use.
WRITE_S: Final = 60.0
COARSE: Final = timedelta(hours=1)

_log = structlog.get_logger("tenancy.api_keys")


class Made(NamedTuple):
    """A key as it is stored, and its newest secret, which nobody is told again."""

    key: ApiKey
    secret: str


def is_key(token: str) -> bool:
    """Tell whether a bearer token means to be an API key."""
    return token.startswith(BEGINNING)


def well_formed(token: str) -> bool:
    """Tell whether a token could be a key."""
    return _FORM.fullmatch(token) is not None


def hash_of(token: str) -> str:
    """Return what a key is looked up by."""
    return hashlib.sha256(token.encode()).hexdigest()


def made(tenant_id: TenantId, label: str, roles: Iterable[str], now: datetime) -> Made:
    """Make a key."""
    secret = _secret()
    key = ApiKey(
        tenant_id=tenant_id,
        key_id=new_key_id(now),
        label=label,
        roles=frozenset(roles),
        secrets=(_stored(secret),),
        created_at=now,
        updated_at=now,
    )
    return Made(key, secret)


def rotated(key: ApiKey, overlap: timedelta, now: datetime) -> Made:
    """Give a key a new secret; those it had go on to open the door for `overlap`, none for longer than it was to."""
    secret, until = _secret(), now + overlap
    ends = ((one, min(one.until_at or until, until)) for one in key.secrets)
    former = [one.model_copy(update={"until_at": end}) for one, end in ends if end > now]
    kept = former[: SECRETS_MAX - 1]
    changed = {"secrets": (_stored(secret), *kept), "version": key.version + 1, "updated_at": now}
    return Made(key.model_copy(update=changed), secret)


def revoked(key: ApiKey, now: datetime) -> ApiKey:
    """Return the key as one that opens nothing."""
    return key.model_copy(update={"revoked_at": now, "updated_at": now, "version": key.version + 1})


class KeyUses:
    """Remembers which keys were used, and writes that now and then; a use that is not written is only not told."""

    def __init__(self, door: Callable[[TenantId], TenantScopedDynamoDB], clock: Clock) -> None:
        self._door = door
        self._clock = clock
        self._used: dict[tuple[TenantId, KeyId], datetime] = {}
        self._written: dict[tuple[TenantId, KeyId], datetime] = {}

    def note(self, tenant_id: TenantId, key_id: KeyId) -> None:
        """Remember a use."""
        self._used[tenant_id, key_id] = self._clock.now()

    async def write(self) -> None:
        """Write what was used since, for keys of which nothing as new is written."""
        used, self._used = self._used, {}
        horizon = self._clock.now() - COARSE
        self._written = {key: at for key, at in self._written.items() if at > horizon}
        for (tenant_id, key_id), at in used.items():
            if (tenant_id, key_id) in self._written:
                continue
            try:
                await self._door(tenant_id).update(
                    ApiKey, ApiKey.key_of(tenant_id, key_id), {"last_used_at": at.isoformat()}
                )
            except (ConditionFailedError, StoreUnavailableError) as error:
                _log.warning("key use not written", tenant=tenant_id, key=key_id, error=type(error).__name__)
            else:
                self._written[tenant_id, key_id] = at

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        while True:
            await self._clock.sleep(WRITE_S)
            await self.write()


def _secret() -> str:
    return BEGINNING + "".join(secrets.choice(_ALPHABET) for _ in range(_DIGITS))


def _stored(secret: str) -> KeySecret:
    return KeySecret(sha256=hash_of(secret), prefix=secret[:SHOWN])
