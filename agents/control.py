"""AgentCore's control plane: makes sure that an agent's runtime exists as described and is ready.

A runtime is looked up by its name and changed only where it differs, so that doing it again makes no new version.
Every change is a new immutable version, which the DEFAULT endpoint follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from agents.errors import RuntimeBrokenError, RuntimeTimeoutError
from agents.inband import ALLOWED_HEADERS
from tenancy.clock import Clock
from tenancy.ids import AgentName

READY_TIMEOUT_S: Final = 300.0
# AgentCore's own; the lifetime is also its longest.
DEFAULT_IDLE_TIMEOUT_S: Final = 900
_LIFETIME_S: Final = 28_800
_FIRST_LOOK_S: Final = 0.05
_LAST_LOOK_S: Final = 5.0
_UNDER_WAY: Final = frozenset({"CREATING", "UPDATING"})
_PAGE: Final = 100

_log = structlog.get_logger("agents.control")

Fields = dict[str, Any]  # what botocore takes and gives


class ControlClient(Protocol):
    """The calls used of aioboto3's `bedrock-agentcore-control` client; all raise botocore's ClientError."""

    async def list_agent_runtimes(self, **fields: object) -> Fields:
        """List one page."""
        ...

    async def create_agent_runtime(self, **fields: object) -> Fields:
        """Create."""
        ...

    async def update_agent_runtime(self, **fields: object) -> Fields:
        """Replace the description, as a new version."""
        ...

    async def get_agent_runtime(self, **fields: object) -> Fields:
        """Describe the newest version."""
        ...


@dataclass(frozen=True, slots=True)
class WantedRuntime:
    """A runtime as it should be; `name` as `runtime_name` makes it."""

    name: str
    container_uri: str
    role_arn: str
    allowed_headers: tuple[str, ...] = ALLOWED_HEADERS
    environment: Mapping[str, str] = field(default_factory=dict)
    idle_timeout_s: int = DEFAULT_IDLE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class RuntimeRef:
    """A ready runtime and its newest version's number."""

    arn: str
    version: str


def runtime_name(agent: AgentName) -> str:
    """Return an agent's name as AgentCore allows it: no hyphens."""
    return agent.replace("-", "_")


class ControlPlane:
    """Registers runtimes."""

    def __init__(self, client: ControlClient, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def ensure_runtime(self, wanted: WantedRuntime) -> RuntimeRef:
        """Return the runtime of that name once it is as wanted and ready.

        Raises ClientError, RuntimeBrokenError if AgentCore failed to make it, RuntimeTimeoutError after five minutes.
        """
        runtime_id = await self._find(wanted.name)
        if runtime_id is None:
            created = await self._client.create_agent_runtime(agentRuntimeName=wanted.name, **_described(wanted))
            _log.info("runtime_created", runtime=created["agentRuntimeId"])
            return await self._ready(created["agentRuntimeId"])
        found = await self._settled(runtime_id)
        if _differs(found, wanted):
            await self._client.update_agent_runtime(agentRuntimeId=runtime_id, **_described(wanted))
            _log.info("runtime_updated", runtime=runtime_id)
        return await self._ready(runtime_id)

    async def _find(self, name: str) -> str | None:
        page: Fields = {"nextToken": None}
        while "nextToken" in page:
            after = {"nextToken": page["nextToken"]} if page["nextToken"] else {}
            page = await self._client.list_agent_runtimes(maxResults=_PAGE, **after)
            for runtime in page["agentRuntimes"]:
                if runtime["agentRuntimeName"] == name:
                    found: str = runtime["agentRuntimeId"]
                    return found
        return None

    async def _ready(self, runtime_id: str) -> RuntimeRef:
        found = await self._settled(runtime_id)
        if found["status"] != "READY":
            raise RuntimeBrokenError(f"runtime {runtime_id} is {found['status']}")
        return RuntimeRef(found["agentRuntimeArn"], found["agentRuntimeVersion"])

    async def _settled(self, runtime_id: str) -> Fields:
        until, look_s = self._clock.monotonic() + READY_TIMEOUT_S, _FIRST_LOOK_S
        while (found := await self._client.get_agent_runtime(agentRuntimeId=runtime_id))["status"] in _UNDER_WAY:
            if self._clock.monotonic() >= until:
                raise RuntimeTimeoutError(f"runtime {runtime_id} is still {found['status']}")
            await self._clock.sleep(look_s)
            look_s = min(look_s * 2, _LAST_LOOK_S)
        return found


def _described(wanted: WantedRuntime) -> Fields:
    return {
        "agentRuntimeArtifact": {"containerConfiguration": {"containerUri": wanted.container_uri}},
        "roleArn": wanted.role_arn,
        "networkConfiguration": {"networkMode": "PUBLIC"},
        "requestHeaderConfiguration": {"requestHeaderAllowlist": list(wanted.allowed_headers)},
        "environmentVariables": dict(wanted.environment),
        "lifecycleConfiguration": {"idleRuntimeSessionTimeout": wanted.idle_timeout_s, "maxLifetime": _LIFETIME_S},
    }


def _differs(found: Fields, wanted: WantedRuntime) -> bool:
    # Empty settings may be left out of what AgentCore tells.
    return any(found.get(name) != value for name, value in _described(wanted).items() if value or found.get(name))
