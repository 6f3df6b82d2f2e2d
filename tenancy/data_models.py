"""Every stored item as a typed model, with the key it lives under.

An item knows its table and derives its key from its fields, so that a key cannot disagree with what it holds.
Tenant items carry `tenant_id`; their partition is `TENANT#{tenant_id}` and nothing else. Agent payloads are kept
as JSON text, never unpacked: what an agent answered is what a tenant reads.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, NamedTuple, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tenancy import tables
from tenancy.attributes import decode, encode, encode_field
from tenancy.errors import InvalidIdError
from tenancy.ids import (
    AgentName,
    DeliveryId,
    EventId,
    InvocationId,
    JobId,
    KeyId,
    SessionId,
    TenantId,
    WebhookId,
    moment_of,
)
from tenancy.prices import Price
from tenancy.tables import Table
from tenancy.tiers import LimitOverrides, Tier

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

Item: TypeAlias = "dict[str, AttributeValueTypeDef]"

Microusd = Annotated[int, Field(ge=0)]
Redaction: TypeAlias = Literal["off", "redact", "block"]
# A tenant's own patterns: what they are called, how long one is, and how many there may be.
REDACTION_NAME: Final = "^[a-z][a-z0-9_]{0,39}$"
REDACTION_PATTERN_MAX: Final = 500
REDACTION_PATTERNS: Final = 20
EpochSeconds = Annotated[int, Field(ge=0)]
# What MCP and AgentCore Gateway both take, `{target}___{tool}` among them.
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$")]


class Key(NamedTuple):
    """An item's primary key."""

    partition: str
    sort: str

    def to_item(self) -> Item:
        """Return the key as DynamoDB attribute values."""
        return {tables.PARTITION_KEY: {"S": self.partition}, tables.SORT_KEY: {"S": self.sort}}


class StoredItem(BaseModel, ABC):
    """Base of all stored items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    TABLE: ClassVar[Table]

    @abstractmethod
    def key(self) -> Key:
        """Return the primary key, derived from the fields."""

    def index_keys(self) -> dict[str, str]:
        """Return the index key attributes; an index is sparse where they are absent."""
        return {}

    def to_item(self) -> Item:
        """Return the whole item as DynamoDB attribute values; None is stored only where it must be said."""
        said = self._said()
        item = {name: encode_field(value) for name, value in self.__dict__.items() if value is not None or name in said}
        for name, value in self.index_keys().items():
            item[name] = encode(value)
        item.update(self.key().to_item())
        return item

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Return the item with other values, which are good as they are: `model_copy`, but a quarter of its time."""
        return self._of({**self.__dict__, **changes}, self.__pydantic_fields_set__ | changes.keys())

    @classmethod
    def made(cls, **values: object) -> Self:
        """Return an item of values that were checked before or are our own; what is left out has a default."""
        return cls._of({**cls._defaults(), **values}, set(values))

    @classmethod
    def _of(cls, values: dict[str, object], given: set[str]) -> Self:
        item = cls.__new__(cls)
        object.__setattr__(item, "__dict__", values)
        object.__setattr__(item, "__pydantic_fields_set__", given)
        object.__setattr__(item, "__pydantic_extra__", None)
        object.__setattr__(item, "__pydantic_private__", None)
        return item

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read a stored item; key and index attributes are derived, so they are dropped."""
        return cls.model_validate({name: decode(value) for name, value in item.items() if name in cls.model_fields})

    @classmethod
    @cache
    def _defaults(cls) -> dict[str, object]:
        return {name: field.get_default() for name, field in cls.model_fields.items() if not field.is_required()}

    @classmethod
    @cache
    def _said(cls) -> frozenset[str]:
        """Return the fields without a default: what has to be given has to be said."""
        return frozenset(name for name, field in cls.model_fields.items() if field.is_required())


class TenantItem(StoredItem):
    """An item that belongs to one tenant. `SORT_PREFIX` begins the sort key of every item of its kind."""

    SORT_PREFIX: ClassVar[str]

    tenant_id: TenantId

    @classmethod
    def key_of(cls, tenant_id: TenantId, record_id: str) -> Key:
        """Return the key of one tenant's record of this kind."""
        return Key(tables.tenant_partition(tenant_id), cls.SORT_PREFIX + record_id)

    def key(self) -> Key:
        """Return `TENANT#{id}` and the sort key."""
        return Key(tables.tenant_partition(self.tenant_id), self.sort_key())

    @abstractmethod
    def sort_key(self) -> str:
        """Return the sort key inside the tenant's partition."""


class Failure(BaseModel):
    """Why something ended badly: a stable code and a sentence that is safe to show the tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    detail: str


class Mode(StrEnum):
    """How an agent can be invoked."""

    SYNC = "sync"
    STREAM = "stream"
    ASYNC = "async"


class Status(StrEnum):
    """Where an invocation or a job stands; both use the same words."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Tell whether nothing can follow."""
        return self not in (Status.QUEUED, Status.RUNNING)


class TenantStatus(StrEnum):
    """Whether a tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class RedactionPattern(BaseModel):
    """What a tenant wants found in answers beside the built-in kinds; the name is shown in place of a match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=REDACTION_NAME)
    pattern: str = Field(min_length=1, max_length=REDACTION_PATTERN_MAX)


class Contacts(BaseModel):
    """Whom operators write to, by what about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    technical: str | None = None
    billing: str | None = None
    security: str | None = None


class Tenant(TenantItem):
    """A paying organisation: the isolation boundary."""

    TABLE = tables.TENANTS
    SORT_PREFIX = ""

    name: str
    tier: Tier
    status: TenantStatus = TenantStatus.ACTIVE
    status_reason: str | None = None
    limits: LimitOverrides = LimitOverrides()
    monthly_budget_microusd: Microusd | None = None
    redaction: Redaction = "off"
    redaction_patterns: tuple[RedactionPattern, ...] = Field(default=(), max_length=REDACTION_PATTERNS)
    contacts: Contacts = Contacts()
    # Where its data is; None is the platform's home.
    region: str | None = None
    # Of a deleted one: since when, what it was before, and from when on it may be erased.
    deleted_at: AwareDatetime | None = None
    deleted_from: TenantStatus | None = None
    erase_after_at: AwareDatetime | None = None
    # Since when it is being erased: from then on nothing brings it back.
    erasing_at: AwareDatetime | None = None
    # Rises with every change: who changes a tenant says which version that was.
    version: int = Field(default=0, ge=0)
    created_at: AwareDatetime
    updated_at: AwareDatetime

    def sort_key(self) -> str:
        """Return the fixed sort key."""
        return "METADATA"

    def index_keys(self) -> dict[str, str]:
        """Stand in the directory of all tenants."""
        return {
            tables.DIRECTORY_INDEX.partition_key: tables.DIRECTORY,
            tables.DIRECTORY_INDEX.sort_key: self.tenant_id,
        }


class InvocationRecord(TenantItem):
    """One pass through the request path, sync or stream."""

    TABLE = tables.INVOCATIONS
    SORT_PREFIX = "INV#"

    invocation_id: InvocationId
    agent: AgentName
    agent_version: str
    mode: Mode
    status: Status
    session_id: SessionId
    principal: str
    request_id: str
    created_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    cancel_requested_at: AwareDatetime | None = None
    error: Failure | None = None
    metadata_json: str | None = None
    chunks: int = 0
    answer_bytes: int = 0
    # The process that serves it, and how often another one has taken it over.
    process: str | None = None
    fence: int = 0
    # Whether it goes on when its caller leaves.
    detached: bool = False
    # What its cost is reckoned from where another process settles it, and what its caller lets it cost.
    input_bytes: int = 0
    budget_microusd: int | None = None
    ttl: EpochSeconds

    def sort_key(self) -> str:
        """Return the invocation's id, which sorts by time."""
        return self.SORT_PREFIX + self.invocation_id

    def index_keys(self) -> dict[str, str]:
        """Stand among what its process serves for as long as it runs."""
        if self.process is None or self.status.terminal:
            return {}
        return {
            tables.OPEN_INDEX.partition_key: open_partition(self.process),
            tables.OPEN_INDEX.sort_key: f"{self.created_at.isoformat()}#{self.tenant_id}#{self.invocation_id}",
        }


class StreamSegment(TenantItem):
    """Events `first` to `last` of one streamed invocation, framed; kept here as text or in S3."""

    TABLE = tables.INVOCATIONS
    SORT_PREFIX = "SEG#"

    invocation_id: InvocationId
    first: int = Field(ge=1)
    last: int = Field(ge=1)
    text: str | None = None
    s3_key: str | None = None
    ttl: EpochSeconds

    @classmethod
    def prefix_of(cls, invocation_id: InvocationId) -> str:
        """Return what the sort keys of a stream's segments begin with."""
        return f"{cls.SORT_PREFIX}{invocation_id}#"

    @classmethod
    def record_id_of(cls, invocation_id: InvocationId, first: int) -> str:
        """Return what names a segment; names sort as the events happened."""
        return f"{invocation_id}#{first:09d}"

    def sort_key(self) -> str:
        """Sort by invocation, then by number."""
        return self.SORT_PREFIX + self.record_id_of(self.invocation_id, self.first)


class Progress(BaseModel):
    """How far a job is, as its agent reports it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: int = Field(ge=0, le=100)
    message: str | None = Field(default=None, max_length=1000)


class JobRecord(TenantItem):
    """A durable asynchronous request; `run` numbers its execution tries."""

    TABLE = tables.JOBS
    SORT_PREFIX = "JOB#"

    job_id: JobId
    agent: AgentName
    agent_version: str
    session_id: SessionId
    principal: str
    request_id: str
    status: Status = Status.QUEUED
    run: int = 0
    # Small payloads live here as JSON text, large ones in S3 under the tenant's prefix.
    input_json: str | None = None
    input_s3_key: str | None = None
    # Of one in S3.
    input_bytes: int | None = None
    result_json: str | None = None
    result_s3_key: str | None = None
    # Of one in S3.
    result_bytes: int | None = None
    progress: Progress | None = None
    # Input and output tokens as the agent last reported them.
    tokens: tuple[int, int] | None = None
    error: Failure | None = None
    metadata_json: str | None = None
    webhook_id: WebhookId | None = None
    traceparent: str | None = None
    # The agent's process that acknowledged the run; None until one has.
    boot_id: str | None = None
    # Where that process is, and how many of the runs were begun only because a region was lost.
    region: str | None = None
    moves: int = 0
    fence: int = 0
    lease_owner: str | None = None
    lease_until_at: AwareDatetime | None = None
    # How often a worker took the job since one last left it in good order.
    claims: int = 0
    # How many events tell of it so far.
    events: int = 0
    cancel_requested_at: AwareDatetime | None = None
    # Since when it waits for others of its tenant to end.
    waiting_since_at: AwareDatetime | None = None
    # Given up on: it kept killing the workers that took it.
    dead_letter: bool = False
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    # When the newest run began.
    run_started_at: AwareDatetime | None = None
    updated_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    deadline_at: AwareDatetime
    next_tick_at: AwareDatetime | None = None
    ttl: EpochSeconds | None = None

    def sort_key(self) -> str:
        """Return the job's id, which sorts by time."""
        return self.SORT_PREFIX + self.job_id

    def index_keys(self) -> dict[str, str]:
        """Stand in the sweeper's index for as long as a tick is owed, and among the dead letters where it is one."""
        keys = sweep_keys(self.job_id, self.next_tick_at, self.tenant_id)
        if self.dead_letter:
            moment = self.ended_at or self.updated_at
            keys[tables.DEAD_LETTER_INDEX.partition_key] = tables.DEAD_LETTERS
            keys[tables.DEAD_LETTER_INDEX.sort_key] = f"{moment.isoformat()}#{self.tenant_id}#{self.job_id}"
        return keys


JobEventType: TypeAlias = Literal[
    "job.queued",
    "job.started",
    "job.progress",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.expired",
]


class JobEvent(TenantItem):
    """One thing that happened to a job, stored together with the change it tells of; `seq` counts from 1, no gap."""

    TABLE = tables.JOBS
    SORT_PREFIX = "JOBEVENT#"

    job_id: JobId
    seq: int = Field(ge=1)
    type: JobEventType
    at: AwareDatetime
    data_json: str
    ttl: EpochSeconds

    @classmethod
    def prefix_of(cls, job_id: JobId) -> str:
        """Return what the sort keys of a job's events begin with."""
        return f"{cls.SORT_PREFIX}{job_id}#"

    @classmethod
    def sort_key_of(cls, job_id: JobId, seq: int) -> str:
        """Return the sort key of a job's event; keys sort as the events happened."""
        return f"{cls.prefix_of(job_id)}{seq:09d}"

    def sort_key(self) -> str:
        """Sort by job, then by number."""
        return self.sort_key_of(self.job_id, self.seq)


class JobGate(TenantItem):
    """How many of a tenant's jobs run, and when to look at those that wait for room; one item per tenant."""

    TABLE = tables.JOBS
    SORT_PREFIX = "GATE"
    RECORD_ID: ClassVar[str] = "gate"

    running: int = 0
    # Rises whenever a job is made to wait: who found nobody waiting says how often that had happened.
    waits: int = 0
    next_tick_at: AwareDatetime | None = None

    def sort_key(self) -> str:
        """Return the fixed sort key."""
        return self.SORT_PREFIX

    def index_keys(self) -> dict[str, str]:
        """Stand in the sweeper's index for as long as jobs wait."""
        return sweep_keys(self.RECORD_ID, self.next_tick_at, self.tenant_id)


class WaitingJob(TenantItem):
    """Marks a queued job that found as many of its tenant's jobs running as may run; `fence` is the tick it awaits."""

    TABLE = tables.JOBS
    SORT_PREFIX = "WAITING#"

    job_id: JobId
    fence: int
    since_at: AwareDatetime
    ttl: EpochSeconds

    def sort_key(self) -> str:
        """Return the job's id: those that came first stand first."""
        return self.SORT_PREFIX + self.job_id


class SessionRecord(TenantItem):
    """One conversation with isolated runtime state, bound to a tenant and to the agent version it began with."""

    TABLE = tables.SESSIONS
    SORT_PREFIX = "SESSION#"

    session_id: SessionId
    agent: AgentName
    agent_version: str
    created_at: AwareDatetime
    last_used_at: AwareDatetime
    ttl: EpochSeconds

    def sort_key(self) -> str:
        """Return the session's id."""
        return self.SORT_PREFIX + self.session_id


class RetiredSecret(BaseModel):
    """A signing secret that was replaced and signs beside its successor until a moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: str = Field(repr=False)
    until_at: AwareDatetime


class WebhookEndpoint(TenantItem):
    """A tenant's webhook URL with its signing secrets; no events means every event."""

    TABLE = tables.WEBHOOKS
    SORT_PREFIX = "WEBHOOK#"

    webhook_id: WebhookId
    url: str
    description: str | None = None
    events: frozenset[str] = frozenset()
    status: Literal["active", "paused", "disabled"] = "active"
    disabled_reason: str | None = None
    secret: str = Field(repr=False)
    # The newest first.
    retired_secrets: tuple[RetiredSecret, ...] = ()
    # The first of the failures that no success has followed yet.
    failing_since_at: AwareDatetime | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime

    def sort_key(self) -> str:
        """Return the endpoint's id."""
        return self.SORT_PREFIX + self.webhook_id


class Attempt(BaseModel):
    """One HTTP try of a delivery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    duration_ms: int
    status: int | None = None
    error: str | None = None
    answer_head: str | None = Field(default=None, max_length=1024)


class Delivery(TenantItem):
    """One event on its way to one endpoint."""

    TABLE = tables.DELIVERIES
    SORT_PREFIX = "WEBHOOK#"

    delivery_id: DeliveryId
    webhook_id: WebhookId
    event_id: EventId
    event_type: str
    payload_json: str
    status: Literal["pending", "delivered", "failed"] = "pending"
    attempts: tuple[Attempt, ...] = ()
    # How many of the schedule's attempts were made since it last began: sending again by hand begins it anew.
    scheduled_attempts: int = 0
    next_attempt_at: AwareDatetime | None = None
    fence: int = 0
    lease_until_at: AwareDatetime | None = None
    created_at: AwareDatetime
    ttl: EpochSeconds

    @classmethod
    def prefix_of(cls, webhook_id: WebhookId) -> str:
        """Return what the sort keys of an endpoint's deliveries begin with."""
        return f"{cls.SORT_PREFIX}{webhook_id}#DELIVERY#"

    @classmethod
    def key_to(cls, tenant_id: TenantId, webhook_id: WebhookId, delivery_id: DeliveryId) -> Key:
        """Return the key of one delivery to one endpoint."""
        return Key(tables.tenant_partition(tenant_id), cls.prefix_of(webhook_id) + delivery_id)

    def sort_key(self) -> str:
        """Group deliveries by endpoint, sorted by time."""
        return self.prefix_of(self.webhook_id) + self.delivery_id

    def index_keys(self) -> dict[str, str]:
        """Stand in the sweeper's index, as `{endpoint}#{delivery}`, for as long as an attempt is owed."""
        return sweep_keys(f"{self.webhook_id}#{self.delivery_id}", self.next_attempt_at, self.tenant_id)


class OutboxEvent(TenantItem):
    """An event stored in the same transaction as the change that caused it."""

    TABLE = tables.OUTBOX
    SORT_PREFIX = "EVENT#"

    event_id: EventId
    event_type: str
    payload_json: str
    # Only this endpoint, whatever its filter; None is every endpoint whose filter lets the event through.
    webhook_id: WebhookId | None = None
    created_at: AwareDatetime
    next_tick_at: AwareDatetime | None = None
    ttl: EpochSeconds

    def sort_key(self) -> str:
        """Return the event's id, which sorts by time."""
        return self.SORT_PREFIX + self.event_id

    def index_keys(self) -> dict[str, str]:
        """Stand in the sweeper's index until delivered."""
        return sweep_keys(self.event_id, self.next_tick_at, self.tenant_id)


class UsageRecord(TenantItem):
    """One invocation's or job's immutable line in the ledger."""

    TABLE = tables.USAGE
    SORT_PREFIX = "DAY#"

    record_id: InvocationId | JobId
    agent: AgentName
    agent_version: str
    mode: Mode
    outcome: Status
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    # The agent did not say how many tokens it used.
    estimated: bool
    chunks: int = Field(ge=0)
    answer_bytes: int = Field(ge=0)
    runtime_ms: int = Field(ge=0)
    tool_calls: int = Field(ge=0)
    cost_microusd: Microusd
    settled_at: AwareDatetime

    @property
    def day(self) -> date:
        """The UTC day it began on, which its id tells: to settle it again is to write the same item."""
        return moment_of(self.record_id).date()

    @classmethod
    def prefix_of(cls, day: date) -> str:
        """Return what the sort keys of a day's records begin with."""
        return f"{cls.SORT_PREFIX}{day.isoformat()}#"

    def sort_key(self) -> str:
        """Sort by the day it began on, then by the invocation's or job's id."""
        return self.prefix_of(self.day) + self.record_id


class UsageSums(BaseModel):
    """What some of the ledger's lines come to; `estimated` is how many of them hold an estimate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int = 0
    estimated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    chunks: int = 0
    answer_bytes: int = 0
    runtime_ms: int = 0
    tool_calls: int = 0
    cost_microusd: int = 0


class UsageLine(UsageSums):
    """What a day's lines of one agent in one mode come to."""

    agent: AgentName
    mode: Mode


class UsageDay(TenantItem):
    """A day that is over, added up; nothing is lost with it, for it is made of the day's records."""

    TABLE = tables.USAGE
    SORT_PREFIX = "ROLLUP#"

    day: date
    lines: tuple[UsageLine, ...]

    @classmethod
    def key_to(cls, tenant_id: TenantId, day: date) -> Key:
        """Return the key of a tenant's day."""
        return cls.key_of(tenant_id, day.isoformat())

    def sort_key(self) -> str:
        """Return the day."""
        return self.SORT_PREFIX + self.day.isoformat()


class IdempotencyRecord(TenantItem):
    """What a creating request was answered under its caller's key, or that somebody works for the answer now."""

    TABLE = tables.IDEMPOTENCY
    SORT_PREFIX = "IDEM#"

    operation: str
    idempotency_key: str
    request_sha256: str
    status: Literal["running", "answered"]
    # Who works for the answer, and until when that holds unless it is renewed.
    holder: str | None = None
    lease_until_at: AwareDatetime | None = None
    answer_status: int | None = None
    answer_headers_json: str | None = None
    # At most one of the two: a small body lives here, a large one in S3. Neither: it could not be kept.
    answer_text: str | None = None
    answer_s3_key: str | None = None
    created_at: AwareDatetime
    ttl: EpochSeconds

    def sort_key(self) -> str:
        """Scope the key to its operation."""
        return self.SORT_PREFIX + f"{self.operation}#{self.idempotency_key}"


class KeySecret(BaseModel):
    """One secret of an API key, as its hash; `prefix` is the part of it that may be shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(repr=False)
    prefix: str
    until_at: AwareDatetime | None = None


class ApiKey(TenantItem):
    """A tenant's API key; what it is looked up by are the platform's key hashes, stored together with it."""

    TABLE = tables.API_KEYS
    SORT_PREFIX = "KEY#"

    key_id: KeyId
    label: str
    roles: frozenset[str]
    # The newest first; those that were replaced open the door until their time.
    secrets: tuple[KeySecret, ...]
    revoked_at: AwareDatetime | None = None
    # At the latest; written now and then.
    last_used_at: AwareDatetime | None = None
    # Rises with every change but that of its last use.
    version: int = Field(default=0, ge=0)
    created_at: AwareDatetime
    updated_at: AwareDatetime

    def sort_key(self) -> str:
        """Return the key's id."""
        return self.SORT_PREFIX + self.key_id

    def hashes(self) -> "tuple[KeyHash, ...]":
        """Return what the key is looked up by; nothing once it is revoked."""
        if self.revoked_at is not None:
            return ()
        return tuple(
            KeyHash(
                sha256=secret.sha256,
                tenant_id=self.tenant_id,
                key_id=self.key_id,
                roles=self.roles,
                expires_at=secret.until_at,
            )
            for secret in self.secrets
        )


class AuditedChange(BaseModel):
    """One field of what was changed; both values as JSON text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    before: str
    after: str


# `begun` stands before what cannot be stored together with its event; `allowed` or `failed` follows it.
Outcome: TypeAlias = Literal["allowed", "refused", "begun", "failed"]


class AuditEvent(TenantItem):
    """Something that happened to a tenant's data or standing, or the platform's, kept for good."""

    TABLE = tables.AUDIT
    SORT_PREFIX = "AUDIT#"

    audit_id: str
    actor: str
    # Of an actor that is a tenant's own; the platform's have none.
    acting_tenant: TenantId | None = None
    operation: str
    outcome: Outcome
    reason: str
    request_id: str | None = None
    target: str | None = None
    changes: tuple[AuditedChange, ...] = ()
    at: AwareDatetime

    def sort_key(self) -> str:
        """Return the event's id, which sorts by time."""
        return self.SORT_PREFIX + self.audit_id

    def index_keys(self) -> dict[str, str]:
        """Stand among what was refused anywhere, where it was."""
        return self._trail_keys(tables.REFUSALS) if self.outcome == "refused" else {}

    def _trail_keys(self, partition: str) -> dict[str, str]:
        moment = self.at.astimezone(UTC).isoformat(timespec="milliseconds")
        return {
            tables.TRAIL_INDEX.partition_key: partition,
            tables.TRAIL_INDEX.sort_key: f"{moment}#{self.tenant_id}#{self.sort_key()}",
        }


class AuditLink(AuditEvent):
    """An operator's act, linked to the one before it in its chain: `sha256` covers all of it and `previous`."""

    SORT_PREFIX = "LINK#"

    seq: int = Field(ge=1)
    previous: str
    sha256: str

    def sort_key(self) -> str:
        """Return the number in the chain."""
        return f"{self.SORT_PREFIX}{self.seq:012d}"

    def index_keys(self) -> dict[str, str]:
        """Stand among the acts of all operators."""
        return self._trail_keys(tables.ACTS)


class AuditHead(TenantItem):
    """The end of a chain: a chain that is shorter than this says has lost its end."""

    TABLE = tables.AUDIT
    SORT_PREFIX = "HEAD"

    seq: int = Field(ge=1)
    sha256: str

    def sort_key(self) -> str:
        """Return the fixed sort key."""
        return self.SORT_PREFIX

    def index_keys(self) -> dict[str, str]:
        """Stand among the ends of all chains, in the place that the first link gave it."""
        return {
            tables.TRAIL_INDEX.partition_key: tables.HEADS,
            tables.TRAIL_INDEX.sort_key: f"#{self.tenant_id}#{self.SORT_PREFIX}",
        }


class ToolOverride(TenantItem):
    """A tool granted to or withheld from one tenant, whatever its tier."""

    TABLE = tables.TOOL_OVERRIDES
    SORT_PREFIX = "TOOL#"

    tool: ToolName
    allowed: bool
    reason: str
    updated_at: AwareDatetime

    def sort_key(self) -> str:
        """Return the tool's name."""
        return self.SORT_PREFIX + self.tool


class ReleaseState(StrEnum):
    """How far an agent version is; only promoted ones are invokable."""

    BUILT = "built"
    DEPLOYED = "deployed"
    VERIFIED = "verified"
    EVALUATED = "evaluated"
    APPROVED = "approved"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    DISABLED = "disabled"


class AgentVersion(StoredItem):
    """One version of an agent: what it can do and which AgentCore runtime endpoint runs it."""

    TABLE = tables.AGENTS

    # Whose developers registered it; None: the platform's own.
    owner: TenantId | None = None
    name: AgentName
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    description: str = ""
    modes: frozenset[Mode] = Field(min_length=1)
    runtime_arn: str
    # The same version's runtimes in other regions, one in each; an ARN names its own.
    runtime_arns: tuple[str, ...] = Field(default=(), max_length=4)
    qualifier: str = "DEFAULT"
    tier_minimum: Tier = Tier.BASIC
    # Built with lockgate-kit: answers start, status and stop in-band. Async needs it.
    kit: bool = False
    restartable: bool = False
    state: ReleaseState
    body_limit_bytes: int = Field(default=1_048_576, ge=1, le=100_000_000)
    # The JSON Schema that inputs are held to; without one any JSON is taken.
    input_schema_json: str | None = None
    # Whether inputs that try to talk it out of its instructions are refused.
    prompt_guard: bool = False
    # The tools it may call for a tenant; without any it is given no token for the tools' door.
    tools: tuple[ToolName, ...] = Field(default=(), max_length=24)
    # What it costs; without one it is free.
    price: Price | None = None
    created_at: AwareDatetime

    @property
    def region(self) -> str:
        """The region of its runtime; empty where the ARN is none."""
        return region_of(self.runtime_arn)

    def pinned(self, region: str) -> Self:
        """Return the version as it runs in a region alone; where it has no runtime there, as it runs at home."""
        arn = next((arn for arn in self.runtime_arns if region_of(arn) == region), self.runtime_arn)
        return self.model_copy(update={"runtime_arn": arn, "runtime_arns": ()})

    def key(self) -> Key:
        """Return `AGENT#{name}` / `VERSION#{semver}`."""
        return agent_key(self.name, self.version)

    def index_keys(self) -> dict[str, str]:
        """Stand in the catalog for as long as the version is promoted, else in the registry."""
        padded = ".".join(part.zfill(6) for part in self.version.split("."))
        return {
            tables.CATALOG_INDEX.partition_key: "CATALOG" if self.state is ReleaseState.PROMOTED else "REGISTRY",
            tables.CATALOG_INDEX.sort_key: f"AGENT#{self.name}#VERSION#{padded}",
        }


class Tool(StoredItem):
    """A tool that agents may call on behalf of tenants of at least `tier_minimum`."""

    TABLE = tables.TOOLS

    name: ToolName
    description: str
    tier_minimum: Tier
    # What answers its calls, where that is (a URL, or a function's ARN), and what it is called there.
    backend: Literal["mcp", "http", "lambda"]
    target: str
    backend_name: str | None = None
    timeout_s: int = Field(ge=1, le=900)
    answer_limit_bytes: int = Field(ge=1, le=6_291_456)
    # How often each tenant may call it.
    calls_per_s: int = Field(default=10, ge=1)
    burst_calls: int = Field(default=20, ge=1)
    input_schema_json: str
    # Rises with every change.
    version: int = Field(default=0, ge=0)

    @property
    def called(self) -> str:
        """What its backend calls it."""
        return self.backend_name or self.name

    def key(self) -> Key:
        """Return the tool's key; all stand in one partition, so that they are one consistent read."""
        return Key(tables.TOOLS_PARTITION, f"TOOL#{self.name}")


class IdentityBinding(StoredItem):
    """Server-side proof of whom a directory's application speaks for; None is the platform itself (operators)."""

    TABLE = tables.IDENTITY_BINDINGS

    issuer: str
    directory: str
    client_id: str
    tenant_id: TenantId | None
    created_at: AwareDatetime

    def key(self) -> Key:
        """Return the key of this (issuer, tid, azp)."""
        return binding_key(self.issuer, self.directory, self.client_id)

    def index_keys(self) -> dict[str, str]:
        """Stand among its tenant's bindings; an operator's stands in no list."""
        if self.tenant_id is None:
            return {}
        return {
            tables.BOUND_INDEX.partition_key: bound_partition(self.tenant_id),
            tables.BOUND_INDEX.sort_key: self.key().partition,
        }


class KeyHash(StoredItem):
    """An API key's hash and the tenant it opens."""

    TABLE = tables.KEY_HASHES

    sha256: str = Field(repr=False)
    tenant_id: TenantId
    key_id: KeyId
    roles: frozenset[str]
    expires_at: AwareDatetime | None = None

    def key(self) -> Key:
        """Return the hash as key."""
        return key_hash_key(self.sha256)


class OpsLock(StoredItem):
    """A lease on one platform-wide operation; `fence` only ever rises."""

    TABLE = tables.OPS_LOCKS

    name: str
    holder: str | None
    record_version: str
    fence: int
    lease_s: int
    reason: str

    def key(self) -> Key:
        """Return `LOCK#{name}`."""
        return lock_key(self.name)


class ProcessLease(StoredItem):
    """What says that a process lives: it changes every few seconds, or the process is taken for dead."""

    TABLE = tables.OPS_LOCKS

    process: str = Field(pattern=r"^[0-9a-f]{16}$")
    record_version: str
    lease_s: int
    # How often it was found to have run out: from then on the process is dead, whatever it does.
    taken: int = 0
    # The region it serves, and of its calls there within a minute how many the region failed.
    region: str | None = None
    calls: int = 0
    faults: int = 0

    def key(self) -> Key:
        """Return the process's key; all stand in one partition, so that they are one consistent read."""
        return Key(tables.PROCESSES, f"PROCESS#{self.process}")


class ErasedPart(BaseModel):
    """How much a tenant had in one place when its erasure began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    items: int = Field(ge=0)


class Erasure(StoredItem):
    """A tenant's erasure: how far it is, and once it is over its certificate, for good."""

    TABLE = tables.ERASURES

    tenant_id: TenantId
    state: Literal["erasing", "erased"] = "erasing"
    actor: str
    reason: str
    request_id: str
    # Whether it began before the grace was over.
    forced: bool
    deleted_at: AwareDatetime
    began_at: AwareDatetime
    found: tuple[ErasedPart, ...]
    # Where the tenant's own audit chain ended: what proves an export of it.
    chain_seq: int = Field(default=0, ge=0)
    chain_sha256: str | None = None
    # How far the search of all that is stored has come without finding anything: a place, and where in it.
    surveyed: int = Field(default=0, ge=0)
    surveyed_to: str | None = None
    erased_at: AwareDatetime | None = None
    sha256: str | None = None
    # Rises with every change.
    version: int = Field(default=0, ge=0)

    def key(self) -> Key:
        """Return `ERASURE#{tenant}`."""
        return erasure_key(self.tenant_id)


class RegionFlag(StoredItem):
    """The region whose AgentCore serves invocations, written only with a current fence."""

    TABLE = tables.RUNTIME_REGION

    region: str
    # Of the lock under which it was written last: who holds an older one cannot write it any more.
    fence: int
    record_version: str
    changed_by: str
    reason: str
    changed_at: AwareDatetime

    def key(self) -> Key:
        """Return the one flag's key."""
        return region_key()


def region_of(arn: str) -> str:
    """Return the region that an ARN names."""
    return next(iter(arn.split(":")[3:4]), "")


def agent_key(name: AgentName, version: str) -> Key:
    """Return the key of one version of an agent."""
    return Key(f"AGENT#{name}", f"VERSION#{version}")


def binding_key(issuer: str, directory: str, client_id: str) -> Key:
    """Return the key of the binding of (issuer, tid, azp)."""
    return Key(f"BINDING#{issuer}#{directory}#{client_id}", "METADATA")


def key_hash_key(sha256: str) -> Key:
    """Return the key of an API key's hash."""
    return Key(f"KEYHASH#{sha256}", "METADATA")


def trail_key(place: str) -> Key:
    """Return the key of what stands at a place of the trail, `{time}#{tenant}#{sort key}`; raises InvalidIdError."""
    try:
        _, tenant, sort = place.split("#", 2)
    except ValueError:
        raise InvalidIdError("page position") from None
    return Key(tables.tenant_partition(TenantId(tenant)), sort)


def lock_key(name: str) -> Key:
    """Return the key of a platform-wide lease."""
    return Key(f"LOCK#{name}", "METADATA")


def region_key() -> Key:
    """Return the key of the one flag that says which region serves."""
    return Key("REGION#active", "METADATA")


def erasure_key(tenant_id: TenantId) -> Key:
    """Return the key of a tenant's erasure."""
    return Key(f"ERASURE#{tenant_id}", "METADATA")


def open_partition(process: str) -> str:
    """Return the index partition of what a process serves."""
    return f"OPEN#{process}"


def bound_partition(tenant_id: TenantId) -> str:
    """Return the index partition of a tenant's bindings."""
    return f"TENANT#{tenant_id}#BINDINGS"


def sweep_keys(record_id: str, next_tick_at: datetime | None, tenant_id: TenantId) -> dict[str, str]:
    """Return the sweeper's index keys of a record that is owed a tick at `next_tick_at`."""
    if next_tick_at is None:
        return {}
    shard = sum(f"{tenant_id}{record_id}".encode()) % tables.SWEEP_SHARDS
    return {
        tables.SWEEP_INDEX.partition_key: f"SWEEP#{shard}",
        tables.SWEEP_INDEX.sort_key: f"{next_tick_at.isoformat()}#{tenant_id}#{record_id}",
    }
