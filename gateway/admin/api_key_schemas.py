"""The wire models of API keys as operators make, see and change them."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from gateway.admin.schemas import Reason
from gateway.fields import INTEGRAL, Line
from gateway.schemas import PAGE_MAX, CursorText, Timestamp, WireModel, prose, shaped
from tenancy.api_keys import OVERLAP_MAX
from tenancy.data_models import ApiKey, KeySecret

KEY_PATTERN: Final = "^key_[0-9a-hjkmnp-tv-z]{26}$"
KeyText = Annotated[str, shaped(KEY_PATTERN, 30, "key_01jd3k5m7p9q1r3s5t7v9w1x3y", "An API key's id.")]
PREFIX_PATTERN: Final = "^lg_live_[0-9a-hjkmnp-tv-z]{8}$"
PrefixText = Annotated[str, shaped(PREFIX_PATTERN, 16, "lg_live_4t8kq2zn", "How the secret begins.")]
SecretText = Annotated[
    str,
    shaped(
        "^lg_live_[0-9a-hjkmnp-tv-z]{60}$",
        68,
        "lg_live_4t8kq2zn" + "0123456789abcdefghjkmnpqrstvwxyz" + "0123456789abcdefghjk",
        "The secret, shown this once.",
    ),
]
# A tenant's own roles; no key has one of the platform's.
TenantRole = Literal["Agent.Invoke", "Agent.Developer"]
DAY_S: Final = 86_400


class NewKeyRequest(WireModel):
    """An API key to be made."""

    label: Annotated[Line, Field(max_length=100, description="What it is for.")]
    roles: Annotated[frozenset[TenantRole], Field(min_length=1, json_schema_extra={"maxItems": 2})] = frozenset(
        {"Agent.Invoke"}
    )
    reason: Reason


class RotationRequest(WireModel):
    """A new secret for a key."""

    overlap_seconds: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=int(OVERLAP_MAX.total_seconds()),
            json_schema_extra={"format": "int64"},
            description="How long the former secret still works, up to 7 days.",
        ),
        INTEGRAL,
    ] = DAY_S
    reason: Reason


class RetiringView(WireModel):
    """A former secret that still works."""

    prefix: PrefixText
    until: Timestamp

    @classmethod
    def of(cls, secret: KeySecret, until: datetime) -> "RetiringView":
        """Show a former secret."""
        return cls(prefix=secret.prefix, until=until)


class KeyView(WireModel):
    """An API key; what is absent has not happened."""

    id: KeyText
    label: Annotated[str, prose(100)]
    prefix: PrefixText
    roles: Annotated[tuple[TenantRole, ...], Field(json_schema_extra={"maxItems": 2})]
    status: Literal["active", "rotating", "revoked"]
    retiring: Annotated[tuple[RetiringView, ...], Field(json_schema_extra={"maxItems": 3})] = ()
    created_at: Timestamp
    updated_at: Timestamp
    revoked_at: Timestamp | None = None
    last_used_at: Timestamp | None = Field(default=None, description="At the latest an hour before it was last used.")

    @classmethod
    def of(cls, key: ApiKey, now: datetime) -> "KeyView":
        """Show a stored key."""
        return cls.model_validate(cls.shown(key, now))

    @classmethod
    def shown(cls, key: ApiKey, now: datetime) -> dict[str, object]:
        """Return what is shown of a stored key."""
        retiring = tuple(
            RetiringView.of(one, one.until_at) for one in key.secrets if one.until_at is not None and one.until_at > now
        )
        return {
            "id": key.key_id,
            "label": key.label,
            "prefix": key.secrets[0].prefix,
            "roles": tuple(sorted(key.roles)),
            "status": "revoked" if key.revoked_at else "rotating" if retiring else "active",
            "retiring": () if key.revoked_at else retiring,
            "created_at": key.created_at,
            "updated_at": key.updated_at,
            "revoked_at": key.revoked_at,
            "last_used_at": key.last_used_at,
        }


class NewKeyView(KeyView):
    """An API key with its secret; where the answer is given again under an Idempotency-Key, without it."""

    key: SecretText | None = None

    @classmethod
    def showing(cls, key: ApiKey, secret: str, now: datetime) -> "NewKeyView":
        """Show a stored key and its newest secret."""
        return cls.model_validate(cls.shown(key, now) | {"key": secret})


class KeysView(WireModel):
    """One page of a tenant's API keys, newest first; `nextCursor` is absent on the last."""

    items: Annotated[tuple[KeyView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None
