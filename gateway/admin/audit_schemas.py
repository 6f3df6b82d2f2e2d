"""The wire models of the audit log and of security events."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from gateway.schemas import PAGE_MAX, Count, CursorText, RequestText, TenantText, Timestamp, WireModel, prose, shaped
from tenancy.data_models import Outcome

AuditText = Annotated[str, shaped("^aud_[0-9a-hjkmnp-tv-z]{26}$", 30, "aud_01jd3k5m7p9q1r3s5t7v9w1x3y")]
HashText = Annotated[str, shaped("^[0-9a-f]{64}$", 64, "9f86d081884c7d659a2feaa0c55ad015" * 2)]
ChainText = Annotated[str, shaped("^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$", 32, "globex", "A tenant's id, or `platform`.")]
FieldsOfIt = Annotated[dict[str, JsonValue], Field(json_schema_extra={"maxProperties": 100})]


class EventView(WireModel):
    """What happened; null means nobody, nothing, or that it is the platform's."""

    audit_id: AuditText
    at: Timestamp
    actor: Annotated[str, prose(256)]
    acting_tenant: TenantText | None = Field(description="Whose principal the actor is.")
    target_tenant: TenantText | None = Field(description="To whom it was done.")
    operation: Annotated[str, prose(128)]
    target: Annotated[str, prose(1000)] | None = Field(description="What of the tenant's, or of the platform's.")
    before: FieldsOfIt = Field(description="What differs, as it was.")
    after: FieldsOfIt = Field(description="What differs, as it is now.")
    outcome: Outcome = Field(
        description="`begun` stands before what cannot be stored with its event, and is followed by the outcome."
    )
    reason: Annotated[str, prose(1000)]
    request_id: RequestText | None


class AuditView(EventView):
    """An act on the audit chain: `sha256` covers all its other members."""

    chain: ChainText
    seq: Count = Field(description="The number in its chain, from 1.")
    previous: HashText = Field(description="The `sha256` of the event before it.")
    sha256: HashText


class EventsPage(WireModel):
    """One page of what happened, newest first; `nextCursor` is absent on the last."""

    next_cursor: CursorText | None = None

    def to_json(self) -> bytes:
        """Keep the events' nulls: here they say something."""
        last = {"next_cursor"} if self.next_cursor is None else set[str]()
        return self.model_dump_json(by_alias=True, exclude=last).encode()


class AuditsView(EventsPage):
    """One page of acts, newest first; `nextCursor` is absent on the last."""

    items: Annotated[tuple[AuditView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]


class SecurityEventView(EventView):
    """Something that was refused."""

    outcome: Literal["refused"]


class SecurityEventsView(EventsPage):
    """One page of security events, newest first; `nextCursor` is absent on the last."""

    items: Annotated[tuple[SecurityEventView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
