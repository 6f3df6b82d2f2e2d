"""API keys as operators make, rotate and revoke them for tenants: a secret is shown once and in force at once.

What a key is looked up by changes in the same transaction as the key and the event that tells of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import JsonValue

from gateway.admin.api_key_schemas import (
    KEY_PATTERN,
    KeysView,
    KeyView,
    NewKeyRequest,
    NewKeyView,
    RotationRequest,
)
from gateway.admin.paths import TENANT, tenant_in, tenant_of
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.apikeys import KIND
from gateway.cursors import LIMIT_MAX, decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read_body
from gateway.operations import CURSOR, IDEMPOTENCY_KEY, LIMIT, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from tenancy.api_keys import BEGINNING, made, revoked, rotated
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import ApiKey, KeySecret
from tenancy.errors import ApiKeyChangedError, ApiKeyRevokedError, ConditionFailedError
from tenancy.ids import KeyId, TenantId, parse_key_id
from tenancy.platform_acts import PlatformActs
from tenancy.registry import TenantRegistry
from tenancy.store import TenantStores

_NOW: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_SECRET: Final = BEGINNING + "4t8kq2zn" + "0123456789abcdefghjkmnpqrstvwxyz" + "0123456789abcdefghjk"
_KEY: Final = ApiKey(
    tenant_id=TenantId("globex"),
    key_id=KeyId("key_01jd3k5m7p9q1r3s5t7v9w1x3y"),
    label="nightly import",
    roles=frozenset({"Agent.Invoke"}),
    secrets=(KeySecret(sha256="", prefix=_SECRET[:16]),),
    created_at=_NOW,
    updated_at=_NOW,
)
_MADE: Final = NewKeyView.showing(_KEY, _SECRET, _NOW)
_REVOKED: Final = KeyView.of(revoked(_KEY, _NOW), _NOW)
_PATH: Final = "/v1/admin/tenants/{tenant}/api-keys"
_TAG: Final = "API keys"
_THE_KEY: Final = Parameter(
    "key",
    "path",
    "An API key's id.",
    {"type": "string", "pattern": KEY_PATTERN, "minLength": 30, "maxLength": 30},
    _KEY.key_id,
)
_PREFIX: Final = Parameter(
    "prefix",
    "query",
    "How a secret begins, up to its first 16 characters: only keys that have such a one, all on one page.",
    {"type": "string", "pattern": "^lg_live_[0-9a-hjkmnp-tv-z]{0,8}$", "minLength": 8, "maxLength": 16},
    _SECRET[:16],
)
LIST: Final = Operation(
    "GET",
    _PATH,
    "listApiKeys",
    _TAG,
    "List a tenant's API keys",
    "Every key, revoked ones too, newest first, without their secrets.",
    (answer(200, "A page of keys.", KeysView(items=(KeyView.of(_KEY, _NOW),))),),
    parameters=(TENANT, _PREFIX, LIMIT, CURSOR),
    problems=(NotFoundError(), FieldsInvalidError([FieldFault("prefix", "is not how a key begins")])),
)
CREATE: Final = Operation(
    "POST",
    _PATH,
    "createApiKey",
    _TAG,
    "Make an API key",
    "The key's secret is in this answer and nowhere else. It speaks for the tenant from now on, with these roles.",
    (answer(201, "The new key.", _MADE, headers=("Location",)),),
    parameters=(TENANT, IDEMPOTENCY_KEY),
    body=Content({"import": NewKeyRequest(label="nightly import", reason="contract of May")}),
    problems=(NotFoundError(),),
    shown_once=("key",),
)
GET: Final = Operation(
    "GET",
    _PATH + "/{key}",
    "getApiKey",
    _TAG,
    "Look at an API key",
    "The key as it stands in the store, without its secret.",
    (answer(200, "The key.", KeyView.of(_KEY, _NOW)),),
    parameters=(TENANT, _THE_KEY),
    problems=(NotFoundError(),),
)
ROTATE: Final = Operation(
    "POST",
    _PATH + "/{key}/rotate",
    "rotateApiKey",
    _TAG,
    "Give an API key a new secret",
    "The new secret is in this answer and nowhere else. The former one still works until the overlap is over; "
    "0 seconds end it at once.",
    (answer(200, "The key with its new secret.", _MADE),),
    parameters=(TENANT, _THE_KEY, IDEMPOTENCY_KEY),
    body=Content({"hour": RotationRequest(overlap_seconds=3600, reason="yearly rotation")}),
    problems=(NotFoundError(), ApiKeyRevokedError(), ApiKeyChangedError()),
    shown_once=("key",),
)
REVOKE: Final = Operation(
    "POST",
    _PATH + "/{key}/revoke",
    "revokeApiKey",
    _TAG,
    "Revoke an API key",
    "All its secrets are refused with 401 `api_key_unknown` from now on, on every process. Revoking a revoked key "
    "changes nothing.",
    (answer(200, "The revoked key.", _REVOKED),),
    parameters=(TENANT, _THE_KEY, IDEMPOTENCY_KEY),
    body=Content({"leak": ReasonRequest(reason="found in a public repository")}),
    problems=(NotFoundError(), ApiKeyChangedError()),
)


@dataclass(frozen=True, slots=True)
class ApiKeyAdmin:
    """`/v1/admin/tenants/{tenant}/api-keys`."""

    registry: TenantRegistry
    stores: TenantStores
    acts: PlatformActs
    changes: ChangeFeed
    trail: AdminTrail
    clock: Clock

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of a tenant's keys."""
        tenant_id, prefix = (await tenant_in(request, self.registry)).tenant_id, request.query.get("prefix")
        if prefix is not None:
            return self._listed(await self._with_prefix(tenant_id, prefix), None)
        after = decode(tenant_id, request.query.get("cursor"), ApiKey.SORT_PREFIX)
        found, more = await self._page(tenant_id, limit_of(request), after)
        return self._listed(found, encode(tenant_id, more))

    async def get(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with one key."""
        return self._shown(await self._key(request))

    async def create(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Make a key."""
        asked = await read_body(NewKeyRequest, request)
        tenant_id = (await tenant_in(request, self.registry)).tenant_id
        new, secret = made(tenant_id, asked.label, asked.roles, self.clock.now())
        await self._store(Act.of(request, actor, "api_key.create", asked.reason), new, seen=None)
        view = NewKeyView.showing(new, secret, self.clock.now())
        location = f"/v1/admin/tenants/{tenant_id}/api-keys/{new.key_id}"
        return json_answer(view.to_json(), status=201, headers={"Location": location})

    async def rotate(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Give a key a new secret."""
        asked = await read_body(RotationRequest, request)
        key, now = await self._key(request), self.clock.now()
        if key.revoked_at is not None:
            raise ApiKeyRevokedError
        new, secret = rotated(key, timedelta(seconds=asked.overlap_seconds), now)
        await self._store(Act.of(request, actor, "api_key.rotate", asked.reason), new, seen=key)
        return json_answer(NewKeyView.showing(new, secret, now).to_json())

    async def revoke(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Have a key open nothing."""
        asked = await read_body(ReasonRequest, request)
        key = await self._key(request)
        if key.revoked_at is None:
            seen, key = key, revoked(key, self.clock.now())
            await self._store(Act.of(request, actor, "api_key.revoke", asked.reason), key, seen=seen)
        else:
            # Word of it may have been lost with the process that revoked it.
            await self._announce(key)
        return self._shown(key)

    async def _store(self, act: Act, key: ApiKey, *, seen: ApiKey | None) -> None:
        before = None if seen is None else _told(seen)
        commit = partial(self.acts.store_api_key, key, seen=seen)
        try:
            await self.trail.tell(act, key.tenant_id, commit, target=key.key_id, before=before, after=_told(key))
        except ConditionFailedError:
            raise ApiKeyChangedError from None
        await self._announce(seen or key)

    async def _announce(self, key: ApiKey) -> None:
        for secret in key.secrets:
            await self.changes.publish(KIND, secret.sha256)

    async def _key(self, request: web.Request) -> ApiKey:
        tenant_id, key_id = tenant_of(request), parse_key_id(request.match_info["key"])
        key = await self.stores.db(tenant_id).get(ApiKey, ApiKey.key_of(tenant_id, key_id), consistent=True)
        if key is None:
            raise NotFoundError
        return key

    async def _page(self, tenant_id: TenantId, limit: int, after: str | None) -> tuple[Sequence[ApiKey], str | None]:
        partition = ApiKey.key_of(tenant_id, "").partition
        page = await self.stores.db(tenant_id).query(
            ApiKey, partition, sort_prefix=ApiKey.SORT_PREFIX, limit=limit, after=after
        )
        return page.items, page.after

    async def _with_prefix(self, tenant_id: TenantId, prefix: str) -> Sequence[ApiKey]:
        if not prefix.startswith(BEGINNING):
            raise FieldsInvalidError([FieldFault("prefix", "is not how a key begins")])
        found: tuple[ApiKey, ...] = ()
        after: str | None = None
        while True:
            keys, after = await self._page(tenant_id, LIMIT_MAX, after)
            found += tuple(key for key in keys if any(one.prefix.startswith(prefix) for one in key.secrets))
            if after is None or len(found) >= LIMIT_MAX:
                return found[:LIMIT_MAX]

    def _listed(self, keys: Sequence[ApiKey], cursor: str | None) -> web.Response:
        now = self.clock.now()
        return json_answer(KeysView(items=tuple(KeyView.of(key, now) for key in keys), next_cursor=cursor).to_json())

    def _shown(self, key: ApiKey) -> web.Response:
        return json_answer(KeyView.of(key, self.clock.now()).to_json())


def _told(key: ApiKey) -> dict[str, JsonValue]:
    """Return what the audit log says of a key: never a secret, nor what it is looked up by."""
    return {
        "label": key.label,
        "roles": [*sorted(key.roles)],
        "prefix": key.secrets[0].prefix,
        "retiring": [one.prefix for one in key.secrets[1:]],
        "revoked": key.revoked_at is not None,
    }
