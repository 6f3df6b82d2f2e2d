"""One shell in which a runbook's steps run, one after the other: what a step sets, the next ones know."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

# Scripts come on a pipe of their own, so that no command reads them as its input.
_LOOP: Final = """
while IFS= read -r -d '' script <&"$SCRIPTS"; do
  eval "$script" </dev/null
  printf '\\n%s %d\\n' "$MARK" $?
done
"""
_SURE: Final = "set -eu -o pipefail\n"
_UNSURE: Final = "set +e; set -u -o pipefail\n"
_LINE_BYTES: Final = 1 << 22


class ShellEndedError(Exception):
    """The shell is no more: a command of the script failed; carries what it said and its exit code."""

    def __init__(self, output: str, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.output = output
        self.exit_code = exit_code


class Shell:
    """A running bash."""

    def __init__(self, process: asyncio.subprocess.Process, scripts: int, mark: str) -> None:
        self._process: Final = process
        self._scripts: Final = scripts
        self._mark: Final = mark.encode()

    async def run(self, script: str, *, may_fail: bool) -> tuple[str, int]:
        """Return what a script says and its exit code; raises ShellEndedError where it fails and may not."""
        os.write(self._scripts, ((_UNSURE if may_fail else _SURE) + script).encode() + b"\0")
        if self._process.stdout is None:
            raise ShellEndedError("", 1)
        said: list[bytes] = []
        while line := await self._process.stdout.readline():
            if line.startswith(self._mark):
                return _text(said), int(line.split()[-1])
            said.append(line)
        raise ShellEndedError(_text(said), await self._process.wait())


@asynccontextmanager
async def shell(variables: Mapping[str, str], folder: Path) -> AsyncIterator[Shell]:
    """Run a shell in a folder, with exactly these variables; whatever it started ends with it."""
    mark, (reading, writing) = secrets.token_hex(16), os.pipe()
    process = await asyncio.create_subprocess_exec(
        "bash",
        "--noprofile",
        "--norc",
        "-c",
        _LOOP,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**variables, "MARK": mark, "SCRIPTS": str(reading)},
        cwd=folder,
        pass_fds=(reading,),
        start_new_session=True,
        limit=_LINE_BYTES,
    )
    os.close(reading)
    try:
        yield Shell(process, writing, mark)
    finally:
        os.close(writing)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


def _text(said: list[bytes]) -> str:
    return b"".join(said).decode(errors="replace").rstrip("\n")
