"""Which headers pass through AgentCore, in both directions, and how long each may be.

Everything that is not named here stays outside: an agent sees no header its runtime did not allow.
Sources: the InvokeAgentRuntime API reference and the runtime header allow-list page of the AgentCore guide.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from ops.devstack.runtime.errors import InvalidRequestError

SESSION_ID: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
USER_ID: Final = "X-Amzn-Bedrock-AgentCore-Runtime-User-Id"
REQUEST_ID: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id"
CUSTOM_PREFIX: Final = "x-amzn-bedrock-agentcore-runtime-custom-"
TRACE_ID: Final = "X-Amzn-Trace-Id"

_LONGEST_CUSTOM_VALUE = 4096
# name -> shortest and longest value
_PASSED: Final[Mapping[str, tuple[int, int]]] = {
    "Content-Type": (1, 256),
    "Accept": (1, 256),
    SESSION_ID: (33, 256),
    USER_ID: (1, 1024),
    TRACE_ID: (0, 128),
    "traceparent": (0, 128),
    "tracestate": (0, 512),
    "baggage": (0, 8192),
    "Mcp-Session-Id": (1, 1024),
    "Mcp-Protocol-Version": (1, 1024),
    "Mcp-Method": (1, 1024),
    "Mcp-Name": (1, 1024),
}
_ECHOED: Final = ("traceparent", "tracestate", "baggage")
_FROM_AGENT: Final = ("Content-Type", "Content-Length", "Mcp-Session-Id", "Mcp-Protocol-Version")

_RESTRICTED: Final = frozenset(
    """
    proxy-authorization www-authenticate accept accept-charset accept-encoding accept-language content-type
    content-length content-encoding content-language content-location content-range cache-control etag expires
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified pragma vary connection
    keep-alive proxy-connection upgrade host user-agent referer from range accept-ranges transfer-encoding te
    trailer server date location retry-after set-cookie cookie content-security-policy
    content-security-policy-report-only strict-transport-security x-content-type-options x-frame-options
    x-xss-protection referrer-policy permissions-policy cross-origin-embedder-policy cross-origin-opener-policy
    cross-origin-resource-policy access-control-allow-origin access-control-allow-methods
    access-control-allow-headers access-control-allow-credentials access-control-expose-headers
    access-control-max-age access-control-request-method access-control-request-headers origin accept-ch
    accept-ch-lifetime dpr width viewport-width downlink ect rtt save-data clear-site-data feature-policy expect-ct
    public-key-pins public-key-pins-report-only via forwarded x-forwarded-for x-forwarded-host x-forwarded-proto
    x-real-ip x-requested-with x-csrf-token true-client-ip x-client-ip x-cluster-client-ip x-originating-ip
    x-source-ip x-original-url x-original-host x-rewrite-url cf-ray cf-connecting-ip x-amz-cf-id x-cache x-served-by
    link sec-websocket-key sec-websocket-accept sec-websocket-version sec-websocket-protocol
    sec-websocket-extensions
    """.split()  # noqa: SIM905 - as a list of strings it would be five screens long
)


def may_be_forwarded(name: str) -> bool:
    """Tell whether a runtime may put this header on its allow-list."""
    lower = name.lower()
    if lower in _RESTRICTED or lower.startswith("x-amz-"):
        return False
    return not lower.startswith("x-amzn-") or lower.startswith(CUSTOM_PREFIX)


def towards_agent(given: CIMultiDictProxy[str], allowlist: frozenset[str]) -> CIMultiDict[str]:
    """Return the headers of a request that its agent may see; raises InvalidRequestError for a bad length."""
    passed: CIMultiDict[str] = CIMultiDict()
    for name, (shortest, longest) in _PASSED.items():
        value = given.get(name)
        if value is not None:
            _check_length(name, value, shortest, longest)
            passed[name] = value
    for name, value in given.items():
        if name.lower() in allowlist:
            _check_length(name, value, 0, _LONGEST_CUSTOM_VALUE)
            passed.add(name, value)
    return passed


def towards_caller(answer: CIMultiDictProxy[str], asked: CIMultiDict[str], session_id: str) -> CIMultiDict[str]:
    """Return the headers of an answer: the agent's few, AgentCore's own, and the caller's trace context."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name in _FROM_AGENT:
        if (value := answer.get(name)) is not None:
            headers[name] = value
    for name in (TRACE_ID, *_ECHOED):
        if (value := asked.get(name)) is not None:
            headers[name] = value
    headers[SESSION_ID] = session_id
    headers.setdefault("Content-Type", "application/octet-stream")
    return headers


def new_trace_id(now: datetime) -> str:
    """Return an X-Ray trace id that begins at `now`."""
    return f"Root=1-{int(now.timestamp()):08x}-{secrets.token_hex(12)};Sampled=1"


def _check_length(name: str, value: str, shortest: int, longest: int) -> None:
    if not shortest <= len(value) <= longest:
        bound = f"greater than or equal to {shortest}" if len(value) < shortest else f"less than or equal to {longest}"
        detail = f"Member must have length {bound}"
        raise InvalidRequestError(
            f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {detail}",
            fields=[(name, detail)],
        )
