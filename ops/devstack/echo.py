"""The reference agent as the seeded stack knows it: its runtime, and its place in the catalog."""

import tomllib
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from agents.control import WantedRuntime, runtime_name
from ops.devstack.layout import CHECKOUT
from tenancy.data_models import AgentVersion, Mode, ReleaseState
from tenancy.ids import parse_agent_name

_FOLDER: Final = "echo-agent"
# The local AgentCore runs folders, named as images of a registry in a region of that name.
_REGISTRY: Final = "dkr.ecr.local.amazonaws.com"
# The shortest AgentCore allows: most sessions of a development stack are used once, and each is a process.
_IDLE_TIMEOUT_S: Final = 60


class _Project(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    version: str
    description: str


def runtime(account: str) -> WantedRuntime:
    """Return the runtime that runs the agent's folder."""
    return WantedRuntime(
        name=runtime_name(parse_agent_name(_FOLDER)),
        container_uri=f"{account}.{_REGISTRY}/{_FOLDER}:dev",
        role_arn=f"arn:aws:iam::{account}:role/agent",
        idle_timeout_s=_IDLE_TIMEOUT_S,
    )


def version(runtime_arn: str, now: datetime) -> AgentVersion:
    """Return the version the agent's own manifest names, promoted."""
    project = _manifest()
    return AgentVersion(
        name=parse_agent_name(project.name),
        version=project.version,
        description=project.description,
        modes=frozenset(Mode),
        runtime_arn=runtime_arn,
        kit=True,
        state=ReleaseState.PROMOTED,
        created_at=now,
    )


def _manifest() -> _Project:
    with (CHECKOUT / "agents" / _FOLDER / "pyproject.toml").open("rb") as source:
        return _Project.model_validate(tomllib.load(source)["project"])
