"""Every answer of the local AgentCore that is not a success, as AWS's exception name, status and message.

The messages are AWS's own where they are known; an agent's own error body never becomes part of one.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tenancy.errors import LockgateError


class PortTakenError(LockgateError):
    """Something else listens where the runtime should."""

    code = "port_taken"


class RuntimeApiError(LockgateError):
    """Root of the errors that travel to a caller; `kind` goes into `x-amzn-ErrorType`."""

    code = "agentcore_error"
    status: ClassVar[int] = 500
    kind: ClassVar[str] = "InternalServerException"

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> Mapping[str, object]:
        """Return the JSON document of the answer."""
        return {"message": self.message}


class InvalidRequestError(RuntimeApiError):
    """400 ValidationException; `fields` are (name, message) pairs."""

    status = 400
    kind = "ValidationException"

    def __init__(
        self, message: str, *, reason: str = "FieldValidationFailed", fields: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.fields = tuple(fields)

    def body(self) -> Mapping[str, object]:
        """Return the message, AWS's reason and the offending fields."""
        listed = [{"name": name, "message": message} for name, message in self.fields]
        return {"message": self.message, "reason": self.reason} | ({"fieldList": listed} if listed else {})


class UnauthorizedError(RuntimeApiError):
    """401: a bearer-token runtime was called without a good token."""

    status = 401
    kind = "UnauthorizedException"


class QuotaExceededError(RuntimeApiError):
    """402: the account's active sessions (or runtimes, or endpoints) are used up."""

    status = 402
    kind = "ServiceQuotaExceededException"


class AccessDeniedError(RuntimeApiError):
    """403: signed or authorised in another way than the runtime wants."""

    status = 403
    kind = "AccessDeniedException"


class InvalidSignatureError(AccessDeniedError):
    """403: a SigV4 signature that does not match the request."""

    kind = "InvalidSignatureException"


class UnknownAccessKeyError(AccessDeniedError):
    """403: an access key this runtime was not configured with."""

    kind = "UnrecognizedClientException"


class MissingTokenError(AccessDeniedError):
    """403: no authentication, or a path that AWS does not have."""

    kind = "MissingAuthenticationTokenException"

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class NotFoundError(RuntimeApiError):
    """404: no such runtime, version, endpoint or session."""

    status = 404
    kind = "ResourceNotFoundException"


class NameTakenError(RuntimeApiError):
    """409: the resource exists, or is in a state that forbids the call."""

    status = 409
    kind = "ConflictException"


class SessionInTransitionError(RuntimeApiError):
    """409: the session is being provisioned or torn down; nothing ran."""

    status = 409
    kind = "RetryableConflictException"

    def __init__(self) -> None:
        super().__init__("Session operation in progress, please retry")


class AgentFaultError(RuntimeApiError):
    """424: the agent did not start, or answered with an error that stays in its log."""

    status = 424
    kind = "RuntimeClientError"

    @classmethod
    def answered(cls, status: int) -> "AgentFaultError":
        """Return the error for an agent that answered with this status."""
        return cls(f"Received error ({status}) from runtime. Please check your CloudWatch logs for more information.")

    @classmethod
    def not_ready(cls, limit_s: float) -> "AgentFaultError":
        """Return the error for an agent whose /ping was not healthy in time."""
        return cls(
            f"Runtime initialization time exceeded. Please make sure that initialization completes in {limit_s:.0f}s."
        )


class ThrottledError(RuntimeApiError):
    """429: new sessions come faster than the account may create them."""

    status = 429
    kind = "ThrottlingException"

    def __init__(self) -> None:
        super().__init__("Rate exceeded")


class InternalFaultError(RuntimeApiError):
    """500: a fault of the service itself; the agent may have run."""

    def __init__(self) -> None:
        super().__init__("An internal error occurred. Please retry.")


class AgentTimeoutError(RuntimeApiError):
    """504: the agent did not finish within the service's cap."""

    status = 504
    kind = "RuntimeClientError"

    def __init__(self) -> None:
        super().__init__("The agent did not respond within the allowed time.")
