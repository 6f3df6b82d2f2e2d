"""In whose name the running task may touch AWS: one tenant, one platform verb, or nobody.

The guard on the AWS client reads this and nothing else. A scope can be entered only where none is active or the
same one is: a task that acts for one tenant cannot slip into another's, and a task without a scope reaches nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId


@dataclass(frozen=True, slots=True)
class TenantScope:
    """Acting for one tenant."""

    tenant_id: TenantId


@dataclass(frozen=True, slots=True)
class PlatformScope:
    """Acting for the platform, within one verb of the second door."""

    verb: str


Scope = TenantScope | PlatformScope

_active: ContextVar[Scope | None] = ContextVar("lockgate_scope", default=None)


def active_scope() -> Scope | None:
    """Return the running task's scope."""
    return _active.get()


@contextmanager
def entered(scope: Scope) -> Iterator[None]:
    """Act in `scope` until the block ends.

    A platform verb may be entered from a tenant's scope (a request looks up an agent) and returns to it; a
    tenant's scope may not be entered from another tenant's nor from a platform verb. Raises TenantAccessViolation.
    """
    current = _active.get()
    if isinstance(scope, TenantScope) and current is not None and current != scope:
        raise TenantAccessViolation(
            tenant_id=current.tenant_id if isinstance(current, TenantScope) else None,
            layer="door",
            operation="EnterScope",
            resource="tenancy.scope",
            reason="the task already acts in another scope",
        )
    token = _active.set(scope)
    try:
        yield
    finally:
        _active.reset(token)
