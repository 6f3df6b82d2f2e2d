"""What the tools' door refuses, each with its JSON-RPC error and its HTTP status.

An agent hears of these as JSON-RPC errors, never as problem documents: its MCP client understands nothing else.
"""

from collections.abc import Mapping
from typing import ClassVar

from tenancy.errors import LockgateError


class RpcError(LockgateError):
    """Root of what is answered with a JSON-RPC error; `rpc_code` and the message are fixed for each kind."""

    code = "rpc_error"
    rpc_code: ClassVar[int] = -32603
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "Lockgate failed to handle this message."

    @property
    def data(self) -> Mapping[str, object]:
        """What programs branch on."""
        return {"code": self.code}


class RpcMalformedError(RpcError):
    """The body is not JSON."""

    code = "rpc_malformed"
    rpc_code = -32700
    status = 400
    sentence = "The body is not valid JSON in UTF-8."


class RpcInvalidError(RpcError):
    """The body is JSON, but not one JSON-RPC message."""

    code = "rpc_invalid"
    rpc_code = -32600
    status = 400
    sentence = "The body must be one JSON-RPC 2.0 request or notification."


class RpcMethodError(RpcError):
    """The door does not do this."""

    code = "rpc_method_unknown"
    rpc_code = -32601
    status = 404
    sentence = "This door lists and calls tools and does nothing else."


class RpcParamsError(RpcError):
    """The parameters are not those of the method, or of the tool; `fault` is safe to show."""

    code = "rpc_params_invalid"
    rpc_code = -32602
    status = 400
    sentence = "The parameters are not acceptable."

    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.fault = fault

    @property
    def data(self) -> Mapping[str, object]:
        """The code, and what is wrong."""
        return {"code": self.code} | ({"fault": self.fault} if self.fault else {})


class RpcHeaderError(RpcError):
    """A header of the message says something else than its body."""

    code = "rpc_header_mismatch"
    rpc_code = -32020
    status = 400
    sentence = "An MCP header is missing or does not match the body."


class RpcVersionError(RpcError):
    """The message is of a version of MCP that the door does not speak."""

    code = "rpc_version_unsupported"
    rpc_code = -32022
    status = 400
    sentence = "Unsupported protocol version"

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        super().__init__("unsupported version")
        self.requested = requested
        self.supported = supported

    @property
    def data(self) -> Mapping[str, object]:
        """What the specification asks for, besides the code."""
        return {"code": self.code, "supported": list(self.supported), "requested": self.requested}


class ToolNotPermittedError(RpcError):
    """The tier, an exception or the agent does not allow the tool, or there is no such tool: all look the same."""

    code = "tool_not_permitted"
    rpc_code = -32010
    status = 403
    sentence = "The tool is not among those that may be called here."


class ToolRateError(RpcError):
    """The tenant calls the tool more often than it may."""

    code = "tool_rate_limited"
    rpc_code = -32011
    status = 429
    sentence = "The tool is called too often. Wait for Retry-After."

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"try again after {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ToolFaultError(LockgateError):
    """Root of what keeps a tool from answering; told to the agent as a result that is an error."""

    code = "tool_failed"
    sentence: ClassVar[str] = "The tool failed."


class ToolTimeoutError(ToolFaultError):
    """It took longer than its time."""

    code = "tool_timeout"
    sentence = "The tool did not answer in time."


class ToolUnreachableError(ToolFaultError):
    """It could not be reached, or the connection broke."""

    code = "tool_unreachable"
    sentence = "The tool could not be reached."


class ToolAnswerTooLargeError(ToolFaultError):
    """Its answer is larger than is passed on."""

    code = "tool_answer_too_large"
    sentence = "The tool's answer is larger than is passed on."


class ToolBrokenError(ToolFaultError):
    """It answered what is not an answer, or that it failed."""

    code = "tool_broken"
    sentence = "The tool failed or answered what is not an answer."
