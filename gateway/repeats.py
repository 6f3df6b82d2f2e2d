"""Idempotency-Key: a creating request that comes again is given the answer it was given before.

A route takes part by naming IDEMPOTENCY_KEY among its operation's parameters; `gateway.app` then puts its handler
inside `Repeats`. The handler need not know: it reads its body with `gateway.bodies.read_json`, which is where a repeat
ends, and answers with a whole `web.Response`. Members of an answer that are shown once are named in the operation's
`shown_once` and are not kept. What creates something in a transaction may take the answer's step into it
(`gateway.original`).
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from contextvars import Context
from functools import partial
from typing import Final

from aiohttp import web

from agents.errors import RuntimeFaultError
from gateway.access import PrincipalHandler, TenantHandler
from gateway.bodies import ON_BODY
from gateway.errors import FieldFault, FieldsInvalidError, NotAcceptableError, ReplayExpiredError
from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.invoke import IDS
from gateway.live import InvocationCancelledError, InvocationTimedOutError
from gateway.middleware import ORIGIN
from gateway.negotiate import mode_of
from gateway.operations import IDEMPOTENCY_KEY, Operation
from gateway.original import ORIGINAL, REPLAYED, Line, Original, Replay, Way
from gateway.problems import problem_of, respond
from gateway.replay import Replays
from gateway.sse import RETRY
from tenancy.clock import Clock
from tenancy.context import Principal, TenantContext
from tenancy.data_models import Mode
from tenancy.errors import AnswerNotKeptError, ConditionFailedError, StoreUnavailableError
from tenancy.idempotency import PLATFORM, Answered, Asked, Idempotency
from tenancy.ids import InvocationId, TenantId

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class Repeats:
    """Puts handlers inside the rule; a request without a key goes straight to its handler."""

    def __init__(self, book: Idempotency, replays: Replays, clock: Clock) -> None:
        self._book = book
        self._replays = replays
        self._clock = clock
        self._line: Line = Line()
        self._freeing: set[asyncio.Task[None]] = set()

    def tenant(self, operation: Operation, handler: TenantHandler) -> TenantHandler:
        """Return a tenant's handler inside the rule; keys are the tenant's own."""

        def once(request: web.Request, ctx: TenantContext) -> Awaitable[web.StreamResponse]:
            if IDEMPOTENCY_KEY.name not in request.headers:
                return handler(request, ctx)
            return self._once(request, operation, ctx.tenant_id, partial(handler, request, ctx))

        return once

    def platform(self, operation: Operation, handler: PrincipalHandler) -> PrincipalHandler:
        """Return an operators' or developers' handler inside the rule; keys are the platform's or their tenant's."""

        def once(request: web.Request, principal: Principal) -> Awaitable[web.StreamResponse]:
            if IDEMPOTENCY_KEY.name not in request.headers:
                return handler(request, principal)
            owner, actor = principal.tenant_id or PLATFORM, principal.subject
            return self._once(request, operation, owner, partial(handler, request, principal), actor)

        return once

    async def aclose(self) -> None:
        """Wait for the keys that are being given back."""
        await asyncio.gather(*self._freeing, return_exceptions=True)

    async def _once(
        self,
        request: web.Request,
        operation: Operation,
        tenant_id: TenantId,
        handle: Callable[[], Awaitable[web.StreamResponse]],
        actor: str = "",
    ) -> web.StreamResponse:
        key, mode = _key_of(request), _mode_of(request, operation)
        original = request[ORIGINAL] = Original(
            self._book,
            self._clock,
            lambda body: Asked(tenant_id, operation.id, key, _hash(request, mode, actor, body)),
            _way_of(operation, mode),
            line=self._line,
            ids=lambda: request.get(IDS, {}),
            shown_once=operation.shown_once,
        )
        try:
            return await self._worked(request, operation, original, handle)
        except Replay as replay:
            return await self._replayed(request, tenant_id, replay.answer)
        except (ConditionFailedError, StoreUnavailableError) as error:
            return await self._replayed(request, tenant_id, await original.lost(error))
        finally:
            if not original.carried:
                await original.aclose()

    async def _worked(
        self,
        request: web.Request,
        operation: Operation,
        original: Original,
        handle: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        try:
            if operation.body is None or not request.body_exists:
                await original.begin(b"")
            else:
                request[ON_BODY] = original.begin
            response = await handle()
            if isinstance(response, web.Response):
                await original.keep(response)
        except Exception as error:
            if _ran(error, begun=IDS in request):
                await original.keep(respond(problem_of(error), request[ORIGIN].request_id))
            else:
                await original.free()
            raise
        except asyncio.CancelledError:
            if original.carried:
                raise
            # The caller has left, and with it ended what ran.
            freeing = asyncio.get_running_loop().create_task(original.free(), context=Context())
            self._freeing.add(freeing)
            freeing.add_done_callback(self._freeing.discard)
            raise
        return response

    async def _replayed(self, request: web.Request, tenant_id: TenantId, answer: Answered) -> web.StreamResponse:
        headers = dict(answer.headers) | {REPLAYED: "true"}
        if answer.body is not None:
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        invocation_id = InvocationId(headers["X-Invocation-Id"])
        response = web.StreamResponse(status=answer.status, headers=headers)
        async with aclosing(self._replays.follow((tenant_id, invocation_id), 0)) as pieces:
            try:
                async for frames in pieces:
                    if not response.prepared:
                        await response.prepare(request)
                        await response.write(RETRY)
                    await response.write(frames.data)
            except ReplayExpiredError as expired:
                if not response.prepared:
                    raise AnswerNotKeptError(f"/v1/invocations/{invocation_id}") from expired
                # What is cut short must not look whole.
                if request.transport is not None:
                    request.transport.abort()
        return response


def _key_of(request: web.Request) -> str:
    """Return the key, bare or as a structured field's string; raises FieldsInvalidError."""
    given = request.headers.getall(IDEMPOTENCY_KEY.name)
    bare = given[0]
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        bare = re.sub(r'\\(["\\])', r"\1", bare[1:-1])
    if len(given) > 1 or not _KEY.fullmatch(bare):
        raise FieldsInvalidError(
            [FieldFault(IDEMPOTENCY_KEY.name, "must be given once and have 1 to 255 visible ASCII characters")]
        )
    return bare


def _mode_of(request: web.Request, operation: Operation) -> Mode | None:
    """Return the mode that an invocation asks for; None for what has no modes, or asks for none there is."""
    if not operation.names_invocation:
        return None
    try:
        return mode_of(
            request.headers.getall("Accept", ()), request.headers.getall("Prefer", ()), declared=frozenset(Mode)
        )
    except NotAcceptableError:
        return None


def _way_of(operation: Operation, mode: Mode | None) -> Way:
    if not operation.names_invocation:
        return Way.BRIEF
    return Way.STORED_TOGETHER if mode is Mode.ASYNC else Way.LASTING


def _hash(request: web.Request, mode: Mode | None, actor: str, body: bytes) -> str:
    """Return what tells one request from another under the same key: target, mode, whose act, the body as it came."""
    said = f"{request.rel_url.raw_path_qs}\n{mode or ''}\n{actor}\n".encode()
    return hashlib.sha256(said + body).hexdigest()


def _ran(error: Exception, *, begun: bool) -> bool:
    """Tell whether an agent ran, and its caller is not simply meant to ask again; `begun` is an invocation's."""
    if isinstance(error, RuntimeFaultError):
        return not error.nothing_ran
    if isinstance(error, InterceptorFailedError):
        # What broke judged the agent's answer, or it judged the input.
        return begun
    return isinstance(error, InvocationCancelledError | InvocationTimedOutError | RedactionBlockedError)
