"""The wire models of the northbound API: JSON in camelCase, times RFC 3339 UTC."""

from datetime import UTC, datetime
from typing import Annotated, Generic, Literal, TypeVar

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel

from gateway.errors import FieldFault, FieldsInvalidError
from tenancy.context import Principal, TenantContext
from tenancy.data_models import AgentVersion, Failure, InvocationRecord, JobRecord, Mode, Progress, Status, TenantStatus
from tenancy.tiers import Tier

METADATA_LIMIT_BYTES = 4096


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _small(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if len(orjson.dumps(value)) > METADATA_LIMIT_BYTES:
        raise ValueError(f"must be at most {METADATA_LIMIT_BYTES} bytes of JSON")
    return value


Timestamp = Annotated[AwareDatetime, PlainSerializer(_rfc3339, return_type=str)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_small)]
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
    """What `POST /v1/agents/{agent}/invocations` takes beside `input`, which is any JSON and passed on as it came."""

    input: object
    session_id: str | None = Field(default=None, max_length=256)
    metadata: Metadata | None = None
    webhook_id: str | None = Field(default=None, max_length=64)


class LimitsView(WireModel):
    """A tenant's ceilings; null means unlimited."""

    requests_per_second: int
    burst_requests: int
    invocations_per_day: int | None
    concurrent_streams: int
    running_jobs: int
    replay_seconds: int


class BudgetView(WireModel):
    """What the tenant may spend this month; null means no ceiling."""

    monthly_microusd: int | None


class TenantView(WireModel):
    """The caller's own tenant."""

    id: str
    name: str
    tier: Tier
    status: TenantStatus


class MeView(WireModel):
    """Who is calling, and what it may use; an operator has no tenant."""

    principal: str
    client_id: str
    roles: tuple[str, ...]
    tenant: TenantView | None = None
    limits: LimitsView | None = None
    budget: BudgetView | None = None

    @classmethod
    def of(cls, principal: Principal, ctx: TenantContext | None) -> "MeView":
        """Describe a principal and, unless it is the platform's own, its tenant."""
        roles = tuple(sorted(principal.roles))
        if ctx is None:
            return cls(principal=principal.subject, client_id=principal.client_id, roles=roles)
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
            budget=BudgetView(monthly_microusd=ctx.tenant.monthly_budget_microusd),
        )

    def to_json(self) -> bytes:
        """Keep nulls: here they say "unlimited"."""
        return self.model_dump_json(by_alias=True).encode()


class AgentView(WireModel):
    """An agent this tenant may invoke."""

    name: str
    version: str
    description: str
    modes: tuple[Mode, ...]
    tier_minimum: Tier
    body_limit_bytes: int

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

    invocation_id: str
    agent: str
    agent_version: str
    mode: Mode
    status: Status
    session_id: str
    created_at: Timestamp
    ended_at: Timestamp | None = None
    cancel_requested_at: Timestamp | None = None
    error: Failure | None = None
    metadata: dict[str, JsonValue] | None = None
    chunks: int
    answer_bytes: int

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
    """One job as it stands; its `result` is spliced in as the agent's own JSON (see `job_json`)."""

    job_id: str
    agent: str
    agent_version: str
    status: Status
    run: int
    progress: Progress | None = None
    error: Failure | None = None
    metadata: dict[str, JsonValue] | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
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
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            deadline_at=job.deadline_at,
        )


class JobDetailView(JobView):
    """One job with its result, which is the agent's own JSON."""

    result: JsonValue = None


class JobAccepted(WireModel):
    """The answer to an invocation that became a job."""

    job_id: str
    status: Status
    agent: str
    created_at: Timestamp


class PageView(WireModel, Generic[T]):
    """One page of a list; `nextCursor` is absent on the last."""

    items: tuple[T, ...]
    next_cursor: str | None = None


def job_json(job: JobRecord, result: bytes | None) -> bytes:
    """Return a job's JSON with its result, byte for byte what the agent answered."""
    view = JobView.of(job).to_json()
    return view if result is None else view[:-1] + b',"result":' + result + b"}"


def field_faults(errors: list[dict[str, object]]) -> FieldsInvalidError:
    """Turn pydantic's findings into faults that name the field and never quote what was sent."""
    return FieldsInvalidError(_fault(error) for error in errors)


def _fault(error: dict[str, object]) -> FieldFault:
    loc = error["loc"]
    path = loc if isinstance(loc, tuple) else ()
    if error["type"] == "extra_forbidden":
        # The name of an unknown field is the caller's own text: it stays out of the answer.
        return FieldFault(_pointer(path[:-1]), "has a member that is not known")
    return FieldFault(_pointer(path), str(error["msg"]).removeprefix("Value error, "))


def _pointer(path: tuple[object, ...]) -> str:
    # Beyond the first level, names are the caller's own.
    return "/" + str(path[0]) if path else ""


def _metadata(text: str | None) -> dict[str, JsonValue] | None:
    if text is None:
        return None
    loaded: dict[str, JsonValue] = orjson.loads(text)
    return loaded
