"""What the HTTP edge refuses; `gateway.problems` gives each its status and body."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from tenancy.context import Role
from tenancy.data_models import Mode
from tenancy.errors import LockgateError
from tenancy.ids import TenantId


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that is wrong: a JSON pointer (or a header's or parameter's name) and a fixed sentence."""

    pointer: str
    message: str


class BodyMalformedError(LockgateError):
    """The body is not JSON."""

    code = "body_malformed"


class FieldsInvalidError(LockgateError):
    """The request is well-formed, but some of its fields are not acceptable."""

    code = "fields_invalid"

    def __init__(self, faults: Iterable[FieldFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"{len(self.faults)} invalid fields")


class BodyTooLargeError(LockgateError):
    """The body is larger than the agent takes."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"more than {limit_bytes} bytes")


class BodyTimeoutError(LockgateError):
    """The body did not arrive in time."""

    code = "request_timeout"


class MediaTypeUnsupportedError(LockgateError):
    """The body is of a type the route does not take."""

    code = "media_type_unsupported"


class ContentEncodingError(LockgateError):
    """The body is packed: what is inside could be of any size."""

    code = "content_encoding_unsupported"


class LengthRequiredError(LockgateError):
    """A route that takes a body was sent neither a length nor chunks."""

    code = "length_required"


class RequestMalformedError(LockgateError):
    """The request is not the HTTP/1.1 that every server on the way would read alike."""

    code = "bad_request"


class RequestTimeoutError(LockgateError):
    """The head of the request did not arrive in time."""

    code = "request_timeout"


class TargetTooLongError(LockgateError):
    """The request's target is longer than is read."""

    code = "target_too_long"


class HeadersTooLargeError(LockgateError):
    """One header, or all of them, are larger than is read."""

    code = "headers_too_large"


class BodyLengthAbsurdError(LockgateError):
    """The length told of the body is beyond any body that is taken anywhere."""

    code = "body_too_large"


class ExpectationFailedError(LockgateError):
    """The caller expects something else than to be told to go on."""

    code = "expectation_failed"


class OverloadedError(LockgateError):
    """The process has more to do than it can."""

    code = "overloaded"


class NotAcceptableError(LockgateError):
    """The caller accepts nothing the agent can give, or asks for a mode it does not declare."""

    code = "mode_not_declared"

    def __init__(self, modes: Iterable[Mode]) -> None:
        self.modes = tuple(sorted(modes))
        super().__init__("mode not declared")


class NotFoundError(LockgateError):
    """No such resource for this tenant."""

    code = "not_found"


class EventUnknownError(LockgateError):
    """The event to go on after is none of the stream's."""

    code = "event_unknown"


class ReplayExpiredError(LockgateError):
    """The events asked for are kept no longer, or were lost."""

    code = "replay_expired"


class JournalFullError(LockgateError):
    """More records wait to be written than may be held in memory."""

    code = "overloaded"


class DrainingError(LockgateError):
    """The process takes no new work because it is about to end."""

    code = "draining"


class TokenRefusedError(LockgateError):
    """Root of every 401: the caller has not shown who it is. `description` is fixed: it never repeats input."""

    description: ClassVar[str] = "The access token was refused."

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate` (RFC 6750)."""
        return f'Bearer realm="lockgate", error="invalid_token", error_description="{self.description}"'


class TokenMissingError(TokenRefusedError):
    """No bearer token came along."""

    code = "token_missing"
    description = "A bearer token is required."

    @property
    def challenge(self) -> str:
        """The bare challenge: without a token there is no error in it to name."""
        return 'Bearer realm="lockgate"'


class TokenMalformedError(TokenRefusedError):
    """Not a signed JWT in compact form, or its JSON is not strict."""

    code = "token_malformed"
    description = "The token is not a well-formed JWT."


class TokenTooLargeError(TokenRefusedError):
    """Longer than any token is read."""

    code = "token_too_large"
    description = "The token is larger than 8 KiB."


class TokenUnsignedError(TokenRefusedError):
    """`alg` is none, or there is no signature."""

    code = "token_unsigned"
    description = "The token is not signed."


class TokenWrongAlgorithmError(TokenRefusedError):
    """`alg` is not RS256."""

    code = "token_wrong_algorithm"
    description = "The token is not signed with RS256."


class TokenHeaderUnsupportedError(TokenRefusedError):
    """The header asks for something Lockgate does not do (crit, jku, x5u, jwk, cty, …)."""

    code = "token_header_unsupported"
    description = "The token's header has members that are not supported."


class TokenWrongTypeError(TokenRefusedError):
    """`typ` says that it is not an access token."""

    code = "token_wrong_type"
    description = "The token's type is not JWT or at+jwt."


class TokenUnknownKeyError(TokenRefusedError):
    """`kid` names no key of the configured authority."""

    code = "token_unknown_key"
    description = "The token is signed with a key the authority does not publish."


class TokenBadSignatureError(TokenRefusedError):
    """The signature is not the named key's over this header and payload."""

    code = "token_bad_signature"
    description = "The token's signature does not verify."


class TokenClaimInvalidError(TokenRefusedError):
    """A claim that is needed is missing or of the wrong shape."""

    code = "token_claim_invalid"
    description = "A claim of the token is missing or has the wrong shape."


class TokenExpiredError(TokenRefusedError):
    """`exp` has passed."""

    code = "token_expired"
    description = "The token has expired."


class TokenNotYetValidError(TokenRefusedError):
    """`nbf` or `iat` lies in the future."""

    code = "token_not_yet_valid"
    description = "The token is not valid yet."


class TokenLifetimeError(TokenRefusedError):
    """`exp` lies further ahead than any access token's should."""

    code = "token_lifetime_too_long"
    description = "The token would be valid for more than 24 hours."


class TokenWrongVersionError(TokenRefusedError):
    """`ver` is neither 1.0 nor 2.0."""

    code = "token_wrong_version"
    description = "The token's version is not 1.0 or 2.0."


class TokenWrongIssuerError(TokenRefusedError):
    """`iss` is not the configured authority's for the token's own directory."""

    code = "token_wrong_issuer"
    description = "The token was not issued by the configured authority for its directory."


class TokenWrongAudienceError(TokenRefusedError):
    """`aud` is not this deployment alone."""

    code = "token_wrong_audience"
    description = "The token was issued for another audience."


class ApiKeyUnknownError(TokenRefusedError):
    """No API key, or one that opens nothing any more; which of these is not told."""

    code = "api_key_unknown"
    description = "The API key is not known, or was revoked."


class ApiKeyExpiredError(TokenRefusedError):
    """A secret that was replaced, and whose overlap is over."""

    code = "api_key_expired"
    description = "The API key was rotated, and the time for its former secret is over."


class ToolTokenError(TokenRefusedError):
    """Root of what is wrong with a tool token."""


class ToolTokenRefusedError(ToolTokenError):
    """Not a token of this deployment for its tools' door, or no longer good."""

    code = "tool_token_refused"
    description = "The tool token is not one of this deployment for this door, or has expired."


class ToolTokenEndedError(ToolTokenError):
    """The invocation or job it was made for has ended."""

    code = "tool_token_ended"
    description = "The invocation that the tool token was made for has ended."


class ForbiddenError(LockgateError):
    """Root of what a caller that has shown who it is may not do: 403."""

    code = "forbidden"


class DirectoryUnboundError(ForbiddenError):
    """The token is good, but its directory's application is bound to no tenant."""

    code = "directory_unbound"


class RoleMissingError(ForbiddenError):
    """The route asks for a role the principal does not have."""

    code = "role_missing"

    def __init__(self, role: Role) -> None:
        self.role = role
        super().__init__(f"needs {role}")


class TenantMismatchError(ForbiddenError):
    """`X-Tenant-Id` names another tenant than the principal's; to be audited.

    `tenant_id` is the principal's own (None for the platform), `named` the other one where it is a tenant id at all.
    """

    code = "tenant_mismatch"

    def __init__(self, *, subject: str, tenant_id: TenantId | None, named: TenantId | None) -> None:
        super().__init__("another tenant was named")
        self.subject = subject
        self.tenant_id = tenant_id
        self.named = named


class OriginForeignError(ForbiddenError):
    """The request comes from a browser's page that may not call this route."""

    code = "origin_foreign"


class IdentityUnavailableError(LockgateError):
    """The authority's keys could not be read and none are cached: nobody can be told from anybody."""

    code = "identity_unavailable"
