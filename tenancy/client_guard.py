"""The guard on the AWS clients themselves: every call, through a door or raw, is held to the running task's scope.

Botocore asks it before it builds a request: nothing has left the process when a call is refused. It reads
`tenancy.scope.active_scope()` and judges by its own means, so it suffices alone. Without a scope nothing is reached:
making tables, and whatever else is not done in someone's name, uses a client that was never guarded.

Credentials of a tenant's own (a session per tenant whose IAM policy demands `dynamodb:LeadingKeys`) are meant to hang
on the same scope: a credential provider of the client that reads `active_scope()` needs no change to either layer.

What it does not defend against is code in this process that sets out to deceive it; it holds mistakes and confused
deputies.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from tenancy.errors import OnViolation, TenantAccessViolation
from tenancy.guard_items import ItemGuard
from tenancy.guard_objects import ObjectGuard
from tenancy.reach import VERBS, CallRefusedError, Reach, TenantReach
from tenancy.scope import Scope, TenantScope, active_scope

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_s3.client import S3Client


class Operation(Protocol):
    """What botocore tells of the operation being called."""

    @property
    def name(self) -> str:
        """The operation's name as in AWS's documentation."""
        ...


class Request(Protocol):
    """What botocore is about to sign."""

    method: str
    context: Mapping[str, object]


Judge: TypeAlias = Callable[[Scope, str, Mapping[str, object]], None]
"""Raises CallRefusedError for a call (operation, parameters) that the scope does not cover."""

# Whoever holds a signed URL chooses what the signature leaves out: a body, headers that make a put a copy.
_SIGNED_APART: Final = ("GetObject", "GET")


def install(client: "DynamoDBClient | S3Client", *, table_prefix: str, bucket: str, on_violation: OnViolation) -> None:
    """Hold every call of this client to the active scope, on the tables and the bucket of one deployment."""
    service = client.meta.service_model.service_name
    judge = _judges(table_prefix, bucket)[service]

    def check(params: Mapping[str, object], model: Operation, **_: object) -> None:
        with _refusing(model.name, on_violation) as scope:
            judge(_some(scope, service), model.name, params)

    def check_signing(request: Request, operation_name: str, **_: object) -> None:
        with _refusing(operation_name, on_violation):
            if request.context.get("is_presign_request") and (operation_name, request.method) != _SIGNED_APART:
                raise CallRefusedError("a URL is signed for reading an object and nothing else", service)

    # Handlers of an operation run before those of all operations, and a last one after its peers: this is the last
    # word on what will be sent, whatever other handlers made of the call.
    client.meta.events.register_last("before-parameter-build", check)
    # Only here is a signed URL's method known: it need not be the operation's.
    client.meta.events.register_last("before-sign", check_signing)


@contextmanager
def _refusing(operation: str, on_violation: OnViolation) -> Iterator[Scope | None]:
    scope = active_scope()
    try:
        yield scope
    except CallRefusedError as refused:
        violation = TenantAccessViolation(
            tenant_id=scope.tenant_id if isinstance(scope, TenantScope) else None,
            layer="client_guard",
            operation=operation,
            resource=refused.resource,
            reason=refused.reason,
        )
        on_violation(violation)
        raise violation from refused


def _judges(table_prefix: str, bucket: str) -> dict[str, Judge]:
    items, objects = ItemGuard(table_prefix), ObjectGuard(bucket)

    def judge_items(scope: Scope, operation: str, params: Mapping[str, object]) -> None:
        items.check(_reach(scope), operation, params)

    def judge_objects(scope: Scope, operation: str, params: Mapping[str, object]) -> None:
        if not isinstance(scope, TenantScope):
            raise CallRefusedError("no platform verb reaches objects", bucket)
        objects.check(scope.tenant_id, operation, params)

    return {"dynamodb": judge_items, "s3": judge_objects}


def _some(scope: Scope | None, service: str) -> Scope:
    if scope is None:
        raise CallRefusedError("the task acts in no scope", service)
    return scope


def _reach(scope: Scope) -> Reach:
    if isinstance(scope, TenantScope):
        return TenantReach(scope.tenant_id)
    if scope.verb not in VERBS:
        raise CallRefusedError("the platform has no such verb", "dynamodb")
    return VERBS[scope.verb]
