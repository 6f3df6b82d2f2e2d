"""Looking at what operators did and at what was refused, of all tenants, and taking the audit log away to verify it."""

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import orjson
from aiohttp import web
from pydantic import JsonValue

from gateway.admin.audit_schemas import AuditsView, AuditView, SecurityEventsView, SecurityEventView
from gateway.admin.paths import PLATFORM_CURSOR, chain_of, place_after, place_before
from gateway.cursors import limit_of
from gateway.errors import FieldFault, FieldsInvalidError
from gateway.operations import LIMIT, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from tenancy import tables
from tenancy.chain import BEGINNING, PLATFORM, AuditChain, digest, head_line, told, unreadable_line
from tenancy.context import Principal
from tenancy.data_models import AuditedChange, AuditEvent, AuditHead, AuditLink
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore

NDJSON: Final = "application/x-ndjson"
# How many events a request looks through at most, and in pages of how many.
_LOOKED_AT: Final = 2_000
_PAGE: Final = 250
_LINKS: Final = 100

E = TypeVar("E", bound=AuditEvent)

_AT: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
_EXAMPLE: Final = AuditLink(
    tenant_id=TenantId("globex"),
    audit_id="aud_01jd3k5m7p9q1r3s5t7v9w1x3y",
    actor="6f1d2c3b-0000-4000-8000-00000000000a",
    operation="tenant.suspend",
    outcome="allowed",
    reason="invoice overdue",
    request_id="req_01jd3k5m7p9q1r3s5t7v9w1x3y",
    changes=(AuditedChange(field="status", before='"active"', after='"suspended"'),),
    at=_AT,
    seq=1,
    previous=BEGINNING,
    sha256="",
)
_LINK: Final = _EXAMPLE.model_copy(update={"sha256": digest(told(_EXAMPLE))})
_REFUSED: Final = AuditEvent(
    tenant_id=TenantId("globex"),
    audit_id="aud_01jd3k5m7p9q1r3s5t7v9w1x3y",
    actor="lockgate.door",
    operation="GetItem",
    outcome="refused",
    reason="the key is not the tenant's",
    target="lockgate-jobs",
    at=_AT,
)
_MOMENT: Final[dict[str, JsonValue]] = {"type": "string", "format": "date-time", "minLength": 20, "maxLength": 40}
_NAME: Final[dict[str, JsonValue]] = {"type": "string", "format": "text", "minLength": 1, "maxLength": 256}
WHOSE: Final = Parameter(
    "tenant",
    "query",
    "To whom it was done: a tenant's id, or `platform`.",
    {"type": "string", "pattern": "^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$", "minLength": 3, "maxLength": 32},
    "globex",
)
ACTOR: Final = Parameter("actor", "query", "Who did it: the subject of its credentials.", _NAME, str(_LINK.actor))
OPERATION: Final = Parameter("operation", "query", "What was done.", _NAME, "tenant.suspend")
FROM: Final = Parameter("from", "query", "The first moment.", _MOMENT, "2025-06-01T00:00:00Z")
TO: Final = Parameter("to", "query", "The first moment that is not of it.", _MOMENT, "2025-07-01T00:00:00Z")
_WRONG: Final = FieldsInvalidError([FieldFault("from", "must be a time, as 2025-06-01T12:00:00Z")])
_TAG: Final = "Audit"
LIST: Final = Operation(
    "GET",
    "/v1/admin/audit",
    "listAudit",
    _TAG,
    "List what operators did",
    "Acts on all tenants and on the platform, newest first. One of this very moment may not be listed yet. Where few "
    "of very many match, a page may be short or empty and still have a `nextCursor`.",
    (answer(200, "A page of acts.", AuditsView(items=(AuditView.model_validate(told(_LINK)),))),),
    parameters=(WHOSE, ACTOR, OPERATION, FROM, TO, LIMIT, PLATFORM_CURSOR),
    problems=(_WRONG,),
)
EXPORT: Final = Operation(
    "GET",
    "/v1/admin/audit/export",
    "exportAudit",
    _TAG,
    "Export the audit log",
    "Chain by chain, each from its first event: one JSON object a line, then one line with the chain's head, "
    '`{"chain": …, "head": {"seq": …, "sha256": …}}`. An event\'s `sha256` is the SHA-256 of its other members as '
    "JSON in UTF-8, sorted by name, without spaces; `previous` is that of the event before it, 64 zeros for the "
    "first. `lockgate audit verify` recomputes them. Where something is stored that cannot be read as an event, the "
    'chain has a line `{"chain": …, "unreadable": true}` in its place.',
    (
        Answer(
            200,
            "The chains.",
            (
                Content(
                    {"ndjson": orjson.dumps(told(_LINK)).decode() + "\n"},
                    {"type": "string", "format": "text", "maxLength": 1_000_000_000},
                    NDJSON,
                ),
            ),
        ),
    ),
    parameters=(WHOSE,),
    problems=(_WRONG,),
)
SECURITY: Final = Operation(
    "GET",
    "/v1/admin/security-events",
    "listSecurityEvents",
    _TAG,
    "List what was refused",
    "Attempts to reach another tenant's data, tokens and keys that were refused (counted, one event for all of a "
    "few seconds), roles that were missing: of all tenants, newest first.",
    (
        answer(
            200,
            "A page of security events.",
            SecurityEventsView(items=(SecurityEventView.model_validate(told(_REFUSED)),)),
        ),
    ),
    parameters=(WHOSE, ACTOR, OPERATION, FROM, TO, LIMIT, PLATFORM_CURSOR),
    problems=(_WRONG,),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events are asked for."""

    tenant: TenantId | None
    actor: str | None
    operation: str | None
    first_at: datetime | None
    end_at: datetime | None

    @classmethod
    def of(cls, request: web.Request) -> "_Wanted":
        """Read the query; raises FieldsInvalidError."""
        said = request.query
        moments = (_moment_of(request, name) for name in ("from", "to"))
        return cls(chain_of(request), said.get("actor"), said.get("operation"), *moments)

    def holds(self, event: AuditEvent) -> bool:
        """Tell whether an event, which is not too young, is asked for."""
        asked = ((self.tenant, event.tenant_id), (self.actor, event.actor), (self.operation, event.operation))
        return all(wanted in (None, found) for wanted, found in asked)

    @property
    def start(self) -> str | None:
        """Where in the trail, which goes back in time, the first of them may stand."""
        # `-` comes before what any tenant's id begins with: what happened at that moment stands before it.
        return None if self.end_at is None else f"{self.end_at.isoformat(timespec='milliseconds')}#-#-"


@dataclass(frozen=True, slots=True)
class AuditAdmin:
    """`/v1/admin/audit` and `/v1/admin/security-events`."""

    platform: PlatformStore
    chain: AuditChain

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of operators' acts."""
        return await self._page(request, tables.ACTS, AuditLink)

    async def security(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with a page of what was refused."""
        return await self._page(request, tables.REFUSALS, AuditEvent)

    async def export(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with every event of every chain, or of one."""
        named = chain_of(request)
        chains = await self._chains() if named is None else (named,)
        headers = {"Cache-Control": "no-store", "Content-Type": NDJSON}
        headers["Content-Disposition"] = 'attachment; filename="lockgate-audit.ndjson"'
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for chain in chains:
            await self._write(response, chain)
        await response.write_eof()
        return response

    async def _chains(self) -> tuple[TenantId, ...]:
        # A chain whose head was taken away is one all the same.
        chains = {PLATFORM, *(head.tenant_id for head in await self.platform.heads())}
        after: TenantId | None = None
        while True:
            page = await self.platform.tenants(limit=_PAGE, after=after)
            chains.update(tenant.tenant_id for tenant in page.items)
            if page.after is None:
                return tuple(sorted(chains))
            after = TenantId(page.after)

    async def _write(self, response: web.StreamResponse, chain: TenantId) -> None:
        head, seq, limit = await self.chain.head(chain), 0, _LINKS
        try:
            end = await self._end(chain, head)
            while seq < end:
                links = await self.chain.links(chain, after=seq, limit=min(limit, end - seq))
                if not links:
                    break
                await response.write(b"".join(orjson.dumps(told(link)) + b"\n" for link in links))
                # Not by the number an event says it has: it may have been touched.
                seq += len(links)
        except (ValueError, TenantAccessViolation):
            await response.write(orjson.dumps(unreadable_line(chain)) + b"\n")
        if head is not None:
            await response.write(orjson.dumps(head_line(chain, head)) + b"\n")

    async def _end(self, chain: TenantId, head: AuditHead | None) -> int:
        """Return the last event to tell of: what is added from here on is the next export's.

        An event is stored together with its head, so one that no head knows was put there, or its head taken.
        """
        end = 0 if head is None else head.seq
        beyond = await self.chain.links(chain, after=end, limit=1)
        later = await self.chain.head(chain) if beyond else head
        known = 0 if later is None else later.seq
        return sys.maxsize if beyond and beyond[0].seq > known else end

    async def _page(self, request: web.Request, kind: str, model: type[E]) -> web.StreamResponse:
        wanted, limit = _Wanted.of(request), limit_of(request)
        found, place = await self._found(wanted, kind, model, limit, place_before(request.query.get("cursor")))
        body: dict[str, JsonValue] = {"items": [told(event) for event in found]}
        if place is not None:
            body["nextCursor"] = place_after(place)
        return json_answer(orjson.dumps(body))

    async def _found(
        self, wanted: _Wanted, kind: str, model: type[E], limit: int, before: str | None
    ) -> tuple[Sequence[E], str | None]:
        """Return what is asked for, and where to go on."""
        found = deque[E]()
        place = before or wanted.start
        for _ in range(_LOOKED_AT // _PAGE):
            page = await self.platform.trail(kind, model, limit=_PAGE, before=place)
            for event in page.items:
                if wanted.first_at is not None and event.at < wanted.first_at:
                    return found, None
                if wanted.holds(event):
                    found.append(event)
                if len(found) == limit:
                    last = event is page.items[-1] and page.after is None
                    return found, None if last else event.index_keys()[tables.TRAIL_INDEX.sort_key]
            if page.after is None:
                return found, None
            place = page.after
        return found, place


def _moment_of(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # The first and the last hours of the calendar are, in some places, none that UTC has.
        known = moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        known = None
    if known is None:
        raise FieldsInvalidError([FieldFault(name, "must be a time, as 2025-06-01T12:00:00Z")])
    return known
