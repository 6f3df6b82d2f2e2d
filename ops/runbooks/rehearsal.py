"""A runbook on the running local stack: what its steps are given, and where their evidence is kept."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ops.devstack.dev_files import DevFile
from ops.devstack.layout import CHECKOUT, Layout, write_private
from ops.runbooks.page import RUN, Runbook
from ops.runbooks.run import Evidence, Run, Told
from tenancy.clock import Clock

FOLDER: Final = CHECKOUT / "runbooks"
LOCAL: Final = "local"


class Rehearsals:
    """Runs runbooks on one stack; `bin_folder` has the `lockgate` their steps call."""

    def __init__(
        self, dev: DevFile, layout: Layout, inherited: Mapping[str, str], bin_folder: Path, clock: Clock
    ) -> None:
        self._layout: Final = layout
        self._clock: Final = clock
        self._variables: Final = {
            **inherited,
            "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{inherited.get('PATH', '/usr/bin:/bin')}",
            "NO_COLOR": "1",
            "COLUMNS": "240",
            "LOCKGATE_DEV_STATE": str(layout.state),
            "STATE": str(layout.state),
            "GATEWAY": dev.gateway,
            "RECEIVER": dev.receiver,
        }

    async def __call__(self, book: Runbook, told: Told, variables: Mapping[str, str] | None = None) -> Evidence:
        """Run a runbook whole, its fault injected first."""
        run = Run(book, environment=LOCAL, version=version("lockgate"), clock=self._clock, told=told)
        folder = self._layout.state / "evidence" / book.front.id
        folder.mkdir(parents=True, exist_ok=True)
        return await run(RUN, {**self._variables, "EVIDENCE": str(folder), **(variables or {})}, CHECKOUT)


def keep(evidence: Evidence, layout: Layout) -> Path:
    """Write evidence to a file of its own and return its path."""
    folder = layout.state / "evidence"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{evidence.runbook}-{evidence.started_at:%Y%m%dT%H%M%SZ}.json"
    write_private(path, evidence.model_dump_json(by_alias=True, indent=2).encode() + b"\n")
    return path
