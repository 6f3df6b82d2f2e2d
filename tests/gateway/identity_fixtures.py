"""An Authenticator on a real authority, with bindings the test writes; `Identity` is what tests of identity ask for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Never

import aiohttp
from redis.asyncio import Redis

from gateway.apikeys import ApiKeys
from gateway.identity import Authenticator
from gateway.keyset import KeySet
from gateway.tokens import TokenRules
from tenancy.api_keys import KeyUses
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import IdentityBinding
from tenancy.ids import TenantId
from tests.clock import FakeClock
from tests.gateway.signing import AUDIENCE, CLIENT, DIRECTORY, Authority, Forge, running_authority


class Bindings:
    """Bindings by key, as the platform door would find them; `reads` counts."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str, str], IdentityBinding] = {}
        self.reads = 0

    async def find(self, issuer: str, directory: str, client_id: str) -> IdentityBinding | None:
        """Return the binding, or None."""
        self.reads += 1
        return self.records.get((issuer, directory, client_id))


@dataclass
class Identity:
    """Everything a test of identity moves."""

    authority: Authority
    bindings: Bindings
    changes: ChangeFeed
    keys: KeySet
    authenticator: Authenticator
    clock: FakeClock

    @property
    def forge(self) -> Forge:
        """Makes tokens as of now."""
        return Forge(self.authority.url, self.clock.now())

    def bind(self, tenant: str | None, directory: str = DIRECTORY, client: str = CLIENT) -> None:
        """Bind a directory's application to a tenant, or to the platform."""
        issuer = f"{self.authority.url}/{directory}/v2.0"
        self.bindings.records[issuer, directory, client] = IdentityBinding(
            issuer=issuer,
            directory=directory,
            client_id=client,
            tenant_id=None if tenant is None else TenantId(tenant),
            created_at=self.clock.now(),
        )

    def unbind(self) -> None:
        """Remove every binding."""
        self.bindings.records.clear()

    async def authenticate(self, token: str) -> Principal:
        """Authenticate a bearer of this token."""
        return await self.authenticator.authenticate(f"Bearer {token}")


def no_api_keys(changes: ChangeFeed, clock: Clock) -> ApiKeys:
    """Return what knows no API key."""

    async def find(_: str) -> None:
        return None

    def door(tenant_id: TenantId) -> Never:
        raise AssertionError(tenant_id)

    return ApiKeys(find, KeyUses(door, clock), changes, clock=clock)


@asynccontextmanager
async def running_identity(clock: FakeClock) -> AsyncIterator[Identity]:
    """Serve an authority and build an Authenticator on it, the usual directory bound to `acme`."""
    async with running_authority() as authority, aiohttp.ClientSession() as http, Redis() as never_connected:
        keys = KeySet(http, authority=authority.url, directory="common", clock=clock)
        bindings, changes = Bindings(), ChangeFeed(never_connected, clock=clock)
        rules = TokenRules(authority.url, AUDIENCE)
        api_keys = no_api_keys(changes, clock)
        authenticator = Authenticator(keys, rules, bindings.find, changes, api_keys=api_keys, clock=clock)
        identity = Identity(authority, bindings, changes, keys, authenticator, clock)
        identity.bind("acme")
        yield identity
        await authenticator.aclose()
