"""What Lockgate and an agent built with lockgate-kit say to each other on an ordinary invocation.

Control travels in headers that AgentCore hands on only when the runtime allow-lists them and that Lockgate alone
sets: a tenant's input can never forge them.
"""

import re
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from agents.errors import RuntimeBrokenError
from agents.invocation import AgentUsage
from tenancy.data_models import Progress

CUSTOM_PREFIX: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Lockgate-"
ACTION_HEADER: Final = CUSTOM_PREFIX + "Action"
REF_HEADER: Final = CUSTOM_PREFIX + "Ref"
TOKEN_HEADER: Final = CUSTOM_PREFIX + "Token"
# What a runtime must allow-list for its agent to be driven by Lockgate.
ALLOWED_HEADERS: Final = (ACTION_HEADER, REF_HEADER, TOKEN_HEADER)

# The kit writes `result` last, so that its bytes can be taken as they are. An unescaped quote before a colon can only
# end a key, and no object before it has this one: the first hit is the key itself.
_RESULT: Final = b', "result": '


# How an agent says on an ordinary answer what its models used: a parameter of its content type, which AgentCore hands
# on as the agent wrote it; and between a stream's events a comment, which no reader of events sees.
_USAGE: Final = re.compile(r'; *lockgate-usage="?([0-9]{1,15})-([0-9]{1,15})"?', re.ASCII)
_USAGE_COMMENT: Final = re.compile(rb": ?lockgate-usage ([0-9]{1,15})-([0-9]{1,15})")


def usage_in(content_type: str) -> AgentUsage | None:
    """Return what an answer's content type says that its models used."""
    found = _USAGE.search(content_type)
    return None if found is None else AgentUsage(int(found[1]), int(found[2]))


def usage_of(comment: bytes) -> AgentUsage | None:
    """Return what a comment of an event stream says that the agent's models have used so far."""
    found = _USAGE_COMMENT.fullmatch(comment)
    return None if found is None else AgentUsage(int(found[1]), int(found[2]))


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="ignore")


class JobError(_Told):
    """What the agent's code raised; for logs, never for callers."""

    type: str = Field(max_length=100)
    message: str = Field(max_length=500)


class TokenUsage(_Told):
    """Tokens the agent says its models used."""

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class InbandStatus(_Told):
    """How the work named `ref` stands in the process `boot_id`; "unknown" means that process never had it."""

    boot_id: str = Field(min_length=1, max_length=100)
    ref: str = Field(max_length=100)
    state: Literal["running", "succeeded", "failed", "cancelled", "unknown"]
    ping: Literal["Healthy", "HealthyBusy"]
    progress: Progress | None = None
    error: JobError | None = None
    usage: TokenUsage | None = None
    # The agent's own JSON, byte for byte; `null` unless it succeeded.
    result_json: bytes = b"null"


def parse_status(body: bytes) -> InbandStatus:
    """Read an answer to start, status or stop; raises RuntimeBrokenError if it is not the kit's."""
    head, found, result = body.rpartition(b"}")[0].partition(_RESULT)
    try:
        if not found:
            raise RuntimeBrokenError("an in-band answer without a result")
        orjson.loads(result)
        status = InbandStatus.model_validate_json(head + b"}")
    except (orjson.JSONDecodeError, ValidationError) as error:
        # The cause may quote the answer: it stays out of the chain, and so out of logs.
        raise RuntimeBrokenError("not an in-band answer: " + type(error).__name__) from None
    return status.model_copy(update={"result_json": result})
