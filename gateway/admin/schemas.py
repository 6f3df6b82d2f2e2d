"""The wire models of the Admin API: what operators send, and what they are shown of a tenant."""

from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from gateway.fields import INTEGRAL, Line, never_null, said
from gateway.schemas import (
    PAGE_MAX,
    Count,
    CursorText,
    LimitsView,
    TenantText,
    Timestamp,
    WireModel,
    prose,
    shaped,
)
from tenancy.data_models import (
    REDACTION_NAME,
    REDACTION_PATTERN_MAX,
    REDACTION_PATTERNS,
    Contacts,
    IdentityBinding,
    Redaction,
    RedactionPattern,
    Tenant,
    TenantStatus,
)
from tenancy.ids import parse_tenant_id
from tenancy.tiers import LimitOverrides, Tier, limits_of

BINDINGS_AT_ONCE: Final = 20
REDACTION_NAME_MAX: Final = 40
DIRECTORY_PATTERN: Final = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
CLIENT_PATTERN: Final = "^[A-Za-z0-9._-]{1,64}$"
EMAIL_MAX: Final = 254
EMAIL_PATTERN: Final = r"^[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$"
REGION_PATTERN: Final = "^[a-z]{2}(?:-[a-z]+)+-[0-9]$"
EXAMPLE_REGION: Final = "eu-west-2"
_ID: Final = "^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$"
_DIRECTORY: Final = "ac3e0000-0000-4000-8000-000000000001"

# The wire's names of the limits, and the stored ones.
_LIMITS: Final = {
    "requests_per_second": "requests_per_s",
    "burst_requests": "burst_requests",
    "invocations_per_day": "invocations_per_day",
    "concurrent_streams": "concurrent_streams",
    "running_jobs": "running_jobs",
    "replay_seconds": "replay_s",
}

_CHANGEABLE: Final = (
    "tier",
    "limits",
    "monthly_budget_microusd",
    "redaction",
    "redaction_patterns",
    "contacts",
    "region",
)


def _checked_id(text: str) -> str:
    return parse_tenant_id(text)


def _whole(least: int, most: int) -> object:
    return Field(strict=True, ge=least, le=most, json_schema_extra={"format": "int64"})


Reason = Annotated[Line, Field(max_length=500, description="Why, for the audit trail.")]
NewTenantId = Annotated[
    str,
    AfterValidator(_checked_id),
    shaped(_ID, 32, "globex", "Never changes; some names are reserved."),
]
Version = Annotated[
    int,
    Field(strict=True, ge=0, json_schema_extra={"format": "int64"}),
    INTEGRAL,
    Field(description="The version that was looked at: where the tenant has another by now, nothing is changed."),
]
Budget = Annotated[int, Field(strict=True, ge=0, le=10**15, json_schema_extra={"format": "int64"}), INTEGRAL]


Email = Annotated[
    str, Field(max_length=EMAIL_MAX, pattern=EMAIL_PATTERN, json_schema_extra={"examples": ["ops@globex.example"]})
]
Region = Annotated[
    str,
    Field(
        max_length=32,
        pattern=REGION_PATTERN,
        description="Where its data is: the platform's home, and nowhere else yet.",
        json_schema_extra={"examples": [EXAMPLE_REGION]},
    ),
]


class LimitsRequest(WireModel):
    """Ceilings that replace the tier's own; one that is null is the tier's again, one left out stays as it is."""

    requests_per_second: Annotated[int, _whole(1, 100_000), INTEGRAL] | None = None
    burst_requests: Annotated[int, _whole(1, 1_000_000), INTEGRAL] | None = None
    invocations_per_day: Annotated[int, _whole(0, 10**9), INTEGRAL] | None = None
    concurrent_streams: Annotated[int, _whole(0, 100_000), INTEGRAL] | None = None
    running_jobs: Annotated[int, _whole(0, 100_000), INTEGRAL] | None = None
    replay_seconds: Annotated[int, _whole(0, 604_800), INTEGRAL] | None = None

    def over(self, overrides: LimitOverrides) -> LimitOverrides:
        """Return a tenant's overrides with what was said here laid over them."""
        said = {_LIMITS[name]: getattr(self, name) for name in self.model_fields_set}
        return overrides.model_copy(update=said)


class ContactsRequest(WireModel):
    """Whom operators write to: one e-mail address each; null takes one away, one left out stays as it is."""

    technical: Email | None = None
    billing: Email | None = None
    security: Email | None = None

    def over(self, contacts: Contacts) -> Contacts:
        """Return a tenant's contacts with what was said here laid over them."""
        return contacts.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class BindingRequest(WireModel):
    """An application of a directory, as its access tokens name it: `iss`, `tid`, and `azp` or `appid`."""

    issuer: Annotated[str, Field(max_length=256, pattern=r"^https?://[^\s#]+$")]
    directory: Annotated[str, Field(max_length=36, pattern=DIRECTORY_PATTERN)]
    client_id: Annotated[str, Field(max_length=64, pattern=CLIENT_PATTERN)]


class UnbindingRequest(BindingRequest):
    """A binding to be removed, and why."""

    reason: Reason


class NewBindingRequest(BindingRequest):
    """A binding to be made, and why."""

    reason: Reason = "bound"


class RedactionPatternView(WireModel):
    """What is found in answers beside the built-in kinds: `[REDACTED:name]` stands in place of a match."""

    name: Annotated[str, Field(pattern=REDACTION_NAME, max_length=REDACTION_NAME_MAX)]
    pattern: Annotated[
        str,
        Field(
            min_length=1,
            max_length=REDACTION_PATTERN_MAX,
            description="In RE2's syntax, of finite width.",
            json_schema_extra={"format": "regex"},
        ),
    ]

    def stored(self) -> RedactionPattern:
        """Return it as a tenant holds it."""
        return RedactionPattern(name=self.name, pattern=self.pattern)


RedactionPatterns = Annotated[
    tuple[RedactionPatternView, ...],
    Field(max_length=REDACTION_PATTERNS, description="All of them: those not named are dropped."),
]


class NewTenantRequest(WireModel):
    """A tenant to be created."""

    id: NewTenantId
    name: Annotated[Line, Field(max_length=100)]
    tier: Tier
    limits: LimitsRequest = LimitsRequest()
    monthly_budget_microusd: Budget | None = None
    redaction: Redaction = "off"
    redaction_patterns: RedactionPatterns = ()
    contacts: ContactsRequest = ContactsRequest()
    region: Region | None = Field(default=None, json_schema_extra=never_null)
    bindings: Annotated[tuple[BindingRequest, ...], Field(max_length=BINDINGS_AT_ONCE)] = ()
    reason: Reason = "created"

    _said = field_validator("region", mode="before")(said)


class TenantPatchRequest(WireModel):
    """What of a tenant is to change; what is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [to_camel(name)]} for name in _CHANGEABLE]},
    )

    tier: Tier | None = Field(default=None, json_schema_extra=never_null)
    limits: LimitsRequest | None = Field(default=None, description="Null takes every override away.")
    monthly_budget_microusd: Budget | None = Field(default=None, description="Null takes the ceiling away.")
    redaction: Redaction | None = Field(default=None, json_schema_extra=never_null)
    redaction_patterns: RedactionPatterns | None = Field(default=None, json_schema_extra=never_null)
    contacts: ContactsRequest | None = Field(default=None, json_schema_extra=never_null)
    region: Region | None = Field(default=None, json_schema_extra=never_null)
    version: Version | None = None
    reason: Reason

    _said = field_validator("tier", "redaction", "redaction_patterns", "contacts", "region", mode="before")(said)

    @model_validator(mode="after")
    def _changes_something(self) -> "TenantPatchRequest":
        if self.model_fields_set.isdisjoint(_CHANGEABLE):
            raise ValueError("must change at least one of " + ", ".join(map(to_camel, _CHANGEABLE)))
        return self

    def applied(self, tenant: Tenant) -> Tenant:
        """Return the tenant as it is to become."""
        said = self.model_fields_set
        update: dict[str, object] = {
            name: getattr(self, name) for name in ("tier", "monthly_budget_microusd", "redaction") if name in said
        }
        if "limits" in said:
            update["limits"] = LimitOverrides() if self.limits is None else self.limits.over(tenant.limits)
        if self.contacts is not None:
            update["contacts"] = self.contacts.over(tenant.contacts)
        if self.redaction_patterns is not None:
            update["redaction_patterns"] = tuple(pattern.stored() for pattern in self.redaction_patterns)
        return tenant.model_copy(update=update)


class ReasonRequest(WireModel):
    """Why something is done."""

    reason: Reason


class BindingView(WireModel):
    """An application that speaks for the tenant."""

    issuer: Annotated[str, Field(json_schema_extra={"format": "uri", "maxLength": 256})]
    directory: Annotated[str, shaped(DIRECTORY_PATTERN, 36, _DIRECTORY)]
    client_id: Annotated[str, shaped(CLIENT_PATTERN, 64, _DIRECTORY)]
    created_at: Timestamp

    @classmethod
    def of(cls, binding: IdentityBinding) -> "BindingView":
        """Show a stored binding."""
        return cls(
            issuer=binding.issuer,
            directory=binding.directory,
            client_id=binding.client_id,
            created_at=binding.created_at,
        )


class BindingsView(WireModel):
    """A tenant's bindings, all on one page."""

    items: Annotated[tuple[BindingView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]


class AdminTenantView(WireModel):
    """A tenant as operators see it; null means no reason, no override, or no ceiling."""

    id: TenantText
    name: Annotated[str, prose(200)]
    tier: Tier
    status: TenantStatus
    status_reason: Annotated[str, prose(500)] | None
    limits: LimitsView
    overrides: "OverridesView"
    monthly_budget_microusd: Count | None
    redaction: Redaction
    redaction_patterns: Annotated[
        tuple[RedactionPatternView, ...], Field(json_schema_extra={"maxItems": REDACTION_PATTERNS})
    ]
    contacts: "ContactsView"
    region: Region
    deleted_at: Timestamp | None
    erase_after: Timestamp | None = Field(description="From then on what a deleted tenant had may be erased.")
    version: Count
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, tenant: Tenant, home: str) -> "AdminTenantView":
        """Show a stored tenant; `home` is the platform's own region."""
        limits = limits_of(tenant.tier, tenant.limits)
        return cls(
            id=tenant.tenant_id,
            name=tenant.name,
            tier=tenant.tier,
            status=tenant.status,
            status_reason=tenant.status_reason,
            limits=LimitsView(**{wire: getattr(limits, stored) for wire, stored in _LIMITS.items()}),
            overrides=OverridesView(**{wire: getattr(tenant.limits, stored) for wire, stored in _LIMITS.items()}),
            monthly_budget_microusd=tenant.monthly_budget_microusd,
            redaction=tenant.redaction,
            redaction_patterns=tuple(
                RedactionPatternView(name=own.name, pattern=own.pattern) for own in tenant.redaction_patterns
            ),
            contacts=ContactsView(**tenant.contacts.model_dump()),
            region=tenant.region or home,
            deleted_at=tenant.deleted_at,
            erase_after=tenant.erase_after_at,
            version=tenant.version,
            created_at=tenant.created_at,
            updated_at=tenant.updated_at,
        )

    def to_json(self) -> bytes:
        """Keep nulls: here they say something."""
        return self.model_dump_json(by_alias=True).encode()


class ContactsView(WireModel):
    """Whom operators write to; null is nobody."""

    technical: Email | None
    billing: Email | None
    security: Email | None


class OverridesView(WireModel):
    """Which of the limits are the tenant's own; null is the tier's."""

    requests_per_second: Count | None
    burst_requests: Count | None
    invocations_per_day: Count | None
    concurrent_streams: Count | None
    running_jobs: Count | None
    replay_seconds: Count | None


class TenantsView(WireModel):
    """One page of all tenants, by id; `nextCursor` is absent on the last."""

    items: Annotated[tuple[AdminTenantView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None

    def to_json(self) -> bytes:
        """Keep the tenants' nulls."""
        last = {"next_cursor"} if self.next_cursor is None else set[str]()
        return self.model_dump_json(by_alias=True, exclude=last).encode()
