"""What can go wrong between the gateway and AgentCore; `gateway.problems` maps each to an HTTP answer.

`nothing_ran` tells whether the runtime refused before any agent code ran: only then is a retry safe.
"""

from typing import ClassVar

from tenancy.data_models import ReleaseState
from tenancy.errors import LockgateError


class AgentUnknownError(LockgateError):
    """No invokable agent of that name for this tenant."""

    code = "agent_unknown"


class SessionUnknownError(LockgateError):
    """The tenant was never given that session, or it has expired."""

    code = "session_unknown"


class SessionBusyError(LockgateError):
    """Another turn of the session is still running."""

    code = "session_busy"


class ReleaseIllegalError(LockgateError):
    """A version cannot go from the state it is in to the one asked for; `allowed` are those it can go to."""

    code = "release_illegal"

    def __init__(self, state: ReleaseState, allowed: tuple[ReleaseState, ...]) -> None:
        self.state = state
        self.allowed = allowed
        super().__init__(f"the version is {state}")


class LastPromotedError(LockgateError):
    """Rolling the version back would leave nothing to roll back to."""

    code = "last_promoted"


class AgentTakenError(LockgateError):
    """The agent was registered by somebody else's developers."""

    code = "agent_taken"


class AgentVersionExistsError(LockgateError):
    """A version of this number was registered before; versions do not change."""

    code = "agent_version_exists"


class RuntimeFaultError(LockgateError):
    """Root of what AgentCore or the agent did wrong."""

    nothing_ran: ClassVar[bool] = False


class RuntimeThrottledError(RuntimeFaultError):
    """429: too many requests or new sessions for the account."""

    code = "runtime_throttled"
    nothing_ran = True


class RuntimeQuotaError(RuntimeFaultError):
    """402: the account's active sessions are used up."""

    code = "runtime_quota"
    nothing_ran = True


class RuntimeBusyError(RuntimeFaultError):
    """409: the session is being provisioned or torn down."""

    code = "runtime_busy"
    nothing_ran = True


class RuntimeMissingError(RuntimeFaultError):
    """404: the runtime or its endpoint does not exist."""

    code = "runtime_missing"
    nothing_ran = True


class RuntimeRefusedError(RuntimeFaultError):
    """400, 401 or 403: AgentCore did not accept the call as Lockgate made it."""

    code = "runtime_refused"
    nothing_ran = True


class RuntimeUnreachableError(RuntimeFaultError):
    """No connection could be made: nothing was sent."""

    code = "runtime_unreachable"
    nothing_ran = True


class RuntimeSparedError(RuntimeFaultError):
    """The runtime has failed too often just now: it is left alone for some seconds, and nothing was sent."""

    code = "runtime_spared"
    nothing_ran = True


class RuntimeBrokenError(RuntimeFaultError):
    """500, or an answer that is not AgentCore's: the agent may have run."""

    code = "runtime_broken"


class AgentFailedError(RuntimeFaultError):
    """424, or an error event in the stream: the agent failed or did not start."""

    code = "agent_error"


class AgentAnswerTooLargeError(RuntimeFaultError):
    """The answer, or one event of it, is larger than Lockgate passes on."""

    code = "answer_too_large"


class RuntimeTimeoutError(RuntimeFaultError):
    """AgentCore did not answer, or went silent, for longer than the mode allows."""

    code = "upstream_timeout"


class StreamInterruptedError(RuntimeFaultError):
    """The connection broke in the middle of an answer."""

    code = "stream_interrupted"
