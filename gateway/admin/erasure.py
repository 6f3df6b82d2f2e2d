"""Erasing tenants that were deleted: what there is to erase, doing it step by step, and the certificate of it.

An erasure is told on the platform's own audit chain, for the tenant's is erased with the rest: an event `begun` before
anything is removed, and one with the certificate's hash, stored together with the certificate.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from gateway.admin.paths import TENANT, known, tenant_of
from gateway.admin.schemas import Reason
from gateway.admin.trail import Act, AdminTrail
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read_body
from gateway.operations import Content, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import Count, RequestText, TenantText, Timestamp, WireModel, prose, shaped
from tenancy.context import Principal
from tenancy.data_models import ErasedPart, Erasure, TenantStatus
from tenancy.erasure import Eraser, certificate, certified
from tenancy.errors import ConditionFailedError, TenantBusyError, TenantKeptError, TenantStateError, TenantUnknownError
from tenancy.estate import PLACES
from tenancy.ids import TenantId
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore

# One request removes and searches for so long; the next one goes on.
STEP_S: Final = 8.0
_PLACES_MAX: Final = 100
_SHA256: Final = "0123456789abcdef" * 4
ShaText = Annotated[str, shaped("^[0-9a-f]{64}$", 64, _SHA256, "A SHA-256, in hexadecimal.")]
PlaceText = Annotated[str, shaped("^[a-z-]+(?:/[a-z-]+)?$", 64, "jobs", "A table, one of its indexes, or a store.")]


class EraseRequest(WireModel):
    """That a tenant is to be erased."""

    confirm: Annotated[
        str, Field(max_length=64, description="The tenant's id once more.", json_schema_extra={"format": "text"})
    ]
    force: bool = Field(default=False, description="Also before its grace is over.")
    reason: Reason


class PartView(WireModel):
    """How much a tenant has in one place."""

    place: PlaceText
    items: Count


Parts = Annotated[tuple[PartView, ...], Field(json_schema_extra={"maxItems": _PLACES_MAX})]


def _shown(found: tuple[ErasedPart, ...]) -> Parts:
    return tuple(PartView(place=part.place, items=part.items) for part in found)


class PlanView(WireModel):
    """What an erasure would remove, as it stands now; `obstacle` is why it could not begin."""

    tenant: TenantText
    found: Parts
    obstacle: Annotated[str, shaped("^tenant_[a-z]+$", 64, "tenant_kept", "The code it would be refused with.")] | None


class ErasureView(WireModel):
    """How far an erasure is; where it goes on, ask again."""

    tenant: TenantText
    state: Literal["erasing", "erased"]
    began_at: Timestamp
    found: Parts
    searched: Count = Field(description="How many places were searched without finding anything.")
    places: Count = Field(description="How many there are to search.")

    @classmethod
    def of(cls, erasure: Erasure) -> "ErasureView":
        """Show an erasure."""
        return cls(
            tenant=erasure.tenant_id,
            state=erasure.state,
            began_at=erasure.began_at,
            found=_shown(erasure.found),
            searched=erasure.surveyed,
            places=len(PLACES),
        )


class ChainView(WireModel):
    """Where the tenant's own audit chain ended; an export of it ends with this hash."""

    events: Count
    sha256: ShaText | None


class CertificateView(WireModel):
    """That nothing is left of a tenant: `sha256` is of the other members as JSON in UTF-8, sorted, without spaces."""

    tenant: TenantText
    deleted_at: Timestamp
    began_at: Timestamp
    erased_at: Timestamp
    actor: Annotated[str, prose(256)]
    reason: Annotated[str, prose(500)]
    request_id: RequestText
    forced: bool
    found: Parts
    searched: Annotated[tuple[PlaceText, ...], Field(json_schema_extra={"maxItems": _PLACES_MAX})]
    remaining: Count
    audit_chain: ChainView
    sha256: ShaText


_AT: Final = datetime(2025, 7, 1, 12, tzinfo=UTC)
_FOUND: Final = (ErasedPart(place="jobs", items=214), ErasedPart(place="objects", items=12))
_BEGUN: Final = Erasure(
    tenant_id=TenantId("globex"),
    actor="6f1d2c3b-0000-4000-8000-00000000000a",
    reason="contract ended",
    request_id="req_01jd3k5m7p9q1r3s5t7v9w1x3y",
    forced=False,
    deleted_at=_AT,
    began_at=_AT,
    found=_FOUND,
    surveyed=len(PLACES),
    chain_seq=31,
    chain_sha256=_SHA256,
)
_TAG: Final = "Tenants"
_KEPT: Final = TenantKeptError("2025-07-01T12:00:00.000Z")
PLAN: Final = Operation(
    "GET",
    "/v1/admin/tenants/{tenant}/erasure",
    "planErasure",
    _TAG,
    "See what an erasure would remove",
    "Counts what the tenant has, table by table, its objects and its keys in Redis, and says what would keep an "
    "erasure without force from beginning now. Nothing is changed.",
    (
        answer(
            200,
            "What there is.",
            PlanView(
                tenant="globex",
                found=tuple(PartView(place=part.place, items=part.items) for part in _FOUND),
                obstacle="tenant_kept",
            ),
        ),
    ),
    parameters=(TENANT,),
    problems=(NotFoundError(),),
)
ERASE: Final = Operation(
    "POST",
    "/v1/admin/tenants/{tenant}/erase",
    "eraseTenant",
    _TAG,
    "Erase a deleted tenant",
    "Removes all it had, for good, for some seconds; ask again until `state` is `erased`. It can be cut off anywhere "
    "and goes on where it was. Once everything is removed, all that is stored is searched for the tenant, and only a "
    "search that finds nothing ends it. It begins when the grace is over, or with `force`; never while something of "
    "the tenant may still run. Its id is given to nobody again. Asked of one that was erased, it searches again.",
    (answer(200, "How far it is.", ErasureView.of(certified(_BEGUN, _AT))),),
    parameters=(TENANT,),
    body=Content({"ended": EraseRequest(confirm="globex", reason="contract ended")}),
    problems=(NotFoundError(), TenantStateError(TenantStatus.ACTIVE), _KEPT, TenantBusyError()),
)
CERTIFICATE: Final = Operation(
    "GET",
    "/v1/admin/tenants/{tenant}/deletion-certificate",
    "getDeletionCertificate",
    _TAG,
    "Get the certificate of a tenant's deletion",
    "What it had, when and by whom it was erased, and where was searched without finding anything. The platform's "
    "audit chain has an event `tenant.erase` with its hash.",
    (answer(200, "The certificate.", CertificateView.model_validate(certificate(certified(_BEGUN, _AT)))),),
    parameters=(TENANT,),
    problems=(NotFoundError(),),
)


@dataclass(frozen=True, slots=True)
class ErasureAdmin:
    """`/v1/admin/tenants/{tenant}/erasure`, `…/erase` and `…/deletion-certificate`."""

    eraser: Eraser
    platform: PlatformStore
    acts: PlatformActs
    trail: AdminTrail

    async def plan(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with what there is to erase."""
        tenant_id, obstacle = tenant_of(request), None
        if await self.platform.erasure(tenant_id) is None:
            with known():
                tenant = await self.eraser.registry.read(tenant_id)
            try:
                await self.eraser.require_erasable(tenant, force=False)
            except (TenantStateError, TenantKeptError, TenantBusyError) as error:
                obstacle = error.code
        found = _shown(await self.eraser.inventory(tenant_id))
        return json_answer(PlanView(tenant=tenant_id, found=found, obstacle=obstacle).to_json())

    async def erase(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Begin an erasure, or go on with it."""
        tenant_id, asked = tenant_of(request), await read_body(EraseRequest, request)
        if asked.confirm != tenant_id:
            raise FieldsInvalidError([FieldFault("/confirm", "must be the tenant's id")])
        act = Act.of(request, actor, "tenant.erase", asked.reason)
        until_s = self.eraser.clock.monotonic() + STEP_S
        erasure = await self.platform.erasure(tenant_id)
        if erasure is None:
            erasure = await self._begun(act, tenant_id, force=asked.force)
        else:
            await self._require_condemned(tenant_id)
        try:
            erasure, clean = await self.eraser.advance(erasure, until_s=until_s)
            if clean and erasure.state == "erasing":
                erasure = await self._certified(act, erasure)
        except ConditionFailedError:
            # Another operator's request has gone on with it.
            erasure = await self.platform.erasure(tenant_id) or erasure
        return json_answer(ErasureView.of(erasure).to_json())

    async def certificate(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with what proves that a tenant was erased."""
        erasure = await self.platform.erasure(tenant_of(request))
        if erasure is None or erasure.state != "erased":
            raise NotFoundError
        return json_answer(CertificateView.model_validate(certificate(erasure)).to_json())

    async def _require_condemned(self, tenant_id: TenantId) -> None:
        """Raise TenantStateError where somebody has the id of a tenant that was erased, however that came about."""
        with suppress(TenantUnknownError):
            tenant = await self.eraser.registry.read(tenant_id)
            if tenant.erasing_at is None:
                raise TenantStateError(tenant.status)

    async def _begun(self, act: Act, tenant_id: TenantId, *, force: bool) -> Erasure:
        with known():
            new = await self.eraser.begun(tenant_id, act.actor.subject, act.reason, act.request_id, force=force)
        commit = partial(self.acts.store_erasure, new, seen=None)
        try:
            await self.trail.tell(act, None, commit, target=tenant_id, after={"forced": new.forced}, outcome="begun")
        except ConditionFailedError:
            return await self.platform.erasure(tenant_id) or new
        return new

    async def _certified(self, act: Act, erasure: Erasure) -> Erasure:
        over = certified(erasure, self.eraser.clock.now())
        commit = partial(self.acts.store_erasure, over, seen=erasure)
        await self.trail.tell(act, None, commit, target=erasure.tenant_id, after={"certificate": over.sha256})
        return over
