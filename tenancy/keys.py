"""The shapes of every Redis key; what lives under them can be lost and rebuilt."""

import re
from datetime import date
from typing import Final

from tenancy.ids import InvocationId, SessionId, TenantId

# The runtime sessions in use, of all tenants, by the end of their use; and whose each is.
SESSIONS_KEY: Final = "lockgate:sessions"
SESSIONS_OF_KEY: Final = "lockgate:sessions-of"


def turn_key(tenant_id: TenantId, session_id: SessionId) -> str:
    """Return the key of the lease on a session's running turn."""
    return f"lockgate:turn:{tenant_id}:{session_id}"


def rate_key(tenant_id: TenantId) -> str:
    """Return the key of a tenant's token bucket."""
    return f"lockgate:rate:{tenant_id}"


def day_key(tenant_id: TenantId, day: date) -> str:
    """Return the key of a tenant's count of invocations on one UTC day."""
    return f"lockgate:day:{tenant_id}:{day.isoformat()}"


def tool_rate_key(tenant_id: TenantId, tool: str) -> str:
    """Return the key of a tenant's token bucket for one tool."""
    return f"lockgate:tool-rate:{tenant_id}:{tool}"


def tool_calls_key(tenant_id: TenantId, invocation: str) -> str:
    """Return the key of the count of one invocation's or job's tool calls."""
    return f"lockgate:tool-calls:{tenant_id}:{invocation}"


def slots_key(tenant_id: TenantId) -> str:
    """Return the key of the leases on a tenant's concurrent invocations."""
    return f"lockgate:slots:{tenant_id}"


def blocks_key(tenant_id: TenantId) -> str:
    """Return the key of the blocks of concurrent invocations that processes hold for a tenant."""
    return f"lockgate:blocks:{tenant_id}"


def tail_key(tenant_id: TenantId, invocation_id: InvocationId) -> str:
    """Return the key of the newest events of one streamed invocation."""
    return f"lockgate:tail:{tenant_id}:{invocation_id}"


def budget_key(tenant_id: TenantId, month: str) -> str:
    """Return the key of what a tenant has spent in a month (`2026-11`)."""
    return f"lockgate:budget:{tenant_id}:{month}"


def is_of(key: str, tenant_id: TenantId) -> bool:
    """Tell whether a key is one of a tenant's own."""
    found = _OWN.fullmatch(key)
    return found is not None and found["tenant"] == tenant_id


_OWN: Final = re.compile(
    r"lockgate:(?:turn|rate|day|tool-rate|tool-calls|slots|blocks|tail|budget):(?P<tenant>[^:]+)(?::.*)?", re.DOTALL
)
