"""Botocore's errors as Lockgate's: the doors let no AWS error through that a caller is meant to handle."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from tenancy.errors import ConditionFailedError, LockgateError, StoreBusyError, StoreUnavailableError

_CONDITION: Final = "ConditionalCheckFailed"
_CONDITION_CODES: Final = frozenset({"ConditionalCheckFailedException", "PreconditionFailed"})
# What a later attempt may get past; a transaction tells its reasons in a list of its own, without "Exception".
_PASSING: Final = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_CONFLICTS: Final = frozenset({"TransactionConflict", "TransactionConflictException"})
_SERVER_FAULT: Final = 500
_BROKEN: Final = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    exceptions.ChecksumError,
    exceptions.FlexibleChecksumError,
    exceptions.CredentialRetrievalError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
)


@contextmanager
def store_faults() -> Iterator[None]:
    """Raise ConditionFailedError and StoreUnavailableError for what AWS or the network did; the rest is a bug."""
    try:
        yield
    except ClientError as error:
        translated = _translate(error)
        if translated is None:
            raise
        raise translated from error
    except _BROKEN as error:
        raise StoreUnavailableError from error


def repeated(error: LockgateError) -> bool:
    """Tell whether the answer that `error` stands for was one to a repeat of the call."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response["ResponseMetadata"].get("RetryAttempts", 0) > 0


def _translate(error: ClientError) -> LockgateError | None:
    code = error.response["Error"]["Code"]
    reasons = {reason.get("Code", "None") for reason in error.response.get("CancellationReasons", [])}
    if code in _CONDITION_CODES or _CONDITION in reasons:
        return ConditionFailedError()
    if code in _CONFLICTS or reasons & _CONFLICTS:
        return StoreBusyError()
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in _PASSING or reasons & _PASSING or status >= _SERVER_FAULT:
        return StoreUnavailableError()
    return None
