"""The shapes of every Redis key; what lives under them can be lost and rebuilt."""

from tenancy.ids import SessionId, TenantId


def turn_key(tenant_id: TenantId, session_id: SessionId) -> str:
    """Return the key of the lease on a session's running turn."""
    return f"lockgate:turn:{tenant_id}:{session_id}"
