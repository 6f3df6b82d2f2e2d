"""On whose behalf an agent acts, and what makes the token by which it may call tools for them.

The token travels beside the input, in a header that only the platform can set; an agent without tools is given none.
"""

from dataclasses import dataclass
from typing import Protocol

from tenancy.data_models import AgentVersion
from tenancy.ids import InvocationId, JobId, TenantId


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """The tenant an agent works for, and who in it asked."""

    tenant_id: TenantId
    principal: str


class MintToken(Protocol):
    """Makes tool tokens."""

    def __call__(self, agent: AgentVersion, behalf: OnBehalf, ref: InvocationId | JobId, /) -> str | None:
        """Return a token for one invocation or job of an agent, None for an agent without tools."""
        ...


def no_token(_agent: AgentVersion, _behalf: OnBehalf, _ref: InvocationId | JobId) -> str | None:
    """Return no token: agents of this deployment have no tools."""
    return None
