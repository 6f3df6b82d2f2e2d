"""Where an agent's code is on this machine, read from what its runtime was given as artifact.

Code: bucket `local`, prefix = a folder below the code root. Container: an image of the registry in region `local`,
`<any account>.dkr.ecr.local.amazonaws.com/<folder>:<any tag>`, for SDKs that know no code configuration; its entry
point is `main.py`. Nothing above the code root is ever run.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.devstack.runtime.errors import InvalidRequestError
from ops.devstack.runtime.spec import Artifact

LOCAL_BUCKET: Final = "local"
_LOCAL_IMAGE: Final = re.compile(r"[0-9]{12}\.dkr\.ecr\.local\.amazonaws\.com/([^:@]+)(?::[^:@]{1,300})?(?:@.+)?")
_DEFAULT_ENTRY: Final = "main.py"


@dataclass(frozen=True, slots=True)
class AgentCode:
    """A folder with an entry point, and the interpreter to run it on."""

    folder: Path
    entry: str
    python: Path


@dataclass(frozen=True, slots=True)
class CodeRoot:
    """The folder all agents live below, and the interpreter of those without an environment of their own."""

    root: Path
    python: Path

    def locate(self, artifact: Artifact) -> AgentCode:
        """Return the code an artifact names; raises InvalidRequestError if it names none of this machine."""
        name, entry = _named(artifact)
        root = self.root.resolve()
        folder = (root / name).resolve()
        script = (folder / entry).resolve()
        if not folder.is_relative_to(root) or not script.is_relative_to(folder) or not script.is_file():
            raise InvalidRequestError(f"no {entry} in the folder {name} below the code root")
        # Not resolved: the link's own place tells Python which environment it belongs to.
        own = folder / ".venv" / "bin" / "python"
        return AgentCode(folder, entry, own if own.exists() else self.python)


def _named(artifact: Artifact) -> tuple[str, str]:
    if artifact.code_configuration is not None:
        location = artifact.code_configuration.code.s3
        if location.bucket != LOCAL_BUCKET:
            raise InvalidRequestError(f"the local AgentCore reads code from bucket '{LOCAL_BUCKET}' only")
        # Before the last word stand wrappers such as opentelemetry-instrument.
        return location.prefix, artifact.code_configuration.entry_point[-1]
    if artifact.container_configuration is not None:
        image = _LOCAL_IMAGE.fullmatch(artifact.container_configuration.container_uri)
        if image is not None:
            return image[1], _DEFAULT_ENTRY
    raise InvalidRequestError("the local AgentCore runs folders, as <account>.dkr.ecr.local.amazonaws.com/<folder>")
