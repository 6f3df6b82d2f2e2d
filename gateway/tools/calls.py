"""One call of a tool, what it comes to, and the protocol of whatever carries it to what answers it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from gateway.tools.messages import Json
from tenancy.data_models import Tool
from tenancy.ids import TenantId


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that was permitted; `arguments` are of the tool's own shape.

    `assertion` is signed and says who calls, for the tool alone; None where the deployment has no keys.
    """

    tool: Tool
    arguments: Mapping[str, Json]
    tenant_id: TenantId
    invocation: str | None
    agent: str | None
    assertion: str | None

    def headers(self) -> dict[str, str]:
        """Return the headers that tell an HTTP tool of who calls."""
        told = {"Content-Type": "application/json", "X-Lockgate-Tenant": self.tenant_id}
        if self.assertion is not None:
            told["Authorization"] = f"Bearer {self.assertion}"
        if self.invocation is not None:
            told["X-Lockgate-Invocation"] = self.invocation
        if self.agent is not None:
            told["X-Lockgate-Agent"] = self.agent
        return told


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered: MCP content blocks, a JSON value besides, and whether that tells of a failure."""

    content: list[Json]
    structured: Json = None
    is_error: bool = False

    @classmethod
    def text(cls, text: str, *, structured: Json = None, is_error: bool = False) -> "ToolResult":
        """Return a result of one text."""
        return cls([{"type": "text", "text": text}], structured, is_error)

    def to_json(self, *, stateless: bool) -> bytes:
        """Return the result as an MCP message carries it."""
        told: dict[str, Json] = {"content": self.content, "isError": self.is_error}
        if isinstance(self.structured, dict) or (stateless and self.structured is not None):
            told["structuredContent"] = self.structured
        return orjson.dumps(told | ({"resultType": "complete"} if stateless else {}))


class Backend(Protocol):
    """Carries a call to what answers it, which takes as long as it may. Raises ToolFaultError."""

    async def __call__(self, call: ToolCall) -> ToolResult:
        """Return what it answered."""
        ...
