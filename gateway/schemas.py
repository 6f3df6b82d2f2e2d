"""The wire models of the northbound API: JSON in camelCase, times RFC 3339 UTC.

What a view shows was checked when it came in: the shapes given here to what goes out describe it, and are not
checked again.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Generic, Literal, TypeVar

import orjson
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from gateway.errors import FieldFault, FieldsInvalidError
from tenancy.accounts import Standing
from tenancy.context import Principal, Role, TenantContext
from tenancy.data_models import (
    AgentVersion,
    Failure,
    InvocationRecord,
    JobRecord,
    Mode,
    Progress,
    Status,
    TenantStatus,
)
from tenancy.tiers import Tier

METADATA_LIMIT_BYTES = 4096
PAGE_MAX = 100


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _small(value: object) -> object:
    try:
        size_bytes = len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        # It reads deeper nesting than it writes.
        raise ValueError("must not be nested that deep") from None
    if size_bytes > METADATA_LIMIT_BYTES:
        raise ValueError(f"must be at most {METADATA_LIMIT_BYTES} bytes of JSON")
    return value


def shaped(pattern: str, max_length: int, example: str, description: str | None = None) -> WithJsonSchema:
    """Describe a text of a known shape."""
    said: dict[str, JsonValue] = {} if description is None else {"description": description}
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": max_length, "examples": [example]} | said)


def prose(max_length: int) -> WithJsonSchema:
    """Describe a text for people."""
    return WithJsonSchema({"type": "string", "format": "text", "maxLength": max_length})


# Every JSON reader holds whole numbers up to here exactly.
EXACT_MAX = 2**53 - 1
Count = Annotated[int, Field(json_schema_extra={"format": "int64", "minimum": 0, "maximum": EXACT_MAX})]
Money = Annotated[int, Field(strict=True, ge=0, le=EXACT_MAX, json_schema_extra={"format": "int64"})]
Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "maxLength": 24, "examples": ["2025-06-01T12:00:00.000Z"]}
    ),
]
AgentText = Annotated[str, shaped("^[a-z][a-z0-9-]{0,46}[a-z0-9]$", 48, "echo-agent", "An agent's name.")]
VersionText = Annotated[str, shaped(r"^[0-9]+\.[0-9]+\.[0-9]+$", 32, "1.0.0", "A semantic version.")]
TenantText = Annotated[str, shaped("^[a-z](?:[a-z0-9-]{1,30}[a-z0-9])$", 32, "acme", "A tenant's id.")]
InvocationText = Annotated[str, shaped("^inv_[0-9a-hjkmnp-tv-z]{26}$", 30, "inv_01jd3k5m7p9q1r3s5t7v9w1x3y")]
JobText = Annotated[str, shaped("^job_[0-9a-hjkmnp-tv-z]{26}$", 30, "job_01jd3k5m7p9q1r3s5t7v9w1x3y")]
WEBHOOK_PATTERN: Final = "^wh_[0-9a-hjkmnp-tv-z]{26}$"
WebhookText = Annotated[str, shaped(WEBHOOK_PATTERN, 29, "wh_01jd3k5m7p9q1r3s5t7v9w1x3y", "A webhook's id.")]
SessionText = Annotated[
    str, shaped("^[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}$", 100, "ses_" + "0123456789abcdef" * 3, "A session's id.")
]
RequestText = Annotated[str, shaped("^[A-Za-z0-9._:-]{1,128}$", 128, "req_01jd3k5m7p9q1r3s5t7v9w1x3y")]
CodeText = Annotated[
    str, shaped("^[a-z]+(?:_[a-z]+)*$", 64, "not_found", "Stable: programs branch on it. docs/ERRORS.md lists them.")
]
CursorText = Annotated[str, shaped("^[A-Za-z0-9_-]+$", 512, "WyJhY21lIiwiSk9CI2pvYl8wMSJd")]
# Measured first: to validate a megabyte of small values takes most of a second.
Metadata = Annotated[dict[str, JsonValue], BeforeValidator(_small)]
T = TypeVar("T")


class WireModel(BaseModel):
    """Base of everything that crosses the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> bytes:
        """Return the JSON body."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class HealthView(WireModel):
    """The process answers."""

    status: Literal["ok"]


class InvocationRequest(WireModel):
    """What an agent is invoked with.

    `POST /v1/agents/{agent}/invocations` takes it; `input` is passed on as it came.
    """

    input: object = Field(description="Any JSON; it reaches the agent as the bytes that came.")
    session_id: Annotated[str, Field(max_length=256, json_schema_extra={"format": "text"})] | None = Field(
        default=None,
        description="Goes on with a session this tenant was given; left out, a new one begins. Not for jobs.",
    )
    metadata: Metadata | None = Field(
        default=None, description=f"The caller's own, kept with the record: at most {METADATA_LIMIT_BYTES} bytes."
    )
    webhook_id: Annotated[str, Field(max_length=64, json_schema_extra={"format": "text"})] | None = Field(
        default=None, description="The endpoint that is told how the job ended."
    )
    budget_microusd: Money | None = Field(
        default=None, description="What it may cost, in millionths of a US dollar; see docs/USAGE.md. Not for jobs."
    )


class LimitsView(WireModel):
    """A tenant's ceilings; null means unlimited."""

    requests_per_second: Count
    burst_requests: Count
    invocations_per_day: Count | None
    concurrent_streams: Count
    running_jobs: Count
    replay_seconds: Count


class BudgetView(WireModel):
    """What the tenant may spend this month, in millionths of a US dollar; null: no ceiling, or it cannot be told."""

    monthly_microusd: Count | None
    spent_microusd: Count | None = None
    held_microusd: Count | None = None
    left_microusd: Count | None = None

    @classmethod
    def of(cls, monthly_microusd: int | None, standing: Standing | None) -> "BudgetView":
        """Show a budget and what is left of it."""
        spent, held, left = (None,) * 3 if standing is None else (standing.spent, standing.held, standing.left)
        return cls(monthly_microusd=monthly_microusd, spent_microusd=spent, held_microusd=held, left_microusd=left)


class TenantView(WireModel):
    """The caller's own tenant."""

    id: TenantText
    name: Annotated[str, prose(200)]
    tier: Tier
    status: TenantStatus


class MeView(WireModel):
    """Who is calling, and what it may use; an operator has no tenant."""

    principal: Annotated[str, prose(256)]
    client_id: Annotated[str, prose(256)]
    roles: Annotated[tuple[Role, ...], Field(json_schema_extra={"maxItems": len(Role)})]
    tenant: TenantView | None
    limits: LimitsView | None
    budget: BudgetView | None

    @classmethod
    def of(cls, principal: Principal, ctx: TenantContext | None, standing: Standing | None = None) -> "MeView":
        """Describe a principal and, unless it is the platform's own, its tenant."""
        roles = tuple(sorted(principal.roles))
        if ctx is None:
            return cls(
                principal=principal.subject,
                client_id=principal.client_id,
                roles=roles,
                tenant=None,
                limits=None,
                budget=None,
            )
        limits = ctx.limits
        return cls(
            principal=principal.subject,
            client_id=principal.client_id,
            roles=roles,
            tenant=TenantView(id=ctx.tenant_id, name=ctx.tenant.name, tier=ctx.tenant.tier, status=ctx.tenant.status),
            limits=LimitsView(
                requests_per_second=limits.requests_per_s,
                burst_requests=limits.burst_requests,
                invocations_per_day=limits.invocations_per_day,
                concurrent_streams=limits.concurrent_streams,
                running_jobs=limits.running_jobs,
                replay_seconds=limits.replay_s,
            ),
            budget=BudgetView.of(ctx.tenant.monthly_budget_microusd, standing),
        )

    def to_json(self) -> bytes:
        """Keep nulls: here they say "unlimited"."""
        return self.model_dump_json(by_alias=True).encode()


class AgentView(WireModel):
    """An agent this tenant may invoke."""

    name: AgentText
    version: VersionText
    description: Annotated[str, prose(4096)]
    modes: Annotated[tuple[Mode, ...], Field(json_schema_extra={"maxItems": len(Mode)})]
    tier_minimum: Tier
    body_limit_bytes: Count

    @classmethod
    def of(cls, agent: AgentVersion) -> "AgentView":
        """Describe an agent version without where it runs."""
        return cls(
            name=agent.name,
            version=agent.version,
            description=agent.description,
            modes=tuple(sorted(agent.modes, key=list(Mode).index)),
            tier_minimum=agent.tier_minimum,
            body_limit_bytes=agent.body_limit_bytes,
        )


class InvocationView(WireModel):
    """The record of one invocation."""

    invocation_id: InvocationText
    agent: AgentText
    agent_version: VersionText
    mode: Mode
    status: Status
    session_id: SessionText
    created_at: Timestamp
    ended_at: Timestamp | None = None
    cancel_requested_at: Timestamp | None = None
    error: Failure | None = None
    metadata: dict[str, JsonValue] | None = None
    chunks: Count
    answer_bytes: Count

    @classmethod
    def of(cls, record: InvocationRecord) -> "InvocationView":
        """Show a stored record."""
        return cls(
            invocation_id=record.invocation_id,
            agent=record.agent,
            agent_version=record.agent_version,
            mode=record.mode,
            status=record.status,
            session_id=record.session_id,
            created_at=record.created_at,
            ended_at=record.ended_at,
            cancel_requested_at=record.cancel_requested_at,
            error=record.error,
            metadata=_metadata(record.metadata_json),
            chunks=record.chunks,
            answer_bytes=record.answer_bytes,
        )


class JobView(WireModel):
    """One job as it stands; `cancelRequestedAt` where it has been told to stop."""

    job_id: JobText
    agent: AgentText
    agent_version: VersionText
    status: Status
    run: Count
    progress: Progress | None = None
    error: Failure | None = None
    metadata: dict[str, JsonValue] | None = None
    webhook_id: WebhookText | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    cancel_requested_at: Timestamp | None = None
    deadline_at: Timestamp

    @classmethod
    def of(cls, job: JobRecord) -> "JobView":
        """Show a stored job."""
        return cls(
            job_id=job.job_id,
            agent=job.agent,
            agent_version=job.agent_version,
            status=job.status,
            run=job.run,
            progress=job.progress,
            error=job.error,
            metadata=_metadata(job.metadata_json),
            webhook_id=job.webhook_id,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            cancel_requested_at=job.cancel_requested_at,
            deadline_at=job.deadline_at,
        )


class JobDetailView(JobView):
    """One job as it stands, with the agent's own JSON as its result once it has succeeded.

    A large result has a link besides, good until `resultUrlExpiresAt`, and a very large one that alone. `job_json`
    writes it: the result is spliced in, never taken apart.
    """

    result: JsonValue = None
    result_url: Annotated[str, Field(json_schema_extra={"format": "uri", "maxLength": 4096})] | None = None
    result_url_expires_at: Timestamp | None = None


class ResultLink(WireModel):
    """Where a large result can be read by whoever has the link, and until when."""

    result_url: str
    result_url_expires_at: Timestamp


class JobAccepted(WireModel):
    """The answer to an invocation that became a job."""

    job_id: JobText
    status: Status
    agent: AgentText
    created_at: Timestamp


class PageView(WireModel, Generic[T]):
    """One page of a list; `nextCursor` is absent on the last."""

    items: Annotated[tuple[T, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None


def job_json(job: JobRecord, result: bytes | None, link: ResultLink | None = None) -> bytes:
    """Return a job's JSON with its result, byte for byte what the agent answered, and the link to a large one."""
    view = JobView.of(job).to_json()
    if link is not None:
        view = view[:-1] + b"," + link.to_json()[1:]
    return view if result is None else view[:-1] + b',"result":' + result + b"}"


def field_faults(errors: list[dict[str, object]]) -> FieldsInvalidError:
    """Turn pydantic's findings into faults that name the field and never quote what was sent."""
    return FieldsInvalidError(_fault(error) for error in errors)


def _fault(error: dict[str, object]) -> FieldFault:
    loc = error["loc"]
    path = loc if isinstance(loc, tuple) else ()
    return FieldFault(_pointer(path), str(error["msg"]).removeprefix("Value error, "))


def _pointer(path: tuple[object, ...]) -> str:
    # Beyond the first level, names are the caller's own.
    return "/" + str(path[0]) if path else ""


def _metadata(text: str | None) -> dict[str, JsonValue] | None:
    if text is None:
        return None
    loaded: dict[str, JsonValue] = orjson.loads(text)
    return loaded
