"""The tools of the seeded stack: what its tool server offers, each from the tier on that may call it."""

from typing import Final

import orjson

from tenancy.data_models import Tool
from tenancy.tiers import Tier

AGENT: Final = "tool-agent"
NAMES: Final = ("clock", "weather", "exchange_rate", "contact")
_LIMIT_BYTES: Final = 65_536


def tools(server: str) -> tuple[Tool, ...]:
    """Return the tools, at the tool server's base URL."""
    mcp = server + "/mcp"
    return (
        Tool(
            name="clock",
            description="Tells the time in UTC.",
            tier_minimum=Tier.BASIC,
            backend="mcp",
            target=mcp,
            timeout_s=5,
            answer_limit_bytes=_LIMIT_BYTES,
            input_schema_json=_schema(),
        ),
        Tool(
            name="weather",
            description="Tells what the sky over a city looks like.",
            tier_minimum=Tier.BASIC,
            backend="http",
            target=server + "/http/weather",
            timeout_s=5,
            answer_limit_bytes=_LIMIT_BYTES,
            input_schema_json=_schema("city"),
        ),
        Tool(
            name="exchange_rate",
            description="Tells what a pound is worth in a currency.",
            tier_minimum=Tier.STANDARD,
            backend="mcp",
            target=mcp,
            timeout_s=5,
            answer_limit_bytes=_LIMIT_BYTES,
            input_schema_json=_schema("currency"),
        ),
        Tool(
            name="contact",
            description="Finds a company's contact: name, e-mail address, telephone.",
            tier_minimum=Tier.PREMIUM,
            backend="mcp",
            target=mcp,
            timeout_s=5,
            answer_limit_bytes=_LIMIT_BYTES,
            input_schema_json=_schema("company"),
        ),
    )


def _schema(*names: str) -> str:
    properties = {name: {"type": "string", "maxLength": 100} for name in names}
    wanted = {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}
    return orjson.dumps(wanted).decode()
