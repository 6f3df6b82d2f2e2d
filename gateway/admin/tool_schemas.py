"""The wire models of tools: as operators register them, and as one tenant may call them."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import Field, JsonValue, ValidationInfo, field_validator

from gateway.admin.schemas import Reason
from gateway.fields import INTEGRAL, Line, never_null, said
from gateway.interceptors.errors import SchemaRefusedError
from gateway.interceptors.input_schema import InputSchema
from gateway.schemas import PAGE_MAX, Count, CursorText, Timestamp, WireModel, prose, shaped
from tenancy.data_models import Tool, ToolOverride
from tenancy.tiers import Tier

TOOL_PATTERN: Final = "^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$"
ToolText = Annotated[str, shaped(TOOL_PATTERN, 64, "exchange_rate", "A tool's name.")]
Backend = Literal["mcp", "http", "lambda"]
_URL: Final = r"https?://[^\s/?#@]+(?:[/?][^\s#]*)?"
_FUNCTION: Final = r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}(?::[A-Za-z0-9$_-]{1,128})?"
_TARGET: Final = rf"^(?:{_URL}|{_FUNCTION})$"
_FUNCTIONS_BEGIN: Final = "arn:"


def _reachable(url: str) -> bool:
    """Tell whether a URL names something that can be connected to at all."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        return False


def _whole(least: int, most: int) -> object:
    return Field(strict=True, ge=least, le=most, json_schema_extra={"format": "int64"})


class ToolRequest(WireModel):
    """A tool as it is to be, whole: what is left out is as it is by default, whatever it was before."""

    description: Annotated[Line, Field(max_length=4096, description="What it does; models choose tools by it.")]
    tier_minimum: Annotated[Tier, Field(description="The lowest tier that may call it.")]
    backend: Backend
    target: Annotated[
        str, Field(max_length=1024, pattern=_TARGET, description="A URL, or for `lambda` the ARN of a function.")
    ]
    backend_name: Annotated[str, Field(max_length=128, pattern="^[A-Za-z0-9_.-]{1,128}$")] | None = Field(
        default=None, description="What it is called there, where that is another name.", json_schema_extra=never_null
    )
    timeout_seconds: Annotated[int, _whole(1, 900), INTEGRAL] = 30
    answer_limit_bytes: Annotated[int, _whole(1, 6_291_456), INTEGRAL] = 1_048_576
    calls_per_second: Annotated[int, _whole(1, 100_000), INTEGRAL] = 10
    burst_calls: Annotated[int, _whole(1, 1_000_000), INTEGRAL] = 20
    input_schema: dict[str, JsonValue] = Field(
        description="The JSON Schema of its arguments: of an object, without references to elsewhere.",
    )
    version: Annotated[int, _whole(0, 10**9), INTEGRAL] | None = Field(
        default=None,
        description="The version that was looked at: where the tool has another by now, nothing is changed.",
    )
    reason: Reason

    _said = field_validator("backend_name", mode="before")(said)

    @field_validator("target")
    @classmethod
    def _of_its_backend(cls, target: str, told: ValidationInfo) -> str:
        function = target.startswith(_FUNCTIONS_BEGIN)
        if "backend" in told.data and function != (told.data["backend"] == "lambda"):
            raise ValueError("must be the ARN of a function for `lambda`, and a URL for the others")
        if not function and not _reachable(target):
            raise ValueError("must name a host, and a port from 1 to 65535 if any")
        return target

    @field_validator("input_schema")
    @classmethod
    def _usable(cls, schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if schema.get("type") != "object":
            raise ValueError("must be of `type` object: arguments have names")
        try:
            InputSchema(orjson.dumps(schema).decode())
        except SchemaRefusedError:
            raise ValueError("is no JSON Schema that can be used") from None
        return schema

    def registered(self, name: str, version: int) -> Tool:
        """Return the tool as it is stored."""
        return Tool(
            name=name,
            description=self.description,
            tier_minimum=self.tier_minimum,
            backend=self.backend,
            target=self.target,
            backend_name=self.backend_name,
            timeout_s=self.timeout_seconds,
            answer_limit_bytes=self.answer_limit_bytes,
            calls_per_s=self.calls_per_second,
            burst_calls=self.burst_calls,
            input_schema_json=orjson.dumps(self.input_schema).decode(),
            version=version,
        )


class ToolView(WireModel):
    """A tool as it is registered; `version` rises with every change."""

    name: ToolText
    description: Annotated[str, prose(4096)]
    tier_minimum: Tier
    backend: Backend
    target: Annotated[str, prose(1024)]
    backend_name: Annotated[str, prose(128)] | None = None
    timeout_seconds: Count
    answer_limit_bytes: Count
    calls_per_second: Count
    burst_calls: Count
    input_schema: dict[str, JsonValue] = Field(json_schema_extra={"maxProperties": 1000})
    version: Count

    @classmethod
    def of(cls, tool: Tool) -> "ToolView":
        """Show a stored tool."""
        return cls(
            name=tool.name,
            description=tool.description,
            tier_minimum=tool.tier_minimum,
            backend=tool.backend,
            target=tool.target,
            backend_name=tool.backend_name,
            timeout_seconds=tool.timeout_s,
            answer_limit_bytes=tool.answer_limit_bytes,
            calls_per_second=tool.calls_per_s,
            burst_calls=tool.burst_calls,
            input_schema=orjson.loads(tool.input_schema_json),
            version=tool.version,
        )


class ToolsView(WireModel):
    """One page of all tools, by name; `nextCursor` is absent on the last."""

    items: Annotated[tuple[ToolView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None


class ToolExceptionRequest(WireModel):
    """Whether a tenant may call a tool, whatever its tier."""

    allowed: Annotated[bool, Field(strict=True)]
    reason: Reason


class ToolExceptionView(WireModel):
    """What was granted or withheld, why and when."""

    allowed: bool
    reason: Annotated[str, prose(500)]
    updated_at: Timestamp

    @classmethod
    def of(cls, override: ToolOverride) -> "ToolExceptionView":
        """Show a stored exception."""
        return cls(allowed=override.allowed, reason=override.reason, updated_at=override.updated_at)


class TenantToolView(WireModel):
    """A tool for one tenant; without an `exception` its tier decides."""

    tool: ToolText
    allowed: bool
    tier_minimum: Tier
    exception: ToolExceptionView | None = None

    @classmethod
    def of(cls, tool: Tool, override: ToolOverride | None, *, allowed: bool) -> "TenantToolView":
        """Show whether a tenant may call a tool."""
        exception = None if override is None else ToolExceptionView.of(override)
        return cls(tool=tool.name, allowed=allowed, tier_minimum=tool.tier_minimum, exception=exception)


class TenantToolsView(WireModel):
    """One page of all tools as one tenant may call them, by name; `nextCursor` is absent on the last."""

    items: Annotated[tuple[TenantToolView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    next_cursor: CursorText | None = None
