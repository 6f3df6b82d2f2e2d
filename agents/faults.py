"""AgentCore's refusals and the network's failures as typed errors.

AgentCore names its errors in `x-amzn-ErrorType`; where that is missing the status decides. Whether a fault tells that
nothing ran is the error class's own word.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import aiohttp
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
    RuntimeUnreachableError,
    StreamInterruptedError,
)

ERROR_TYPE_HEADER: Final = "x-amzn-ErrorType"
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


async def refusal(response: aiohttp.ClientResponse) -> RuntimeFaultError:
    """Return what an answer other than 200 means, its connection given back. The error's text is for logs only."""
    # A type may carry its schema's address: `ValidationException:http://…`.
    name = response.headers.get(ERROR_TYPE_HEADER, "").partition(":")[0][:_TEXT_LIMIT]
    kind = _BY_TYPE.get(name) or _BY_STATUS.get(response.status, RuntimeBrokenError)
    said = await _message(response) if response.status in _QUOTABLE else ""
    response.release()
    return kind(f"{response.status} {name} {said}".strip())


@contextmanager
def sending() -> Iterator[None]:
    """Turn failures before an answer has begun into RuntimeFaultErrors."""
    try:
        yield
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
        raise RuntimeUnreachableError(type(error).__name__) from error
    except TimeoutError as error:
        raise RuntimeTimeoutError from error
    except (aiohttp.ClientError, OSError) as error:
        # Sent, at least in part: the agent may have run.
        raise RuntimeBrokenError(type(error).__name__) from error


@contextmanager
def reading() -> Iterator[None]:
    """Turn failures in the middle of an answer into RuntimeFaultErrors."""
    try:
        yield
    except TimeoutError as error:
        raise RuntimeTimeoutError from error
    except (aiohttp.ClientError, OSError) as error:
        raise StreamInterruptedError(type(error).__name__) from error


async def _message(response: aiohttp.ClientResponse) -> str:
    try:
        told = orjson.loads(await response.content.read(_BODY_LIMIT_BYTES))
    except (orjson.JSONDecodeError, aiohttp.ClientError, OSError):
        # The status and the type have said enough.
        return ""
    message = told.get("message") if isinstance(told, dict) else None
    return message[:_TEXT_LIMIT] if isinstance(message, str) else ""
