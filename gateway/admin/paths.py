"""What the paths and queries of the Admin API name: tenants, and where lists that span all of them go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from aiohttp import web

from gateway.cursors import decode, encode
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import LINE_PATTERN
from gateway.operations import CURSOR, Parameter
from tenancy.chain import PLATFORM
from tenancy.data_models import Tenant, trail_key
from tenancy.errors import InvalidIdError, TenantUnknownError
from tenancy.ids import TenantId, parse_tenant_id
from tenancy.registry import TenantRegistry

# No tenant can be called so: a cursor of the list of all is of no tenant's list.
_NOBODY: Final = PLATFORM

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
PLATFORM_CURSOR: Final = replace(TENANTS_CURSOR, example=encode(_NOBODY, "2025-06-01T12:00:00.000+00:00#globex#LINK#1"))


REASON: Final = Parameter(
    "reason",
    "query",
    "Why, for the audit trail.",
    {"type": "string", "pattern": LINE_PATTERN, "minLength": 1, "maxLength": 500},
    "contract ended",
    required=True,
)


def tenant_of(request: web.Request) -> TenantId:
    """Return the tenant the path names; raises InvalidIdError."""
    return parse_tenant_id(request.match_info["tenant"])


async def tenant_in(request: web.Request, registry: TenantRegistry) -> Tenant:
    """Return the tenant the path names as it stands in the store; raises NotFoundError, InvalidIdError."""
    with known():
        return await registry.read(tenant_of(request))


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


def chain_of(request: web.Request) -> TenantId | None:
    """Return the tenant or the platform that the query names; raises FieldsInvalidError."""
    named = request.query.get("tenant")
    if named is None:
        return None
    try:
        return PLATFORM if named == PLATFORM else parse_tenant_id(named)
    except InvalidIdError:
        raise FieldsInvalidError([FieldFault("tenant", "must be a tenant's id, or `platform`")]) from None


def place_after(place: str) -> str | None:
    """Return the cursor behind a place of the trail."""
    return encode(_NOBODY, place)


def place_before(cursor: str | None) -> str | None:
    """Return the place of the trail to go on behind; raises FieldsInvalidError."""
    place = decode(_NOBODY, cursor, "")
    if place is not None:
        try:
            trail_key(place)
        except InvalidIdError:
            raise FieldsInvalidError([FieldFault("cursor", "is not a cursor of this list")]) from None
    return place
