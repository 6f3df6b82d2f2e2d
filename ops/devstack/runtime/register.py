"""Puts an agent's folder into a running local AgentCore, as its owner would by CreateAgentRuntime."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ops.devstack.runtime.arn import Place
from ops.devstack.runtime.artifact import LOCAL_BUCKET
from ops.devstack.runtime.callers import LOCAL_ACCOUNT
from ops.devstack.runtime.errors import AgentFaultError, InvalidRequestError
from ops.devstack.runtime.registry import Runtime
from ops.devstack.runtime.server import LocalAgentCore
from ops.devstack.runtime.spec import Artifact, CreateRuntime, UpdateRuntime

_ROLE: Final = f"arn:aws:iam::{LOCAL_ACCOUNT}:role/local-agent"


async def register(core: LocalAgentCore, folder: Path) -> Runtime:
    """Return the ready runtime of a folder with a `main.py`; one that changed gets a new version.

    Raises InvalidRequestError for a folder outside the code root, AgentFaultError for one that cannot be run.
    """
    name, artifact = _named(core.options.code_root, folder)
    wish = {
        "agentRuntimeArtifact": artifact,
        "roleArn": _ROLE,
        "networkConfiguration": {"networkMode": "PUBLIC"},
    }
    place = Place(LOCAL_ACCOUNT, core.options.region)
    await core.catalogue.settled()
    known = next((runtime for runtime in core.registry.runtimes(place) if runtime.name == name), None)
    if known is None:
        known = core.catalogue.create(place, CreateRuntime.model_validate(wish | {"agentRuntimeName": name}))
    elif known.status != "READY" or known.newest.spec.agent_runtime_artifact != Artifact.model_validate(artifact):
        core.catalogue.update(known, UpdateRuntime.model_validate(wish))
    await core.catalogue.settled()
    if known.failure is not None:
        raise AgentFaultError(known.failure)
    return known


def _named(code_root: Path, folder: Path) -> tuple[str, Mapping[str, object]]:
    """Return the folder's name as a runtime's, and as an artifact."""
    root, place = code_root.resolve(), folder.resolve()
    if not place.is_relative_to(root):
        raise InvalidRequestError(f"{folder} is not below the code root {root}; set --code-root")
    code = {"s3": {"bucket": LOCAL_BUCKET, "prefix": str(place.relative_to(root))}}
    artifact = {"codeConfiguration": {"code": code, "runtime": "PYTHON_3_11", "entryPoint": ["main.py"]}}
    return re.sub(r"[^a-zA-Z0-9_]", "_", place.name), artifact
