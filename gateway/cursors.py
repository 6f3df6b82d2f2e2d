"""Opaque cursors: where a tenant's list goes on. One made for another tenant, or made up, is not acceptable."""

import base64
import binascii

import orjson
from aiohttp import web

from gateway.errors import FieldFault, FieldsInvalidError
from tenancy.ids import TenantId

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_CURSOR_MAX = 512


def encode(tenant_id: TenantId, after: str | None) -> str | None:
    """Return the cursor behind `after`, a sort key; None where the list has ended."""
    if after is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps([tenant_id, after])).decode().rstrip("=")


def decode(tenant_id: TenantId, cursor: str | None, prefix: str) -> str | None:
    """Return the sort key to go on behind, one that begins with `prefix`; raises FieldsInvalidError."""
    if cursor is None:
        return None
    try:
        padded = cursor[:_CURSOR_MAX] + "=" * (-len(cursor) % 4)
        match orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True)):
            case [str(owner), str(after)] if owner == tenant_id and after.startswith(prefix):
                return after
    except (binascii.Error, ValueError):
        pass
    raise FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")])


def limit_of(request: web.Request) -> int:
    """Return the `limit` parameter; raises FieldsInvalidError."""
    text = request.query.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LIMIT_MAX)) and 1 <= int(text) <= LIMIT_MAX):
        raise FieldsInvalidError([FieldFault("limit", f"must be a whole number from 1 to {LIMIT_MAX}")])
    return int(text)
