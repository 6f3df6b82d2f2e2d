"""Has every seeded tenant's events sent to the local receiver, over the public API as a tenant would.

Runs at every start, and whenever a part it needs comes back. It undoes nothing: a webhook that was paused stays so.
A part that is away, or a tenant that is not served, is left for the next time.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from ops.devstack.dev_files import DevTenant
from ops.devstack.layout import Layout
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError
from tenancy.ids import TenantId

STEP: Final = "webhooks"
_TIMEOUT: Final = ClientTimeout(total=10)
# What a tenant that is suspended, or a gateway whose store is away, answers.
_LATER: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})

M = TypeVar("M", bound=BaseModel)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Webhook(_Reply):
    id: str
    url: str
    secret: str | None = None


class _Webhooks(_Reply):
    items: tuple[_Webhook, ...]


class _Names(_Reply):
    names: tuple[str, ...]


class _LaterError(Exception):
    """Not now: what is needed is away, or refuses."""


class _UnexpectedError(Exception):
    """An answer that nothing explains."""


class Hooks:
    """Registers one stack's webhooks."""

    def __init__(self, layout: Layout, ports: Ports) -> None:
        self._layout: Final = layout
        self._api: Final = ports.url("gateway") + "/v1/webhooks"
        self._receiver: Final = ports.url("receiver")

    async def register(self, tenants: Mapping[TenantId, DevTenant]) -> None:
        """Register what is missing; raises PartFailedError."""
        try:
            await asyncio.gather(*(self._tenant(name, tenant.token) for name, tenant in tenants.items()))
        except (_UnexpectedError, ValidationError) as error:
            log = self._layout.log(STEP)
            log.write_text(f"{error}\n")
            raise PartFailedError(STEP, log, "look at gateway.log and receiver.log beside it") from error

    async def _tenant(self, name: TenantId, token: str) -> None:
        try:
            async with (
                ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT) as api,
                ClientSession(timeout=_TIMEOUT) as receiver,
            ):
                secret = await self._secret(api, receiver, name)
                if secret is not None:
                    await _call(receiver, "PUT", f"{self._receiver}/secrets/{name}", {"secret": secret})
        except (ClientError, TimeoutError, _LaterError):
            return

    async def _secret(self, api: ClientSession, receiver: ClientSession, name: TenantId) -> str | None:
        """Have the tenant's webhook lead to the receiver; return its secret where the receiver has to be told."""
        known = _read(_Names, await _call(receiver, "GET", f"{self._receiver}/secrets")).names
        listed = _read(_Webhooks, await _call(api, "GET", f"{self._api}?limit=100")).items
        url = f"{self._receiver}/hooks/{name}"
        # By its path: the ports may have been others at the last start.
        found = next((hook for hook in listed if hook.url.endswith(f"/hooks/{name}")), None)
        if found is None:
            made = {"url": url, "description": "the local receiver"}
            return _read(_Webhook, await _call(api, "POST", self._api, made)).secret
        if found.url != url:
            await _call(api, "PATCH", f"{self._api}/{found.id}", {"url": url})
        if name in known:
            return None
        return _read(_Webhook, await _call(api, "POST", f"{self._api}/{found.id}/rotate-secret", {})).secret


async def _call(session: ClientSession, method: str, url: str, body: Mapping[str, JsonValue] | None = None) -> bytes:
    async with session.request(method, url, json=body) as answer:
        if answer.status in _LATER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _LaterError
        said = await answer.read()
        if not answer.ok:
            raise _UnexpectedError(f"{method} {url}: HTTP {answer.status} {said.decode(errors='replace')}")
        return said


def _read(model: type[M], body: bytes) -> M:
    return model.model_validate_json(body)
