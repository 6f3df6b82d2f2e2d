"""Everything an operation can refuse, as problem documents made by the same code that answers.

An operation names what is its own; what all behind a guard, or all with a body, can refuse is named here.
"""

from collections.abc import Iterator
from itertools import chain, count
from typing import Final

import orjson

from gateway import errors
from gateway.openapi.headers import carried
from gateway.openapi.models import Json
from gateway.openapi.sharing import kept
from gateway.operations import IDEMPOTENCY_KEY, Operation
from gateway.problems import CONTENT_TYPE, Problem, problem_of, render
from tenancy import errors as tenancy
from tenancy.ids import RequestId

EXAMPLE_REF: Final = "#/components/examples/"
_REQUEST: Final = RequestId("req_01jd3k5m7p9q1r3s5t7v9w1x3y")

_EVERYWHERE: Final = (
    errors.RequestMalformedError(),
    errors.RequestTimeoutError(),
    errors.BodyLengthAbsurdError(),
    errors.TargetTooLongError(),
    errors.ExpectationFailedError(),
    errors.HeadersTooLargeError(),
    errors.OverloadedError(),
    # Any fault that nobody foresaw.
    RuntimeError(),
)
_WITH_A_BODY: Final = (
    errors.BodyMalformedError(),
    errors.BodyTimeoutError(),
    errors.LengthRequiredError(),
    errors.BodyTooLargeError(1_048_576),
    errors.MediaTypeUnsupportedError(),
    errors.ContentEncodingError(),
    errors.FieldsInvalidError([errors.FieldFault("/input", "Field required")]),
)
_AUTHENTICATED: Final = (
    *(kind() for kind in errors.TokenRefusedError.__subclasses__() if kind is not errors.ToolTokenError),
    errors.DirectoryUnboundError(),
    errors.TenantMismatchError(subject="", tenant_id=None, named=None),
    errors.IdentityUnavailableError(),
    tenancy.StoreUnavailableError(),
    tenancy.TenantAccessViolation(tenant_id=None, layer="door", operation="", resource="", reason=""),
)
_WITH_A_KEY: Final = (
    tenancy.IdempotencyKeyReusedError(),
    tenancy.IdempotencyRunningError(),
    errors.FieldsInvalidError([errors.FieldFault("Idempotency-Key", "must be given once and be visible ASCII")]),
)
_OF_AGENTS: Final = tuple(kind() for kind in errors.ToolTokenError.__subclasses__())
_ACT_FOR_TENANTS: Final = frozenset({"principal", "tenant", "agent", "tools"})
_OF_TENANTS: Final = (
    tenancy.TenantUnknownError(),
    tenancy.TenantSuspendedError(),
    tenancy.TenantDeletedError(),
    tenancy.RateLimitedError(),
)
_MEANINGS: Final = {
    400: "The request is not valid.",
    401: "The caller has not shown who it is.",
    402: "The budget does not cover it.",
    403: "The caller may not do this.",
    404: "There is no such resource, or it is another tenant's: both look the same.",
    406: "The agent does not offer the mode asked for.",
    408: "The request did not arrive in time.",
    409: "The resource is not in the state for this.",
    410: "There was an answer, but it is no longer here.",
    411: "The length of the body is missing.",
    413: "The body is larger than is taken here.",
    414: "The request's target is too long.",
    415: "The body is of a type that is not taken here.",
    417: "What `Expect` asks for is not understood.",
    422: "Some fields are not acceptable; `errors` names each.",
    429: "One of the tenant's limits is reached; `Retry-After` says when to ask again.",
    431: "The request's headers are too large.",
    500: "Lockgate failed. Quote the `requestId`.",
    502: "The agent or its runtime failed.",
    503: "Not now; `Retry-After` says when to ask again.",
    504: "The agent took longer than its mode allows.",
}


class Refusals:
    """Describes what operations refuse; a problem that reads the same wherever it occurs is an example only once."""

    def __init__(self) -> None:
        self._examples: Json = {}

    @property
    def examples(self) -> Json:
        """Every shared example so far, by name."""
        return dict(sorted(self._examples.items()))

    def of(self, operation: Operation) -> dict[str, Json]:
        """Return the responses that refuse, by status."""
        by_status: dict[int, dict[str, Problem]] = {}
        for problem in map(problem_of, _errors_of(operation)):
            by_status.setdefault(problem.status, {})[problem.code + problem.detail] = problem
        return {
            str(status): self._refusal(operation, status, list(alike.values())) for status, alike in by_status.items()
        }

    def _refusal(self, operation: Operation, status: int, alike: list[Problem]) -> Json:
        own = dict.fromkeys(name for problem in alike for name in problem.headers)
        return {
            "description": _MEANINGS[status],
            "headers": carried(operation, status, own),
            "content": {
                CONTENT_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": dict(map(self._example, sorted(alike, key=lambda problem: problem.code))),
                }
            },
        }

    def _example(self, problem: Problem) -> tuple[str, Json]:
        shown: Json = {"summary": problem.title, "value": orjson.loads(render(problem, _REQUEST))}
        if problem.members:
            return problem.code, shown
        names = chain([problem.code], (f"{problem.code}_{number}" for number in count(2)))
        name = kept(self._examples, names, shown)
        return name, {"$ref": EXAMPLE_REF + name}


def _errors_of(operation: Operation) -> Iterator[Exception]:
    yield from _EVERYWHERE
    if operation.guard != "public":
        yield from _AUTHENTICATED
    if operation.guard in {"agent", "tools"}:
        yield from _OF_AGENTS
    if operation.guard in _ACT_FOR_TENANTS:
        yield from _OF_TENANTS
    if operation.role is not None:
        yield errors.RoleMissingError(operation.role)
    if operation.body is not None:
        yield from _WITH_A_BODY
    if IDEMPOTENCY_KEY in operation.parameters:
        yield from _WITH_A_KEY
    yield from operation.problems
