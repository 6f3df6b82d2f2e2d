"""The reference agents as the seeded stack knows them: their runtimes, and their places in the catalog."""

import tomllib
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from agents.control import WantedRuntime, runtime_name
from ops.devstack.layout import CHECKOUT
from tenancy.data_models import AgentVersion, Mode, ReleaseState
from tenancy.ids import parse_agent_name
from tenancy.prices import Price

FOLDER: Final = "echo-agent"
# The local AgentCore runs folders, named as images of a registry in a region of that name.
_REGISTRY: Final = "dkr.ecr.local.amazonaws.com"
# The shortest AgentCore allows: most sessions of a development stack are used once, and each is a process.
_IDLE_TIMEOUT_S: Final = 60
# A model of the middle: 3 and 15 dollars for a million tokens, 11 cents an hour of a session.
PRICE: Final = Price(invocation_microusd=100, input_1k_microusd=3_000, output_1k_microusd=15_000, runtime_s_microusd=30)


class _Project(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    version: str
    description: str


def runtime(account: str, folder: str = FOLDER) -> WantedRuntime:
    """Return the runtime that runs the agent's folder."""
    return WantedRuntime(
        name=runtime_name(parse_agent_name(folder)),
        container_uri=f"{account}.{_REGISTRY}/{folder}:dev",
        role_arn=f"arn:aws:iam::{account}:role/agent",
        idle_timeout_s=_IDLE_TIMEOUT_S,
    )


def version(runtime_arn: str, now: datetime, folder: str = FOLDER, tools: tuple[str, ...] = ()) -> AgentVersion:
    """Return the version the agent's own manifest names, promoted, with the tools it may call."""
    project = _manifest(folder)
    return AgentVersion(
        name=parse_agent_name(project.name),
        version=project.version,
        description=project.description,
        modes=frozenset(Mode),
        runtime_arn=runtime_arn,
        kit=True,
        tools=tools,
        price=PRICE,
        state=ReleaseState.PROMOTED,
        created_at=now,
    )


def _manifest(folder: str) -> _Project:
    with (CHECKOUT / "agents" / folder / "pyproject.toml").open("rb") as source:
        return _Project.model_validate(tomllib.load(source)["project"])
