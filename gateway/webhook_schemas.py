"""The wire models of webhooks and their deliveries."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self, TypeAlias, get_args

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from gateway.fields import INTEGRAL, Line, never_null, said
from gateway.schemas import Count, Timestamp, WebhookText, WireModel, prose, shaped
from tenancy.data_models import Attempt, Delivery, WebhookEndpoint
from webhooks.deliveries import Recovered
from webhooks.endpoints import OVERLAP_DEFAULT, OVERLAP_LIMIT, EndpointChange
from webhooks.urls import LENGTH_LIMIT

DESCRIPTION_MAX: Final = 200
DELIVERY_PATTERN: Final = "^dlv_[0-9a-hjkmnp-tv-z]{26}$"
EVENT_PATTERN: Final = "^evt_[0-9a-hjkmnp-tv-z]{26}$"
SECRET_PATTERN: Final = "^whsec_[A-Za-z0-9+/]{43}=$"  # noqa: S105  # the shape of one
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105  # an example
_ANSWER_HEAD_MAX: Final = 1_024
_ATTEMPTS_MAX: Final = 100
# A filter that names an event twice is not worth a refusal.
_FILTER_MAX: Final = 10

EventName: TypeAlias = Literal[
    "job.succeeded", "job.failed", "job.cancelled", "job.expired", "budget.warning", "webhook.test"
]
DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]

_NAME: Final[TypeAdapter[EventName]] = TypeAdapter(EventName)
_RFC3339 = re.compile(r"[12]\d{3}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _written(value: object) -> object:
    # A number would be taken for seconds since 1970, or for milliseconds.
    if not isinstance(value, datetime) and not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("must be a time as RFC 3339 writes it, like 2025-06-01T12:00:00Z")
    return value


def _plain(url: str) -> str:
    if any(ord(letter) < ord(" ") for letter in url):
        raise ValueError("must not contain control characters")
    return url


Url = Annotated[
    str,
    Field(min_length=1, max_length=LENGTH_LIMIT, json_schema_extra={"format": "uri"}),
    AfterValidator(_plain),
    Field(description="Where events are posted: https on port 443 or 8443, a public host, no redirects followed."),
]
Description = Annotated[Line, Field(max_length=DESCRIPTION_MAX)]
Filter = Annotated[
    tuple[EventName, ...],
    Field(max_length=_FILTER_MAX, description="The events it is sent; none means every event there is or will be."),
]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_written),
    # The longest form that is taken has nine digits of a second and an offset.
    Field(json_schema_extra={"maxLength": 35}),
]
DeliveryText = Annotated[str, shaped(DELIVERY_PATTERN, 30, "dlv_01jd3k5m7p9q1r3s5t7v9w1x3y", "A delivery's id.")]
EventText = Annotated[
    str,
    shaped(EVENT_PATTERN, 30, "evt_01jd3k5m7p9q1r3s5t7v9w1x3y", "The event's id: what `webhook-id` carries."),
]


class NewWebhookRequest(WireModel):
    """A webhook to be registered."""

    url: Url
    description: Description | None = None
    events: Filter = ()


class WebhookPatchRequest(WireModel):
    """What of a webhook is to change; what is left out stays as it is."""

    url: Url | None = Field(default=None, json_schema_extra=never_null)
    description: Description | None = Field(default=None, description="Null takes it away.")
    events: Filter | None = Field(default=None, json_schema_extra=never_null)
    status: Literal["active", "paused"] | None = Field(
        default=None,
        description="`paused` stops sending; `active` goes on, also after it was disabled.",
        json_schema_extra=never_null,
    )

    _said = field_validator("url", "events", "status", mode="before")(said)

    def change(self) -> EndpointChange:
        """Return what was said, as the webhooks floor takes it."""
        return EndpointChange(
            url=self.url,
            description=(self.description or "") if "description" in self.model_fields_set else None,
            events=None if self.events is None else frozenset(self.events),
            status=self.status,
        )


class RotateSecretRequest(WireModel):
    """How a webhook's secret is replaced."""

    overlap_seconds: Annotated[
        int,
        Field(strict=True, ge=0, le=int(OVERLAP_LIMIT.total_seconds()), json_schema_extra={"format": "int64"}),
        INTEGRAL,
    ] = Field(
        default=int(OVERLAP_DEFAULT.total_seconds()),
        description="How long the old secret goes on signing beside the new one; 0 ends every older one at once.",
    )

    @property
    def overlap(self) -> timedelta:
        """The same as a span."""
        return timedelta(seconds=self.overlap_seconds)


class RecoverRequest(WireModel):
    """Which failed deliveries are sent again: those of events from `since` to before `until`."""

    since: Moment
    until: Moment | None = Field(default=None, description="Now, where it is left out.")

    @field_validator("until", mode="after")
    @classmethod
    def _in_order(cls, value: datetime | None, others: ValidationInfo) -> datetime | None:
        since: datetime | None = others.data.get("since")
        if value is not None and since is not None and value <= since:
            raise ValueError("must be after since")
        return value


class WebhookView(WireModel):
    """A webhook as it stands; its secret is shown only where it is made."""

    id: WebhookText
    url: Annotated[str, Field(json_schema_extra={"format": "uri", "maxLength": LENGTH_LIMIT})]
    description: Annotated[str, prose(DESCRIPTION_MAX)] | None = None
    events: Annotated[
        tuple[EventName, ...],
        Field(description="None means every event.", json_schema_extra={"maxItems": len(get_args(EventName))}),
    ]
    status: Literal["active", "paused", "disabled"]
    disabled_reason: Annotated[str, prose(500)] | None = None
    failing_since_at: Timestamp | None = Field(
        default=None, description="Since when every attempt has failed; after five days it is disabled."
    )
    previous_secret_expires_at: Timestamp | None = Field(
        default=None, description="Until when an older secret signs beside the newest one."
    )
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, now: datetime) -> Self:
        """Show a stored webhook without its secrets."""
        return cls(
            id=endpoint.webhook_id,
            url=endpoint.url,
            description=endpoint.description,
            events=tuple(name for name in get_args(EventName) if name in endpoint.events),
            status=endpoint.status,
            disabled_reason=endpoint.disabled_reason,
            failing_since_at=endpoint.failing_since_at,
            previous_secret_expires_at=max(
                (retired.until_at for retired in endpoint.retired_secrets if now < retired.until_at), default=None
            ),
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
        )


class WebhookSecretView(WebhookView):
    """A webhook with the secret that was just made: it is shown this once, and left out of a replay."""

    secret: Annotated[str, shaped(SECRET_PATTERN, 50, _SECRET, "Signs what is sent.")] | None = None

    @classmethod
    def made(cls, endpoint: WebhookEndpoint, now: datetime) -> Self:
        """Show a stored webhook with its newest secret."""
        return cls.of(endpoint, now).model_copy(update={"secret": endpoint.secret})


class AttemptView(WireModel):
    """One try: it has a `status` where an answer came, an `error` where none did, or not all of it."""

    at: Timestamp
    duration_ms: Count
    status: Annotated[int, Field(json_schema_extra={"format": "int32", "minimum": 100, "maximum": 999})] | None = None
    error: Annotated[str, prose(500)] | None = None
    answer_head: Annotated[str, prose(_ANSWER_HEAD_MAX)] | None = Field(
        default=None, description="How the answer's body began."
    )

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Show a stored attempt."""
        return cls(
            at=attempt.at,
            duration_ms=attempt.duration_ms,
            status=attempt.status,
            error=attempt.error,
            answer_head=attempt.answer_head,
        )


class DeliveryView(WireModel):
    """One event on its way to one webhook."""

    id: DeliveryText
    event_id: EventText
    event_type: EventName
    status: DeliveryStatus
    attempts: Annotated[tuple[AttemptView, ...], Field(json_schema_extra={"maxItems": _ATTEMPTS_MAX})]
    next_attempt_at: Timestamp | None = None
    created_at: Timestamp

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show a stored delivery without what it carries."""
        return cls(
            id=delivery.delivery_id,
            event_id=delivery.event_id,
            event_type=_NAME.validate_python(delivery.event_type),
            status=delivery.status,
            attempts=tuple(map(AttemptView.of, delivery.attempts)),
            next_attempt_at=delivery.next_attempt_at,
            created_at=delivery.created_at,
        )


class DeliveryDetailView(DeliveryView):
    """One delivery, with what it carries."""

    payload: JsonValue = Field(default=None, description="The body that is sent.")

    @classmethod
    def whole(cls, delivery: Delivery) -> Self:
        """Show a stored delivery with its payload."""
        return cls.of(delivery).model_copy(update={"payload": orjson.loads(delivery.payload_json)})


class RecoveredView(WireModel):
    """How many deliveries are sent again."""

    redelivered: Count
    continue_since: Timestamp | None = Field(
        default=None, description="There are more than one call takes: recover again, from here on."
    )

    @classmethod
    def of(cls, recovered: Recovered) -> Self:
        """Show what was recovered."""
        return cls(redelivered=recovered.count, continue_since=recovered.rest_since_at)
