"""`lockgate` for the many commands of a runbook: each answers at once, from a process that has imported everything."""

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ops.devstack.process import spawn, stop, until_ready

_CALLER: Final = """\
#!{python} -IS
import os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
said = [os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:], *(f"{{n}}={{v}}" for n, v in os.environ.items())]
body = os.fsencode(chr(0).join(said))
socket.send_fds(line, [len(body).to_bytes(4, "big")], [0, 1, 2])
line.sendall(body)
code = line.recv(1)
sys.exit(code[0] if code else 1)
"""


def _caller(path: Path) -> str:
    """Return the program that has its arguments run by the server at `path`."""
    return _CALLER.format(python=sys.executable, path=str(path))


@asynccontextmanager
async def commands(variables: Mapping[str, str]) -> AsyncIterator[Path]:
    """Give a folder whose `lockgate` answers at once, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="lockgate-run-") as folder:
        place = Path(folder)
        socket, program, log = place / "warm", place / "bin" / "lockgate", place / "log"
        program.parent.mkdir()
        program.write_text(_caller(socket))
        program.chmod(0o700)
        process = await spawn([sys.executable, "-m", "ops.cli.warm", socket], env=variables, log=log)

        async def ready() -> bool:
            return socket.is_socket()

        await until_ready("lockgate", process, ready, log=log, fix="`make install` brings what is missing")
        try:
            yield program.parent
        finally:
            await stop(process)
