"""From a request to the value that proves who is calling: a Principal, or a TenantContext.

A handler that needs one takes it as an argument, so a route cannot be reached without it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.errors import DirectoryUnboundError, RoleMissingError, TenantMismatchError, TokenRefusedError
from gateway.identity import Authenticator, authorization_of, check_tenant_header, require_role
from gateway.middleware import ACTING, ORIGIN, RATE
from gateway.refused import Refused
from tenancy.admission import Admission
from tenancy.audit import AuditTrail
from tenancy.clock import Clock
from tenancy.context import Principal, Role, TenantContext
from tenancy.data_models import AuditEvent
from tenancy.errors import RateLimitedError, TenantUnknownError
from tenancy.ids import TenantId, new_audit_id
from tenancy.registry import TenantRegistry

TENANT_HEADER: Final = "X-Tenant-Id"
_DEVELOPERS: Final = frozenset({Role.AGENT_DEVELOPER, Role.PLATFORM_OPERATOR, Role.PLATFORM_ADMIN})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PrincipalHandler = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]
TenantHandler = Callable[[web.Request, TenantContext], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Access:
    """Lets callers in."""

    authenticator: Authenticator
    registry: TenantRegistry
    admission: Admission
    audit: AuditTrail
    refused: Refused
    clock: Clock

    def principal(self, handler: PrincipalHandler) -> Handler:
        """Guard a handler that any authenticated principal may reach."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            return await handler(request, await self._principal(request))

        return guarded

    def tenant(self, role: Role, handler: TenantHandler) -> Handler:
        """Guard a handler that acts for the caller's own, active tenant and needs `role`."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            principal = await self._principal(request)
            require_role(principal, role)
            return await handler(request, await self.context(request, principal))

        return guarded

    def platform(self, role: Role, handler: PrincipalHandler) -> Handler:
        """Guard a handler for operators with `role`; a tenant's principal never has one of the platform's roles."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            principal = await self._principal(request)
            if role not in principal.roles or principal.tenant_id is not None:
                self.refused.note(RoleMissingError.code, principal.tenant_id, principal.subject)
                raise RoleMissingError(role)
            return await handler(request, principal)

        return guarded

    def developer(self, handler: PrincipalHandler) -> Handler:
        """Guard a handler for developers, a tenant's among them, and for the platform's own operators."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            principal = await self._principal(request)
            if principal.tenant_id is not None:
                require_role(principal, Role.AGENT_DEVELOPER)
                await self.context(request, principal)
            elif principal.roles.isdisjoint(_DEVELOPERS):
                raise RoleMissingError(Role.AGENT_DEVELOPER)
            return await handler(request, principal)

        return guarded

    async def context(self, request: web.Request, principal: Principal) -> TenantContext:
        """Return the principal's tenant as it stands, one request counted.

        Raises TenantUnknownError, TenantSuspendedError, TenantDeletedError, RateLimitedError, TenantMismatchError.
        """
        if principal.tenant_id is None:
            raise TenantUnknownError
        ctx = TenantContext(await self.registry.get(principal.tenant_id), principal)
        rate = request[RATE] = await self.admission.request(ctx)
        if rate.retry_after_s is not None:
            raise RateLimitedError(rate.retry_after_s)
        # Only now: each attempt writes an audit event, so attempts are counted like any other request.
        self._check_named(request, principal)
        return ctx

    async def _principal(self, request: web.Request) -> Principal:
        try:
            principal = await self.authenticator.authenticate(authorization_of(request.headers))
        except (TokenRefusedError, DirectoryUnboundError) as error:
            self.refused.note(error.code)
            raise
        request[ACTING] = (principal.tenant_id, principal.subject)
        if principal.tenant_id is None:
            self._check_named(request, principal)
        return principal

    def _check_named(self, request: web.Request, principal: Principal) -> None:
        try:
            # All of them: another reader of the request might pick another one.
            for named in request.headers.getall(TENANT_HEADER, ()):
                check_tenant_header(principal, named)
        except TenantMismatchError as mismatch:
            if mismatch.tenant_id is not None:
                self._audit(request, mismatch, mismatch.tenant_id)
            raise

    def _audit(self, request: web.Request, mismatch: TenantMismatchError, tenant_id: TenantId) -> None:
        now = self.clock.now()
        self.audit.record(
            AuditEvent(
                tenant_id=tenant_id,
                audit_id=new_audit_id(now),
                actor=mismatch.subject,
                operation="http.request",
                outcome="refused",
                reason="the X-Tenant-Id header names another tenant",
                target=mismatch.named,
                request_id=request[ORIGIN].request_id,
                at=now,
            )
        )
