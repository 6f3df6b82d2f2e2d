"""What a tool's answer passes on its way to the agent: the tenant's own redaction, in the words of the answer's JSON.

Fails closed: where redaction breaks, the answer is not passed on.
"""

from dataclasses import dataclass
from typing import Final

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.errors import RedactionBlockedError
from gateway.tools.calls import ToolResult
from tenancy.data_models import Tenant

_BLOCKED: Final = "The tool's answer holds personal data ({kind}) and was withheld."


@dataclass(frozen=True, slots=True)
class Shown:
    """A result as the tenant's policy lets it pass; `withheld` is the code of why another stands in its place."""

    result: bytes
    withheld: str | None = None


async def guarded(
    interceptors: Interceptors, tenant: Tenant, result: bytes, *, agent: str, subject: str, stateless: bool
) -> Shown:
    """Return what may be shown of a result; raises InterceptorFailedError."""
    chain = await interceptors.answers(tenant, agent, subject)
    if chain is None:
        return Shown(result)
    try:
        return Shown(await chain.answered(result))
    except RedactionBlockedError as blocked:
        withheld = ToolResult.text(_BLOCKED.format(kind=blocked.kind), is_error=True)
        return Shown(withheld.to_json(stateless=stateless), blocked.code)
