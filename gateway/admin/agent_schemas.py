"""The wire models of the agent registry: versions as they are registered and as they are seen there."""

from datetime import datetime
from typing import Annotated, Final, Literal

import orjson
from pydantic import Field, JsonValue, field_validator, model_validator

from gateway.admin.schemas import Reason
from gateway.fields import INTEGRAL, Line, never_null, said
from gateway.interceptors.errors import SchemaRefusedError
from gateway.interceptors.input_schema import InputSchema
from gateway.schemas import (
    PAGE_MAX,
    AgentText,
    Count,
    CursorText,
    TenantText,
    Timestamp,
    VersionText,
    WireModel,
    prose,
)
from tenancy.data_models import AgentVersion, Mode, ReleaseState, ToolName
from tenancy.ids import AgentName, TenantId
from tenancy.prices import Price
from tenancy.tiers import Tier

ARN_PATTERN: Final = r"^arn:aws[a-z-]*:bedrock-agentcore:[a-z0-9-]+:[0-9]{12}:runtime/[A-Za-z0-9_-]{1,128}$"
VERSION_PATTERN: Final = r"^(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){2}$"
_AGENT: Final = "^[a-z][a-z0-9-]{0,46}[a-z0-9]$"
_TEN_YEARS_OF_TOKENS: Final = 10**12
Rate = Annotated[
    int, Field(strict=True, ge=0, le=_TEN_YEARS_OF_TOKENS, json_schema_extra={"format": "int64"}), INTEGRAL
]
# What a pipeline moves a version to; the others have verbs of their own.
Step = Literal["deployed", "verified", "evaluated", "approved", "failed"]


class PriceRequest(WireModel):
    """What a version costs, in millionths of a US dollar; what is left out costs nothing."""

    invocation_microusd: Rate = 0
    input_1k_microusd: Rate = 0
    output_1k_microusd: Rate = 0
    runtime_s_microusd: Rate = 0


class NewVersionRequest(WireModel):
    """A version of an agent to be registered, as built."""

    name: Annotated[str, Field(max_length=48, pattern=_AGENT)]
    version: Annotated[str, Field(max_length=20, pattern=VERSION_PATTERN)]
    description: Annotated[Line, Field(max_length=4096)]
    modes: Annotated[frozenset[Mode], Field(min_length=1, json_schema_extra={"maxItems": len(Mode)})]
    runtime_arn: Annotated[str, Field(max_length=256, pattern=ARN_PATTERN)]
    runtime_arns: Annotated[
        tuple[Annotated[str, Field(max_length=256, pattern=ARN_PATTERN)], ...],
        Field(max_length=4, description="Its runtimes in other regions, which agents may fail over to."),
    ] = ()
    qualifier: Annotated[str, Field(max_length=48, pattern="^[A-Za-z][A-Za-z0-9_]{0,47}$")] = "DEFAULT"
    tier_minimum: Tier = Tier.BASIC
    kit: bool = Field(default=False, description="Built with lockgate-kit; `async` needs it.")
    restartable: bool = False
    body_limit_bytes: Annotated[
        int, Field(strict=True, ge=1, le=100_000_000, json_schema_extra={"format": "int64"}), INTEGRAL
    ] = 1_048_576
    input_schema: dict[str, JsonValue] | None = Field(
        default=None, description="The JSON Schema that inputs are held to.", json_schema_extra=never_null
    )
    prompt_guard: bool = False
    tools: Annotated[tuple[Annotated[ToolName, Field(max_length=64)], ...], Field(max_length=24)] = ()
    price: PriceRequest | None = Field(default=None, json_schema_extra=never_null)
    reason: Reason

    _said = field_validator("input_schema", "price", mode="before")(said)

    @field_validator("input_schema")
    @classmethod
    def _usable(cls, schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            InputSchema(orjson.dumps(schema).decode())
        except SchemaRefusedError:
            raise ValueError("is no JSON Schema that can be used") from None
        return schema

    @model_validator(mode="after")
    def _async_by_the_kit(self) -> "NewVersionRequest":
        if Mode.ASYNC in self.modes and not self.kit:
            raise ValueError("the async mode needs an agent built with the kit")
        return self

    def registered(self, owner: TenantId | None, now: datetime) -> AgentVersion:
        """Return the version as it is stored."""
        told = self.model_dump(exclude={"reason", "input_schema", "price", "name"})
        return AgentVersion(
            **told,
            name=AgentName(self.name),
            owner=owner,
            input_schema_json=None if self.input_schema is None else orjson.dumps(self.input_schema).decode(),
            price=None if self.price is None else Price(**self.price.model_dump()),
            state=ReleaseState.BUILT,
            created_at=now,
        )


class StepRequest(WireModel):
    """The state that a version has reached."""

    state: Step
    reason: Reason


class VersionView(WireModel):
    """A version as its registry shows it; `owner` is absent where it is the platform's own."""

    name: AgentText
    version: VersionText
    state: ReleaseState
    owner: TenantText | None = None
    description: Annotated[str, prose(4096)]
    modes: Annotated[tuple[Mode, ...], Field(json_schema_extra={"maxItems": len(Mode)})]
    runtime_arn: Annotated[str, prose(256)]
    runtime_arns: Annotated[tuple[Annotated[str, prose(256)], ...], Field(json_schema_extra={"maxItems": 4})] = ()
    qualifier: Annotated[str, prose(48)]
    tier_minimum: Tier
    kit: bool
    restartable: bool
    body_limit_bytes: Count
    input_schema: dict[str, JsonValue] | None = Field(default=None, json_schema_extra={"maxProperties": 1000})
    prompt_guard: bool
    tools: Annotated[tuple[Annotated[str, prose(64)], ...], Field(json_schema_extra={"maxItems": 24})]
    price: PriceRequest | None = None
    created_at: Timestamp

    @classmethod
    def of(cls, version: AgentVersion) -> "VersionView":
        """Show a stored version."""
        told = version.model_dump(exclude={"modes", "input_schema_json", "price"})
        schema, price = version.input_schema_json, version.price
        return cls(
            **told,
            modes=tuple(sorted(version.modes, key=list(Mode).index)),
            input_schema=None if schema is None else orjson.loads(schema),
            price=None if price is None else PriceRequest(**price.model_dump()),
        )


class VersionsView(WireModel):
    """One page of versions, by name and then the newest first; `nextCursor` is absent on the last."""

    items: Annotated[tuple[VersionView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None
