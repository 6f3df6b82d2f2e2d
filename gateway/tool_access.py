"""Who is at the tools' door: an agent with a tool token, or a tenant's principal with a token of its own.

A tool token opens the door for its tenant as that stands now: one that was suspended since is refused, and every
message counts against the tenant's rate. The caller's own token opens it too, for whoever may invoke agents: tools
can so be tried by hand, and a tenant's own MCP client works with them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp import web

from gateway.access import Access, Handler
from gateway.errors import ToolTokenRefusedError
from gateway.identity import authorization_of, bearer_of
from gateway.middleware import ACTING
from gateway.tools.door import ToolCaller
from gateway.tools.liveness import Liveness
from gateway.tooltokens import ToolClaims, ToolTokens
from tenancy.context import Principal, Role, TenantContext

CallerHandler: TypeAlias = Callable[[web.Request, ToolCaller], Awaitable[web.StreamResponse]]
ClaimsHandler: TypeAlias = Callable[[web.Request, ToolClaims], Awaitable[web.StreamResponse]]
# What a tool token lets an agent do here is call tools; of the person's own roles it carries none.
_ROLES: Final = frozenset[Role]()


@dataclass(frozen=True, slots=True)
class ToolAccess:
    """Lets callers to the door."""

    access: Access
    tokens: ToolTokens
    liveness: Liveness

    def caller(self, handler: CallerHandler) -> Handler:
        """Guard a handler that an agent or a tenant's principal may reach."""

        async def as_tenant(request: web.Request, ctx: TenantContext) -> web.StreamResponse:
            return await handler(request, ToolCaller(ctx))

        own = self.access.tenant(Role.AGENT_INVOKE, as_tenant)

        async def guarded(request: web.Request) -> web.StreamResponse:
            token = bearer_of(authorization_of(request.headers))
            if not self.tokens.keys.knows(token):
                return await own(request)
            claims = await self._claims(request, token)
            return await handler(request, ToolCaller(await self._context(request, claims), claims))

        return guarded

    def agent(self, handler: ClaimsHandler) -> Handler:
        """Guard a handler that only an agent with a tool token may reach."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            token = bearer_of(authorization_of(request.headers))
            if not self.tokens.keys.knows(token):
                raise ToolTokenRefusedError
            claims = await self._claims(request, token)
            await self._context(request, claims)
            return await handler(request, claims)

        return guarded

    async def _claims(self, request: web.Request, token: str) -> ToolClaims:
        claims = self.tokens.read(token)
        request[ACTING] = (claims.tenant, claims.sub)
        await self.liveness.require(claims)
        return claims

    async def _context(self, request: web.Request, claims: ToolClaims) -> TenantContext:
        acting = Principal(claims.sub, claims.act.sub, _ROLES, claims.tenant)
        return await self.access.context(request, acting)
