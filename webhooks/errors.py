"""What can go wrong on the webhooks floor; a receiver's own failures are no errors but part of a delivery's record."""

from tenancy.errors import LockgateError


class EndpointUnknownError(LockgateError):
    """The tenant has no such webhook."""

    code = "webhook_unknown"


class DeliveryUnknownError(LockgateError):
    """The webhook has no such delivery, or no longer."""

    code = "delivery_unknown"


class EndpointLimitError(LockgateError):
    """The tenant has as many webhooks as it may have."""

    code = "webhook_limit"


class EndpointInactiveError(LockgateError):
    """Nothing is sent to a webhook that is paused or disabled."""

    code = "webhook_inactive"


class UrlRefusedError(LockgateError, ValueError):
    """A URL is none that webhooks are sent to; `reason` is a fixed sentence that tells the tenant why."""

    code = "webhook_url_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
