"""Tools that are Lambda functions, invoked as AgentCore Gateway invokes its Lambda targets.

The event is the arguments and nothing else; which tool is meant, and for whom, stands in the client context, under
the names AgentCore gives them (`bedrockAgentCoreToolName`) and Lockgate's own beside them. So a function written for
AgentCore Gateway answers here as it is. What invokes is injected: a signed HTTPS call, or a stand-in.
"""

import base64
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from agents.authorize import Authorizer, Outgoing
from gateway.tools import fetch
from gateway.tools.calls import ToolCall, ToolResult
from gateway.tools.errors import ToolBrokenError
from gateway.tools.http_backend import result_of

TOOL_NAME: Final = "bedrockAgentCoreToolName"
MESSAGE_VERSION: Final = "bedrockAgentCoreMessageVersion"
_ARN_PARTS: Final = 7
_REGION: Final = 3


@dataclass(frozen=True, slots=True)
class FunctionAnswer:
    """What a function returned, as JSON; `failed` where it raised instead."""

    payload: bytes
    failed: bool


class InvokeFunction(Protocol):
    """Invokes a function and waits for its answer."""

    def __call__(
        self, arn: str, event: bytes, custom: Mapping[str, str], *, limit_bytes: int
    ) -> Awaitable[FunctionAnswer]:
        """Return the answer; `custom` is the client context's. Raises ToolFaultError."""
        ...


@dataclass(frozen=True, slots=True)
class LambdaBackend:
    """Calls Lambda tools."""

    invoke: InvokeFunction

    async def __call__(self, call: ToolCall) -> ToolResult:
        """Invoke the function; raises ToolFaultError."""
        told = {
            TOOL_NAME: call.tool.called,
            MESSAGE_VERSION: "1.0",
            "lockgateTenant": call.tenant_id,
            "lockgateInvocation": call.invocation,
            "lockgateAgent": call.agent,
            "lockgateAssertion": call.assertion,
        }
        custom = {name: value for name, value in told.items() if value is not None}
        limit_bytes = call.tool.answer_limit_bytes
        answer = await self.invoke(call.tool.target, orjson.dumps(call.arguments), custom, limit_bytes=limit_bytes)
        if answer.failed:
            # What a function raised is its own affair: there may be anything in it.
            raise ToolBrokenError("the function raised")
        return result_of(answer.payload)


class SignedLambda:
    """Invokes functions over Lambda's own HTTPS API; `endpoint` is a region's, `{region}` in it filled in."""

    def __init__(self, http: aiohttp.ClientSession, authorizers: Mapping[str, Authorizer], endpoint: str) -> None:
        self._http = http
        self._authorizers = authorizers
        self._endpoint = endpoint

    async def __call__(self, arn: str, event: bytes, custom: Mapping[str, str], *, limit_bytes: int) -> FunctionAnswer:
        """Invoke a function of a region that can be signed for; raises ToolFaultError."""
        parts = arn.split(":")
        authorizer = self._authorizers.get(parts[_REGION]) if len(parts) >= _ARN_PARTS else None
        if authorizer is None:
            raise ToolBrokenError("a function of a region that is not signed for")
        path = f"/2015-03-31/functions/{quote(arn, safe='')}/invocations"
        url = URL(self._endpoint.format(region=parts[_REGION]) + path, encoded=True)
        context = base64.b64encode(orjson.dumps({"custom": dict(custom)})).decode()
        headers = {
            "Host": url.host if url.explicit_port is None else f"{url.host}:{url.explicit_port}",
            "Content-Type": "application/json",
            "X-Amz-Client-Context": context,
            "X-Amz-Invocation-Type": "RequestResponse",
        }
        known = {name: value for name, value in headers.items() if value is not None}
        proof = await authorizer.headers(Outgoing("POST", path, "", known, event))
        async with fetch.post(self._http, url, event, {**known, **proof}, limit_bytes=limit_bytes) as reply:
            if not reply.ok:
                raise ToolBrokenError(f"status {reply.status}")
            return FunctionAnswer(await reply.read(), "X-Amz-Function-Error" in reply.headers)
