"""How another terminal speaks to the running stack: one request, one reply, over a unix socket of its owner's.

The socket is in the state directory, or, where that path is longer than a unix socket's may be, in a directory of
its own; dev.json says which.
"""

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ops.alarms.watch import AlarmState
from ops.devstack.layout import StackNotRunningError
from ops.devstack.parts import State

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_PATH_LIMIT_BYTES: Final = 100
_TIMEOUT_S: Final = 120.0
_FAR_PREFIX: Final = "lockgate-dev-"


class PartReport(BaseModel):
    """One part as `status` shows it; `healthy` is None for what is down and for what has no check."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    state: State
    pid: int | None
    ports: tuple[int, ...]
    healthy: bool | None
    log: str


class Request(BaseModel):
    """What is asked of the stack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verb: Literal["start", "stop", "status", "alarms", "seen"]
    part: str = ""
    alarm: str = ""


class Reply(BaseModel):
    """What came of it: `detail` is a sentence for the terminal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    detail: str = ""
    parts: tuple[PartReport, ...] = ()
    alarms: tuple[AlarmState, ...] = ()


def choose_socket(state: Path) -> Path:
    """Return a path for the socket that is short enough."""
    near = state / "dev.sock"
    if len(bytes(near)) <= _PATH_LIMIT_BYTES:
        return near
    return Path(tempfile.mkdtemp(prefix=_FAR_PREFIX)) / "dev.sock"


@contextlib.asynccontextmanager
async def listening(path: Path, answer: Callable[[Request], Awaitable[Reply]]) -> AsyncIterator[None]:
    """Answer requests on the socket until left; the socket is gone afterwards."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write((await _reply_to(await reader.readline(), answer)).model_dump_json().encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, sock=_bind(path))
    try:
        yield
    finally:
        server.close()
        _remove(path)


async def ask(path: Path, request: Request) -> Reply:
    """Ask the stack that listens on `path`; raises StackNotRunningError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise StackNotRunningError(path.parent) from error
    try:
        writer.write(request.model_dump_json().encode() + b"\n")
        line = await asyncio.wait_for(reader.readline(), _TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise StackNotRunningError(path.parent) from error
    finally:
        writer.close()
    if not line:
        raise StackNotRunningError(path.parent)
    return Reply.model_validate_json(line)


def _bind(path: Path) -> socket.socket:
    # The state's lock is held: whoever left a socket here is gone.
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    return bound


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.name.startswith(_FAR_PREFIX):
        shutil.rmtree(path.parent, ignore_errors=True)


async def _reply_to(line: bytes, answer: Callable[[Request], Awaitable[Reply]]) -> Reply:
    try:
        request = Request.model_validate_json(line)
    except ValidationError:
        return Reply(ok=False, detail="not a request this stack understands")
    return await answer(request)
