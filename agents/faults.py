"""AgentCore's refusals as typed errors.

AgentCore names its errors in `x-amzn-ErrorType`; where that is missing the status decides. Whether a fault tells that
nothing ran is the error class's own word.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from agents.errors import (
    AgentFailedError,
    RuntimeBrokenError,
    RuntimeBusyError,
    RuntimeFaultError,
    RuntimeMissingError,
    RuntimeQuotaError,
    RuntimeRefusedError,
    RuntimeThrottledError,
    RuntimeTimeoutError,
)
from agents.exchange import Exchange

_ERROR_TYPE_HEADER: Final = b"x-amzn-errortype"
_BODY_LIMIT_BYTES: Final = 4096
_TEXT_LIMIT: Final = 200

_BY_TYPE: Final[Mapping[str, type[RuntimeFaultError]]] = {
    "AccessDeniedException": RuntimeRefusedError,
    "ConflictException": RuntimeBusyError,
    "InternalServerException": RuntimeBrokenError,
    "ResourceNotFoundException": RuntimeMissingError,
    "RetryableConflictException": RuntimeBusyError,
    "RuntimeClientError": AgentFailedError,
    "ServiceQuotaExceededException": RuntimeQuotaError,
    "ThrottlingException": RuntimeThrottledError,
    "UnauthorizedException": RuntimeRefusedError,
    "ValidationException": RuntimeRefusedError,
}
_BY_STATUS: Final[Mapping[int, type[RuntimeFaultError]]] = {
    400: RuntimeRefusedError,
    401: RuntimeRefusedError,
    402: RuntimeQuotaError,
    403: RuntimeRefusedError,
    404: RuntimeMissingError,
    409: RuntimeBusyError,
    424: AgentFailedError,
    429: RuntimeThrottledError,
    504: RuntimeTimeoutError,
}
# AgentCore's messages of these are fixed sentences; others may quote what was sent.
_QUOTABLE: Final = frozenset({402, 409, 424, 429})


async def refusal(answer: Exchange) -> RuntimeFaultError:
    """Return what an answer other than 200 means, and let go of it. The error's text is for logs only."""
    # A type may carry its schema's address: `ValidationException:http://…`.
    name = (answer.header(_ERROR_TYPE_HEADER) or "").partition(":")[0][:_TEXT_LIMIT]
    kind = _BY_TYPE.get(name) or _BY_STATUS.get(answer.status, RuntimeBrokenError)
    said = await _message(answer) if answer.status in _QUOTABLE else ""
    answer.close()
    return kind(f"{answer.status} {name} {said}".strip())


async def _message(answer: Exchange) -> str:
    body = b""
    try:
        while len(body) < _BODY_LIMIT_BYTES and (part := await answer.part()):
            body += part
        told = orjson.loads(body)
    except (orjson.JSONDecodeError, RuntimeFaultError):
        # The status and the type have said enough.
        return ""
    message = told.get("message") if isinstance(told, dict) else None
    return message[:_TEXT_LIMIT] if isinstance(message, str) else ""
