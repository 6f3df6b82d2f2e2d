"""`lockgate` for many commands in a row: a process that has imported everything, and a fork of it for each command.

`python -m ops.cli.warm SOCKET` serves; who calls is in ops/runbooks/commands.py. A command gets its caller's own
descriptors, folder and variables, and its exit code is the caller's.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Never

from ops.cli.main import load_all, main


def serve(path: Path) -> Never:
    """Serve until killed."""
    load_all()
    # Each child says itself how it ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen()
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _answer(line, main)
        line.close()


def _answer(line: socket.socket, run: Callable[[], None]) -> Never:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, _, _ = socket.recv_fds(line, 4, 3)
    folder, count, *rest = os.fsdecode(_exactly(line, int.from_bytes(head, "big"))).split("\0")
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
    os.chdir(folder)
    os.environ.clear()
    for pair in rest[int(count) :]:
        name, _, value = pair.partition("=")
        os.environ[name] = value
    sys.argv = ["lockgate", *rest[: int(count)]]
    code = _code_of(run)
    sys.stdout.flush()
    sys.stderr.flush()
    line.sendall(bytes([code]))
    os._exit(code)


def _exactly(line: socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size and (piece := line.recv(size - len(body))):
        body += piece
    return body


def _code_of(run: Callable[[], None]) -> int:
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
