"""What can go wrong on the tenancy floor; `gateway.problems` turns each into an HTTP answer."""

from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

Layer: TypeAlias = Literal["door", "client_guard"]


class LockgateError(Exception):
    """Root of every error Lockgate raises on purpose.

    `code` is stable: clients and alarms rely on it.
    """

    code: ClassVar[str] = "internal_error"


class InvalidIdError(LockgateError, ValueError):
    """A text is not an id of the wanted kind."""

    code = "invalid_id"

    def __init__(self, kind: str) -> None:
        # The text itself stays out: it came from outside and must not reach a log or an answer.
        super().__init__(f"not a valid {kind}")
        self.kind = kind


class TenantAccessViolation(LockgateError):
    """An attempt to reach data outside the tenant in whose name it is made.

    `tenant_id` is the acting tenant (None outside any scope), `layer` the one that refused,
    `operation` the AWS call, `resource` the table or bucket, `reason` a fixed sentence without keys.
    """

    code = "tenant_access_violation"

    def __init__(self, *, tenant_id: str | None, layer: Layer, operation: str, resource: str, reason: str) -> None:
        super().__init__(f"{layer} refused {operation} on {resource} for tenant {tenant_id}: {reason}")
        self.tenant_id = tenant_id
        self.layer = layer
        self.operation = operation
        self.resource = resource
        self.reason = reason


OnViolation: TypeAlias = Callable[[TenantAccessViolation], None]
"""Told of each violation at once, before it is raised; must not block."""


class ConditionFailedError(LockgateError):
    """A conditional write found the item in another state."""

    code = "condition_failed"


class TenantExistsError(ConditionFailedError):
    """The id is another tenant's already."""

    code = "tenant_exists"


class TenantChangedError(ConditionFailedError):
    """The tenant is no longer as it was when the change was decided."""

    code = "tenant_changed"


class BindingTakenError(ConditionFailedError):
    """The application speaks for another tenant, or for the platform."""

    code = "binding_taken"


class ApiKeyRevokedError(LockgateError):
    """The API key was revoked, which is for good."""

    code = "api_key_revoked"


class ApiKeyChangedError(ConditionFailedError):
    """The API key is no longer as it was when the change was decided."""

    code = "api_key_changed"


class ToolChangedError(ConditionFailedError):
    """The tool, or what a tenant may do with it, is no longer as it was when the change was decided."""

    code = "tool_changed"


class IdempotencyKeyReusedError(LockgateError):
    """The key was used for another request within the last day."""

    code = "idempotency_key_reused"


class IdempotencyRunningError(LockgateError):
    """The request that came first with the key still runs, and its answer is not known yet."""

    code = "idempotency_running"


class AnswerNotKeptError(LockgateError):
    """The request that came first with the key has ended, but its answer was too large to be kept.

    `location` is where to look at what became of it, where that is known.
    """

    code = "answer_not_kept"

    def __init__(self, location: str | None = None) -> None:
        self.location = location
        super().__init__("the answer was not kept")


class StoreUnavailableError(LockgateError):
    """DynamoDB or S3 did not answer, throttled, or answered with a fault of its own; a retry may work."""

    code = "store_unavailable"


class StoreBusyError(StoreUnavailableError):
    """Another transaction holds the item for this moment; the next try mostly works."""


class TenantUnknownError(LockgateError):
    """No such tenant."""

    code = "tenant_unknown"


class TenantSuspendedError(LockgateError):
    """The tenant exists but may not be served now."""

    code = "tenant_suspended"


class TenantDeletedError(TenantSuspendedError):
    """The tenant was deleted; its data is kept until it is erased, or it is restored."""

    code = "tenant_deleted"


class TenantStateError(LockgateError):
    """What is to be done to the tenant is not done to one that is in this state."""

    code = "tenant_state"

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"the tenant is {state}")


class TenantKeptError(LockgateError):
    """What the tenant had is kept until `until`; it is erased before only by force."""

    code = "tenant_kept"

    def __init__(self, until: str) -> None:
        self.until = until
        super().__init__(f"kept until {until}")


class TenantBusyError(LockgateError):
    """Something of the tenant's may still run; it is erased once nothing does."""

    code = "tenant_busy"


class TierTooLowError(LockgateError):
    """The agent asks for a higher tier than the tenant has."""

    code = "tier_too_low"


class LimitError(LockgateError):
    """Root of what is over one of the tenant's limits; `retry_after_s` is worth waiting."""

    code = "limit"

    def __init__(self, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"try again after {retry_after_s} s")


class RateLimitedError(LimitError):
    """More requests a second than the tenant may make."""

    code = "rate_limited"


class DailyLimitError(LimitError):
    """Every invocation of the day is used up."""

    code = "daily_limit"


class ConcurrencyLimitError(LimitError):
    """As many of the tenant's invocations run as may run at once."""

    code = "concurrency_limit"


class BudgetExceededError(LockgateError):
    """What it would cost is more than is left of the tenant's month, or of what the caller gave it."""

    code = "budget_exceeded"


class BudgetUnknownError(LockgateError):
    """How much is left of the tenant's month cannot be told now."""

    code = "budget_unavailable"


class LockHeldError(LockgateError):
    """Somebody else holds the lock, or has not been silent for a whole lease as far as this process has seen.

    `retry_after_s` is for how long it has to stay unrenewed from now on, in whole seconds.
    """

    code = "lock_held"

    def __init__(self, holder: str, fence: int, retry_after_s: int) -> None:
        super().__init__(f"held by {holder} under fence {fence}")
        self.holder = holder
        self.fence = fence
        self.retry_after_s = retry_after_s


class LockLostError(LockgateError):
    """The lock is not held under that fence: it was released, has run out and was taken, or was stolen."""

    code = "lock_lost"
