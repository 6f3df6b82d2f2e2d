"""The data plane: InvokeAgentRuntime and StopRuntimeSession, as their wire is on AWS.

The ARN is one raw path segment. Checks run in AWS's order as far as it is known: signature, runtime and endpoint,
authorisation, fields, and only then anything that starts or touches a session.
"""

import logging
import uuid

from aiohttp import web

from ops.devstack.runtime.answers import REQUEST_ID, aws_errors, identify, json_answer
from ops.devstack.runtime.arn import ACCOUNT, RUNTIME_ID, RuntimeArn
from ops.devstack.runtime.bearer import BearerCheck
from ops.devstack.runtime.callers import Caller, Callers
from ops.devstack.runtime.errors import AccessDeniedError, InvalidRequestError, NotFoundError
from ops.devstack.runtime.faults import ANSWERS, REFUSALS, Faults, refusal
from ops.devstack.runtime.headers import REQUEST_ID as AGENT_REQUEST_ID
from ops.devstack.runtime.headers import SESSION_ID, TRACE_ID, new_trace_id, towards_agent
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.registry import DEFAULT, Endpoint, Registry, Runtime, Version
from ops.devstack.runtime.relay import Relay
from ops.devstack.runtime.supervisor import Supervisor
from tenancy.clock import Clock

_log = logging.getLogger(__name__)
_OTHER_METHOD = (
    "Authorization method mismatch. The agent is configured for a different authorization method than what was used "
    "in your request. Check the agent's authorization configuration and ensure your request uses the matching method "
    "(OAuth or SigV4)"
)


class DataPlane:
    """The data plane's routes."""

    def __init__(
        self,
        *,
        registry: Registry,
        supervisor: Supervisor,
        callers: Callers,
        bearer: BearerCheck,
        faults: Faults,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._supervisor = supervisor
        self._callers = callers
        self._bearer = bearer
        self._faults = faults
        self._limits = limits
        self._clock = clock

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[aws_errors], client_max_size=self._limits.payload_bytes)
        app.on_response_prepare.append(identify)
        app.router.add_post("/runtimes/{runtime}/invocations", self.invoke)
        app.router.add_post("/runtimes/{runtime}/stopruntimesession", self.stop)
        return app

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        """InvokeAgentRuntime."""
        body = await request.read()
        runtime, endpoint, version = await self._target(request, body)
        asked = towards_agent(request.headers, version.spec.allowlist)
        session_id = asked.setdefault(SESSION_ID, str(uuid.uuid4()))
        asked[AGENT_REQUEST_ID] = request[REQUEST_ID]
        asked.setdefault(TRACE_ID, new_trace_id(self._clock.now()))
        if (fault := self._faults.take(runtime.id, REFUSALS)) is not None:
            raise refusal(fault)
        begun = self._clock.monotonic()
        session = await self._supervisor.acquire(runtime, version, runtime.arn.endpoint(endpoint.name), session_id)
        fault = self._faults.take(runtime.id, ANSWERS)
        answer = await Relay(session, asked, body, fault, self._limits, self._clock).run(request)
        took = self._clock.monotonic() - begun
        _log.info("invoke runtime=%s session=%s status=%d s=%.3f", runtime.id, session_id, answer.status, took)
        return answer

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """StopRuntimeSession."""
        body = await request.read()
        runtime, _, version = await self._target(request, body)
        session_id = towards_agent(request.headers, version.spec.allowlist).get(SESSION_ID)
        if session_id is None:
            raise InvalidRequestError("runtimeSessionId is required", fields=[(SESSION_ID, "Member must not be null")])
        await self._supervisor.stop(runtime.id, session_id)
        answer = json_answer({})
        answer.headers[SESSION_ID] = session_id
        return answer

    async def _target(self, request: web.Request, body: bytes) -> tuple[Runtime, Endpoint, Version]:
        """Return what a request is for, once its caller may use it."""
        caller = self._callers.recognise(request, body)
        runtime = self._runtime(request)
        endpoint = runtime.endpoint(request.query.get("qualifier", DEFAULT))
        if endpoint.live is None:
            raise NotFoundError(f"Endpoint '{endpoint.name}' of agent '{runtime.arn}' is not ready")
        version = runtime.version(endpoint.live)
        await self._authorise(caller, runtime, endpoint, version)
        return runtime, endpoint, version

    def _runtime(self, request: web.Request) -> Runtime:
        name = request.match_info["runtime"]
        account = request.query.get("accountId")
        if RUNTIME_ID.fullmatch(name):
            if account is None or not ACCOUNT.fullmatch(account):
                raise InvalidRequestError("accountId is required when agentRuntimeArn is an agent id")
            runtime = self._registry.find(name)
            if runtime is None or runtime.account != account:
                raise NotFoundError(f"No endpoint or agent found with qualifier '{DEFAULT}' for agent '{name}'")
            return runtime
        arn = RuntimeArn.parse(name)
        if arn is None:
            raise InvalidRequestError("agentRuntimeArn is not the ARN of an agent runtime")
        runtime = self._registry.find(arn.runtime_id)
        if runtime is None or runtime.arn != arn:
            raise NotFoundError(f"No endpoint or agent found with qualifier '{DEFAULT}' for agent '{arn}'")
        return runtime

    async def _authorise(self, caller: Caller, runtime: Runtime, endpoint: Endpoint, version: Version) -> None:
        authorizer = version.spec.authorizer_configuration
        if authorizer is None:
            if caller.bearer is not None:
                raise AccessDeniedError(_OTHER_METHOD)
            return
        if caller.signed:
            raise AccessDeniedError(_OTHER_METHOD)
        await self._bearer.check(caller.bearer, authorizer.jwt, runtime, endpoint.name)
