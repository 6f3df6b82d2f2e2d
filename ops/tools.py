"""Builds the tools' door: who may come to it, what it lists, and what carries calls to tools."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from agents.authorize import SigV4Authorizer
from agents.sigv4 import Credentials, SigV4Signer
from gateway.access import Access
from gateway.live import LiveInvocations
from gateway.tool_access import ToolAccess
from gateway.tools.door import ToolDoor, ToolMetrics
from gateway.tools.http_backend import HttpBackend
from gateway.tools.lambda_backend import LambdaBackend, SignedLambda
from gateway.tools.liveness import Liveness
from gateway.tools.mcp_backend import McpBackend
from ops.settings import Settings
from ops.wiring import Floor
from tenancy.clock import Clock
from tenancy.tool_calls import ToolCalls
from tenancy.tools import ToolRegistry


@dataclass(frozen=True, slots=True)
class ToolParts:
    """What the routes of tools are made of."""

    access: ToolAccess
    door: ToolDoor
    registry: ToolRegistry


def tool_parts(stack: AsyncExitStack, base: Floor, access: Access, live: LiveInvocations) -> ToolParts:
    """Build the door; `stack` ends what it has under way."""
    registry = ToolRegistry(base.platform, base.stores, base.changes, clock=base.clock)
    stack.push_async_callback(registry.aclose)
    base.readings.cache("tools", registry.copies)
    door = ToolDoor(
        registry=registry,
        rates=access.admission.rates,
        calls=ToolCalls(base.trips),
        backends={
            "mcp": McpBackend(base.http, clock=base.clock),
            "http": HttpBackend(base.http),
            "lambda": LambdaBackend(signed_lambda(base)),
        },
        tokens=base.tool_tokens,
        interceptors=base.interceptors,
        audit=base.audit,
        clock=base.clock,
        metrics=ToolMetrics(base.metrics),
    )
    return ToolParts(
        ToolAccess(access, base.tool_tokens, Liveness(base.stores, live, clock=base.clock)), door, registry
    )


def signed_lambda(base: Floor) -> SignedLambda:
    """Return what invokes functions of the deployment's own regions."""
    settings = base.settings
    regions = {settings.home_region, settings.runtime_region}
    authorizers = {region: _authorizer(region, base.credentials, base.clock) for region in regions}
    return SignedLambda(base.http, authorizers, _endpoint(settings))


def _authorizer(region: str, credentials: Credentials, clock: Clock) -> SigV4Authorizer:
    return SigV4Authorizer(SigV4Signer(region, "lambda"), credentials, clock)


def _endpoint(settings: Settings) -> str:
    return (settings.lambda_endpoint or "https://lambda.{region}.amazonaws.com").rstrip("/")
