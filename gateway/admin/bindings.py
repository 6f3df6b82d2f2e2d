"""Which applications speak for a tenant: bound and unbound by operators, in force at once on every process.

An application speaks for one tenant. A binding is only ever made where there is none, and only removed from the
tenant it is of: nobody is moved from one tenant to another by a slip.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from gateway.admin.paths import REASON, TENANT, tenant_in, tenant_of
from gateway.admin.schemas import (
    CLIENT_PATTERN,
    DIRECTORY_PATTERN,
    BindingRequest,
    BindingsView,
    BindingView,
    NewBindingRequest,
    UnbindingRequest,
)
from gateway.admin.trail import Act, AdminTrail
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read, read_body
from gateway.identity import BINDING_KIND
from gateway.operations import IDEMPOTENCY_KEY, Answer, Content, Operation, Parameter, answer
from gateway.routes.answers import json_answer
from gateway.tokens import TokenRules
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import IdentityBinding
from tenancy.errors import BindingTakenError, ConditionFailedError
from tenancy.ids import TenantId
from tenancy.platform_acts import PlatformActs
from tenancy.platform_store import PlatformStore
from tenancy.registry import TenantRegistry

_DIRECTORY: Final = "910be000-0000-4000-8000-000000000002"
_EXAMPLE: Final = NewBindingRequest(
    issuer=f"https://login.microsoftonline.com/{_DIRECTORY}/v2.0",
    directory=_DIRECTORY,
    client_id="910be000-0000-4000-8000-0000000000c2",
    reason="new back office",
)
_BOUND: Final = BindingView(
    issuer=_EXAMPLE.issuer,
    directory=_EXAMPLE.directory,
    client_id=_EXAMPLE.client_id,
    created_at=datetime(2025, 6, 1, 12, tzinfo=UTC),
)
_PATH: Final = "/v1/admin/tenants/{tenant}/bindings"
_TAG: Final = "Tenants"
LIST: Final = Operation(
    "GET",
    _PATH,
    "listBindings",
    _TAG,
    "List a tenant's bindings",
    "The applications that speak for the tenant. One bound a moment ago may not be listed yet.",
    (answer(200, "The bindings.", BindingsView(items=(_BOUND,))),),
    parameters=(TENANT,),
    problems=(NotFoundError(),),
)
BIND: Final = Operation(
    "POST",
    _PATH,
    "bindApplication",
    _TAG,
    "Bind an application to a tenant",
    "Access tokens of this application speak for the tenant from now on. Binding it again changes nothing.",
    (
        answer(200, "It was bound to this tenant before.", _BOUND),
        answer(201, "It is bound.", _BOUND),
    ),
    parameters=(TENANT, IDEMPOTENCY_KEY),
    body=Content({"application": _EXAMPLE}),
    problems=(NotFoundError(), BindingTakenError()),
)
UNBIND: Final = Operation(
    "DELETE",
    _PATH,
    "unbindApplication",
    _TAG,
    "Unbind an application from a tenant",
    "Its access tokens are refused with 403 `directory_unbound` from now on, on every process.",
    (Answer(204, "It is bound no more."),),
    parameters=(
        TENANT,
        Parameter(
            "issuer",
            "query",
            "The tokens' `iss`.",
            {"type": "string", "format": "uri", "maxLength": 256},
            _EXAMPLE.issuer,
            required=True,
        ),
        Parameter(
            "directory",
            "query",
            "The tokens' `tid`.",
            {"type": "string", "pattern": DIRECTORY_PATTERN, "maxLength": 36},
            _EXAMPLE.directory,
            required=True,
        ),
        Parameter(
            "clientId",
            "query",
            "The tokens' `azp` or `appid`.",
            {"type": "string", "pattern": CLIENT_PATTERN, "maxLength": 64},
            _EXAMPLE.client_id,
            required=True,
        ),
        REASON,
    ),
    problems=(NotFoundError(), FieldsInvalidError([FieldFault("/directory", "Field required")])),
)


@dataclass(frozen=True, slots=True)
class BindingAdmin:
    """`/v1/admin/tenants/{tenant}/bindings`."""

    registry: TenantRegistry
    platform: PlatformStore
    acts: PlatformActs
    changes: ChangeFeed
    rules: TokenRules
    trail: AdminTrail
    clock: Clock

    async def list(self, request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with the applications that speak for a tenant."""
        tenant = await tenant_in(request, self.registry)
        found = await self.platform.bindings_of(tenant.tenant_id)
        return json_answer(BindingsView(items=tuple(map(BindingView.of, found))).to_json())

    async def post(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Bind an application: 201, or 200 where it was bound to this tenant already."""
        tenant_id = tenant_of(request)
        asked = await read_body(NewBindingRequest, request)
        self._check_issuer(asked, "/issuer")
        await tenant_in(request, self.registry)
        found = await self._found(asked)
        if found is not None and found.tenant_id == tenant_id:
            return json_answer(BindingView.of(found).to_json())
        bound = await self.bind(request, actor, tenant_id, asked, asked.reason)
        return json_answer(BindingView.of(bound).to_json(), status=201)

    async def delete(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Unbind an application from its tenant."""
        tenant_id = tenant_of(request)
        asked = read(UnbindingRequest, dict(request.query))
        found = await self._found(asked)
        if found is None or found.tenant_id != tenant_id:
            raise NotFoundError
        act = Act.of(request, actor, "tenant.unbind", asked.reason)
        try:
            await self.trail.tell(act, tenant_id, partial(self.acts.delete_binding, found), target=_name(found))
        except ConditionFailedError:
            raise NotFoundError from None
        await self.changes.publish(BINDING_KIND, found.client_id)
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    async def require_free(self, asked: Iterable[BindingRequest]) -> None:
        """Raise BindingTakenError unless nobody is bound to any of these; FieldsInvalidError for a wrong issuer."""
        for number, one in enumerate(asked):
            self._check_issuer(one, f"/bindings/{number}/issuer")
            if await self._found(one) is not None:
                raise BindingTakenError

    async def bind(
        self, request: web.Request, actor: Principal, tenant_id: TenantId, asked: BindingRequest, reason: str
    ) -> IdentityBinding:
        """Make a binding that is new; raises BindingTakenError."""
        binding = IdentityBinding(
            issuer=asked.issuer,
            directory=asked.directory,
            client_id=asked.client_id,
            tenant_id=tenant_id,
            created_at=self.clock.now(),
        )
        act = Act.of(request, actor, "tenant.bind", reason)
        try:
            await self.trail.tell(act, tenant_id, partial(self.acts.create_binding, binding), target=_name(binding))
        except ConditionFailedError:
            raise BindingTakenError from None
        await self.changes.publish(BINDING_KIND, binding.client_id)
        return binding

    async def _found(self, asked: BindingRequest) -> IdentityBinding | None:
        return await self.platform.binding(asked.issuer, asked.directory, asked.client_id)

    def _check_issuer(self, asked: BindingRequest, pointer: str) -> None:
        """Raise FieldsInvalidError for an issuer whose tokens would never be accepted."""
        issuers = [self.rules.issuer_of(asked.directory, version) for version in ("1.0", "2.0")]
        if asked.issuer not in issuers:
            raise FieldsInvalidError([FieldFault(pointer, "is not the configured authority's for this directory")])


def _name(binding: IdentityBinding) -> str:
    return f"{binding.issuer} {binding.client_id}"
