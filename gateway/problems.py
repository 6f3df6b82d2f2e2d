"""The one table from an error to its HTTP answer: RFC 9457 problem documents with a stable `code`.

Every sentence here is fixed: nothing of the request, of the agent's answer or of a stack trace can reach a caller.
"""

from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import web

from agents import errors as agents
from gateway import errors as gateway
from gateway import live
from gateway.interceptors import errors as interceptors
from jobs import errors as jobs
from tenancy import errors as tenancy
from tenancy.errors import LockgateError
from webhooks import errors as webhooks

CONTENT_TYPE: Final = "application/problem+json"
_SOON: Final = {"Retry-After": "1"}
_LATER: Final = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem before it is bound to one request."""

    status: int
    code: str
    title: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    members: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    title: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


_INTERNAL: Final = _Row(
    500, "Internal error", "Lockgate failed to handle this request. Quote the requestId to support."
)
_TABLE: Final[dict[type[BaseException], _Row]] = {
    gateway.BodyMalformedError: _Row(400, "Malformed body", "The body must be valid JSON in UTF-8."),
    gateway.FieldsInvalidError: _Row(422, "Invalid fields", "Some fields are not acceptable; see errors."),
    gateway.BodyTooLargeError: _Row(413, "Body too large", "The body is larger than this agent takes; see limitBytes."),
    gateway.BodyTimeoutError: _Row(408, "Request timed out", "The body did not arrive in time. Send it again."),
    gateway.MediaTypeUnsupportedError: _Row(415, "Unsupported media type", "Send the body as application/json."),
    gateway.ContentEncodingError: _Row(
        415, "Unsupported content encoding", "Send the body as it is, without Content-Encoding."
    ),
    gateway.LengthRequiredError: _Row(411, "Length required", "Send a Content-Length, or the body in chunks."),
    gateway.RequestMalformedError: _Row(400, "Bad request", "The request is not valid HTTP/1.1."),
    gateway.RequestTimeoutError: _Row(408, "Request timed out", "The request's head did not arrive in time."),
    gateway.TargetTooLongError: _Row(414, "Target too long", "The request's target is longer than 8192 bytes."),
    gateway.HeadersTooLargeError: _Row(
        431, "Headers too large", "A header is larger than 16384 bytes, or all are larger than 65536, or over 128."
    ),
    gateway.BodyLengthAbsurdError: _Row(413, "Body too large", "The body is larger than is taken anywhere."),
    gateway.ExpectationFailedError: _Row(417, "Expectation failed", "Only `Expect: 100-continue` is understood."),
    gateway.OverloadedError: _Row(503, "Overloaded", "Lockgate is overloaded. Try again shortly.", _SOON),
    gateway.NotAcceptableError: _Row(
        406, "Mode not declared", "The agent does not offer the mode asked for by Accept or Prefer; see modes."
    ),
    gateway.NotFoundError: _Row(404, "Not found", "There is no such resource."),
    gateway.EventUnknownError: _Row(
        400, "Event unknown", "Last-Event-ID or startingAfter must be the id of one of the stream's events, or 0."
    ),
    gateway.ReplayExpiredError: _Row(
        410, "Replay expired", "The events asked for are kept no longer. The invocation's record still is."
    ),
    gateway.JournalFullError: _Row(503, "Overloaded", "Lockgate is overloaded. Try again shortly.", _SOON),
    gateway.DrainingError: _Row(503, "Draining", "This process is about to end. Try again.", _SOON),
    live.InvocationTimedOutError: _Row(504, "Agent timed out", "The agent took longer than its mode allows."),
    live.InvocationCancelledError: _Row(409, "Invocation cancelled", "The invocation was cancelled while it ran."),
    live.InvocationSuspendedError: _Row(
        403, "Tenant suspended", "The tenant was suspended while the invocation ran. Contact the operator."
    ),
    live.InvocationDisownedError: _Row(
        403, "Tenant deleted", "The tenant was deleted while the invocation ran. Contact the operator."
    ),
    live.InvocationOverBudgetError: _Row(
        402, "Budget exceeded", "The month's budget, or what this invocation was given, does not cover it."
    ),
    live.InvocationDrainedError: _Row(503, "Draining", "The platform is being updated. Invoke again.", _SOON),
    live.InvocationRegionLostError: _Row(
        503, "Region failover", "The region in which the agent ran was lost or left. Invoke again.", _SOON
    ),
    gateway.DirectoryUnboundError: _Row(
        403, "Directory unbound", "This directory's application is bound to no tenant."
    ),
    gateway.RoleMissingError: _Row(403, "Role missing", "The credentials lack the role this route needs; see role."),
    gateway.TenantMismatchError: _Row(
        403, "Tenant mismatch", "X-Tenant-Id names another tenant than the credentials belong to. Leave it out."
    ),
    gateway.OriginForeignError: _Row(
        403, "Foreign origin", "Pages of this origin may not call the tools' door. Call it from a program."
    ),
    gateway.IdentityUnavailableError: _Row(
        503, "Identity unavailable", "The identity provider's keys could not be read. Try again.", _SOON
    ),
    tenancy.InvalidIdError: _Row(404, "Not found", "There is no such resource."),
    tenancy.TenantUnknownError: _Row(403, "Unknown tenant", "The credentials belong to no tenant of this platform."),
    tenancy.TenantSuspendedError: _Row(403, "Tenant suspended", "The tenant is suspended. Contact the operator."),
    tenancy.TenantDeletedError: _Row(403, "Tenant deleted", "The tenant was deleted. Contact the operator."),
    tenancy.TenantStateError: _Row(
        409, "Not in this state", "This is not done to a tenant in its status; see tenantStatus."
    ),
    tenancy.TenantKeptError: _Row(
        409, "Tenant kept", "What the tenant had is kept until eraseAfter. Wait, or say force and why."
    ),
    tenancy.TenantBusyError: _Row(
        409, "Tenant busy", "Something of the tenant's may still run. It is ended within minutes; ask again.", _SOON
    ),
    tenancy.TenantExistsError: _Row(409, "Tenant exists", "The id is another tenant's. Choose another one."),
    tenancy.TenantChangedError: _Row(
        409, "Tenant changed", "The tenant was changed meanwhile. Look at it again and repeat what still applies."
    ),
    tenancy.BindingTakenError: _Row(
        409, "Binding taken", "The application speaks for another tenant or for the platform. Unbind it there first."
    ),
    tenancy.ApiKeyRevokedError: _Row(409, "Key revoked", "The API key was revoked, for good. Make a new one."),
    tenancy.ApiKeyChangedError: _Row(
        409, "Key changed", "The API key was changed meanwhile. Look at it and try again."
    ),
    tenancy.LockHeldError: _Row(
        409,
        "Lock held",
        "Somebody else holds the lock; see holder. Wait until they are done, or steal it if they are gone.",
    ),
    tenancy.LockLostError: _Row(
        409, "Lock lost", "The lock is not yours under that fence: it was released, taken over or stolen."
    ),
    tenancy.ToolChangedError: _Row(
        409, "Tool changed", "The tool was changed meanwhile. Look at it again and repeat what still applies."
    ),
    tenancy.RateLimitedError: _Row(429, "Rate limited", "The tenant makes too many requests. Wait for Retry-After."),
    tenancy.DailyLimitError: _Row(
        429,
        "Daily limit",
        "The tenant's invocations of today (UTC) are used up. Wait for Retry-After or raise the tier.",
    ),
    tenancy.ConcurrencyLimitError: _Row(
        429, "Concurrency limit", "As many invocations run as the tenant may run at once. Wait for one to end."
    ),
    tenancy.BudgetExceededError: _Row(
        402, "Budget exceeded", "The month's budget, or what this invocation was given, does not cover it."
    ),
    tenancy.BudgetUnknownError: _Row(
        503, "Budget unavailable", "What is left of the month's budget cannot be told now. Try again.", _SOON
    ),
    tenancy.TierTooLowError: _Row(403, "Tier too low", "The agent needs a higher tier than the tenant has."),
    tenancy.TenantAccessViolation: _Row(403, "Access refused", "The request reached for data outside its tenant."),
    tenancy.IdempotencyKeyReusedError: _Row(
        422, "Key reused", "The Idempotency-Key was used for another request. Choose a new key for a new request."
    ),
    tenancy.IdempotencyRunningError: _Row(
        409, "Still running", "The request that came first with this Idempotency-Key still runs. Try again.", _SOON
    ),
    tenancy.AnswerNotKeptError: _Row(
        410, "Answer not kept", "The request with this Idempotency-Key has ended; its answer could not be kept."
    ),
    tenancy.StoreUnavailableError: _Row(503, "Store unavailable", "The data store did not answer. Try again.", _SOON),
    jobs.JobRunningError: _Row(409, "Job running", "The job has begun. Cancel it, which stops its agent."),
    jobs.NoDeadLetterError: _Row(409, "No dead letter", "The job is no dead letter, or it was dealt with already."),
    webhooks.EndpointUnknownError: _Row(404, "Not found", "There is no such resource."),
    webhooks.DeliveryUnknownError: _Row(404, "Not found", "There is no such resource."),
    webhooks.EndpointLimitError: _Row(
        409, "Webhook limit", "The tenant has as many webhooks as it may have. Delete one."
    ),
    webhooks.EndpointInactiveError: _Row(
        409, "Webhook inactive", "Nothing is sent to a webhook that is paused or disabled. Activate it first."
    ),
    agents.AgentUnknownError: _Row(404, "Not found", "There is no such resource."),
    agents.SessionUnknownError: _Row(404, "Not found", "There is no such resource."),
    agents.SessionBusyError: _Row(
        409, "Session busy", "Another turn of this session is still running. Wait for it or cancel it."
    ),
    agents.ReleaseIllegalError: _Row(
        409, "Release state", "The version cannot go there from the state it is in; see state and allowed."
    ),
    agents.LastPromotedError: _Row(
        409, "Last promoted version", "No other version is promoted. Promote one first, or disable this one."
    ),
    agents.AgentTakenError: _Row(409, "Agent taken", "An agent of this name is another's. Choose another name."),
    agents.AgentVersionExistsError: _Row(
        409, "Version exists", "A version of this number was registered before. Choose another number."
    ),
    agents.RuntimeThrottledError: _Row(503, "Runtime throttled", "AgentCore is throttling. Try again.", _LATER),
    agents.RuntimeQuotaError: _Row(503, "Runtime full", "No runtime session is free now. Try again.", _LATER),
    agents.RuntimeBusyError: _Row(503, "Runtime busy", "The session is being set up or torn down. Try again.", _SOON),
    agents.RuntimeUnreachableError: _Row(502, "Runtime unreachable", "AgentCore could not be reached."),
    agents.RuntimeSparedError: _Row(
        503, "Runtime spared", "The agent's runtime keeps failing and is left alone for a moment. Try again.", _LATER
    ),
    agents.RuntimeMissingError: _Row(502, "Runtime missing", "The agent's runtime does not exist."),
    agents.RuntimeRefusedError: _Row(502, "Runtime refused", "AgentCore did not accept the invocation."),
    agents.RuntimeBrokenError: _Row(502, "Runtime failed", "AgentCore failed or answered what is not an answer."),
    agents.AgentFailedError: _Row(502, "Agent failed", "The agent raised an error or did not start."),
    agents.AgentAnswerTooLargeError: _Row(502, "Answer too large", "The agent's answer is larger than is passed on."),
    agents.RuntimeTimeoutError: _Row(504, "Agent timed out", "The agent took longer than its mode allows."),
    agents.StreamInterruptedError: _Row(502, "Answer interrupted", "The connection to the agent broke."),
    interceptors.RedactionBlockedError: _Row(
        502, "Answer blocked", "The answer holds personal data that the tenant's policy blocks."
    ),
    interceptors.PromptRefusedError: _Row(422, "Prompt refused", "The prompt guard does not let this input pass."),
    interceptors.InterceptorFailedError: _Row(500, "Interceptor failed", "What guards this answer or input failed."),
}
# Answers that must not tell an unknown resource from another tenant's share one code.
_CODES: Final[dict[type[BaseException], str]] = {
    tenancy.InvalidIdError: "not_found",
    agents.AgentUnknownError: "not_found",
    agents.SessionUnknownError: "not_found",
    webhooks.EndpointUnknownError: "not_found",
    webhooks.DeliveryUnknownError: "not_found",
}
_HTTP: Final = {
    400: ("bad_request", "Bad request", "The request is not valid HTTP."),
    404: ("not_found", "Not found", "There is no such resource."),
    405: ("method_not_allowed", "Method not allowed", "The resource does not take this method; see Allow."),
    411: ("length_required", "Length required", "Send a Content-Length."),
    413: ("body_too_large", "Body too large", "The body is larger than is taken here."),
    417: ("expectation_failed", "Expectation failed", "Only `Expect: 100-continue` is understood."),
}


def problem_of(error: BaseException) -> Problem:
    """Return the problem an error is answered with; an unknown one is an internal error."""
    if isinstance(error, web.HTTPException):
        unknown = ("http_error", error.reason, "The request could not be handled.")
        code, title, detail = _HTTP.get(error.status, unknown)
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return Problem(error.status, code, title, detail, allow)
    if isinstance(error, gateway.TokenRefusedError):
        return Problem(401, error.code, "Unauthenticated", error.description, {"WWW-Authenticate": error.challenge})
    kind = next((kind for kind in type(error).__mro__ if kind in _TABLE), None)
    if kind is None or not isinstance(error, LockgateError):
        return Problem(_INTERNAL.status, "internal_error", _INTERNAL.title, _INTERNAL.detail)
    row = _TABLE[kind]
    code = _CODES.get(kind, error.code)
    return Problem(row.status, code, row.title, row.detail, _headers(error, row), _members(error))


def _headers(error: LockgateError, row: _Row) -> dict[str, str]:
    match error:
        case tenancy.LimitError():
            return {"Retry-After": str(error.retry_after_s)}
        case tenancy.AnswerNotKeptError(location=str(location)):
            return {"Location": location}
        case _:
            return row.headers


def _members(error: LockgateError) -> dict[str, object]:
    match error:
        case gateway.FieldsInvalidError():
            return {"errors": [{"pointer": fault.pointer, "detail": fault.message} for fault in error.faults]}
        case gateway.NotAcceptableError():
            return {"modes": [mode.value for mode in error.modes]}
        case agents.ReleaseIllegalError():
            return {"state": error.state.value, "allowed": [state.value for state in error.allowed]}
        case gateway.RoleMissingError():
            return {"role": error.role.value}
        case gateway.BodyTooLargeError():
            return {"limitBytes": error.limit_bytes}
        case _:
            return _in_the_way(error)


def _in_the_way(error: LockgateError) -> dict[str, object]:
    """Return the status a tenant is in, until when it is kept, or who holds the lock and for how long at the least."""
    if isinstance(error, tenancy.TenantStateError):
        return {"tenantStatus": error.state}
    if isinstance(error, tenancy.TenantKeptError):
        return {"eraseAfter": error.until}
    if not isinstance(error, tenancy.LockHeldError):
        return {}
    return {"holder": error.holder, "fence": error.fence, "freeInSeconds": error.retry_after_s}


def render(problem: Problem, request_id: str) -> bytes:
    """Return the problem document of one request."""
    return orjson.dumps(
        {
            "type": f"urn:lockgate:problem:{problem.code}",
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "instance": f"urn:lockgate:request:{request_id}",
            "code": problem.code,
            "requestId": request_id,
            "errors": [],
            **problem.members,
        }
    )


def respond(problem: Problem, request_id: str) -> web.Response:
    """Return the HTTP answer of one request's problem."""
    return web.Response(
        status=problem.status,
        body=render(problem, request_id),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store"} | problem.headers,
    )
