"""What the paths and queries of the Admin API name: tenants, and where the list of all of them goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from aiohttp import web

from gateway.cursors import decode, encode
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.operations import CURSOR, Parameter
from tenancy.errors import InvalidIdError, TenantUnknownError
from tenancy.ids import TenantId, parse_tenant_id

# No tenant can be called so: a cursor of the list of all is of no tenant's list.
_NOBODY: Final = TenantId("platform")

TENANT: Final = Parameter(
    "tenant",
    "path",
    "A tenant's id.",
    {"type": "string", "pattern": "^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$", "minLength": 3, "maxLength": 32},
    "globex",
)
TENANTS_CURSOR: Final = replace(
    CURSOR,
    description="Where the list goes on: the `nextCursor` of the page before. It is opaque.",
    example=encode(_NOBODY, "globex"),
)


def tenant_of(request: web.Request) -> TenantId:
    """Return the tenant the path names; raises InvalidIdError."""
    return parse_tenant_id(request.match_info["tenant"])


@contextmanager
def known() -> Iterator[None]:
    """Answer for a tenant that there is none of with NotFoundError: to an operator it is a resource like others."""
    try:
        yield
    except TenantUnknownError:
        raise NotFoundError from None


def cursor_after(tenant_id: str | None) -> str | None:
    """Return the cursor behind a tenant of the list of all."""
    return encode(_NOBODY, tenant_id)


def tenant_before(cursor: str | None) -> TenantId | None:
    """Return the tenant to go on behind; raises FieldsInvalidError."""
    after = decode(_NOBODY, cursor, "")
    if after is None:
        return None
    try:
        return parse_tenant_id(after)
    except InvalidIdError:
        raise FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]) from None
