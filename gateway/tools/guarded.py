"""What a tool's answer passes on its way to the agent: the tenant's own redaction, in the words of the answer's JSON.

Fails closed: where redaction breaks, the answer is not passed on.
"""

from typing import Final

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.errors import RedactionBlockedError
from gateway.tools.calls import ToolResult
from tenancy.data_models import Tenant

_BLOCKED: Final = "The tool's answer holds personal data ({kind}) and was withheld."


async def guarded(
    interceptors: Interceptors, tenant: Tenant, result: bytes, *, agent: str, subject: str, stateless: bool
) -> bytes:
    """Return a result as the tenant's policy lets it pass; raises InterceptorFailedError."""
    chain = await interceptors.answers(tenant, agent, subject)
    if chain is None:
        return result
    try:
        return await chain.answered(result)
    except RedactionBlockedError as blocked:
        withheld = ToolResult.text(_BLOCKED.format(kind=blocked.kind), is_error=True)
        return withheld.to_json(stateless=stateless)
