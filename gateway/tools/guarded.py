"""What a tool's answer passes on its way to the agent: the tenant's own redaction, in the words of the answer's JSON.

Fails closed: where redaction breaks, the answer is not passed on.
"""

from typing import Final

from gateway.interceptors.redact import Blocked, Redactor
from gateway.interceptors.rules import Policy
from gateway.tools.calls import ToolResult
from tenancy.data_models import Tenant

_BLOCKED: Final = "The tool's answer holds personal data ({kind}) and was withheld."


class Redactors:
    """The redactors of tenants' policies, each compiled once."""

    def __init__(self) -> None:
        self._by_action = {"redact": Redactor(Policy("redact")), "block": Redactor(Policy("block"))}

    def guarded(self, tenant: Tenant, result: bytes, *, stateless: bool) -> bytes:
        """Return a result as the tenant's policy lets it pass; raises InterceptorFailedError."""
        if tenant.redaction == "off":
            return result
        judged = self._by_action[tenant.redaction].whole(result)
        if isinstance(judged, Blocked):
            withheld = ToolResult.text(_BLOCKED.format(kind=judged.kind), is_error=True)
            return withheld.to_json(stateless=stateless)
        return judged
