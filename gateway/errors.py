"""What the HTTP edge refuses; `gateway.problems` gives each its status and body."""

from collections.abc import Iterable
from dataclasses import dataclass

from tenancy.data_models import Mode
from tenancy.errors import LockgateError


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that is wrong: a JSON pointer (or a header's or parameter's name) and a fixed sentence."""

    pointer: str
    message: str


class BodyMalformedError(LockgateError):
    """The body is not JSON."""

    code = "body_malformed"


class FieldsInvalidError(LockgateError):
    """The request is well-formed, but some of its fields are not acceptable."""

    code = "fields_invalid"

    def __init__(self, faults: Iterable[FieldFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"{len(self.faults)} invalid fields")


class BodyTooLargeError(LockgateError):
    """The body is larger than the agent takes."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"more than {limit_bytes} bytes")


class BodyTimeoutError(LockgateError):
    """The body did not arrive in time."""

    code = "request_timeout"


class MediaTypeUnsupportedError(LockgateError):
    """The body is of a type the route does not take."""

    code = "media_type_unsupported"


class NotAcceptableError(LockgateError):
    """The caller accepts nothing the agent can give, or asks for a mode it does not declare."""

    code = "mode_not_declared"

    def __init__(self, modes: Iterable[Mode]) -> None:
        self.modes = tuple(sorted(modes))
        super().__init__("mode not declared")


class NotFoundError(LockgateError):
    """No such resource for this tenant."""

    code = "not_found"


class JournalFullError(LockgateError):
    """More records wait to be written than may be held in memory."""

    code = "overloaded"


class DrainingError(LockgateError):
    """The process takes no new work because it is about to end."""

    code = "draining"
