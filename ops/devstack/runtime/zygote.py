"""The parent of agent processes: imports what every SDK agent imports once, then forks one process per session.

Runs on the agent's own Python, isolated (`-I`), with nothing but the standard library of its own, and never imports an
agent's code itself: that happens only in the forked child. Orders and reports are JSON lines on one socket. Children
die with this process, and this process dies with the runtime that started it, however either ends.

Every child gets a listening Unix socket made before the fork, so that a first request can be sent at once and waits
in the backlog until the agent serves; `uvicorn.Config` is told to use it instead of a host and a port.
"""

import ctypes
import gc
import importlib
import json  # noqa: TID251 - runs on the agent's Python, where only the standard library is sure
import os
import runpy
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_PRELOADED = (
    "asyncio",
    "bedrock_agentcore",
    "bedrock_agentcore.runtime",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.protocols.http.h11_impl",
    "starlette.applications",
    "starlette.middleware.errors",
    "starlette.middleware.exceptions",
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
)


class Order(TypedDict):
    """What the runtime asks for: a process of this agent, or a signal to one."""

    op: str
    id: int
    socket: str
    folder: str
    entry: str
    log: str
    env: dict[str, str]
    signal: int


@dataclass(frozen=True)
class Child:
    """A forked agent process, not yet reaped."""

    id: int
    pid: int
    pidfd: int


class Zygote:
    """Serves orders until the runtime's end of the socket closes, or until it finds itself to be a child."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._children: dict[int, Child] = {}
        self._unread = b""

    def serve(self) -> "tuple[Order, socket.socket] | None":
        """Return None when the runtime is gone; in a forked child, return what it is to become."""
        self._report({"event": "ready", "id": 0, "pid": os.getpid()})
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(self._children[key.data])
                    continue
                received = self._control.recv(65536)
                if not received:
                    self._kill_all()
                    return None
                for order in self._orders(received):
                    if (become := self._obey(order)) is not None:
                        return become

    def _orders(self, received: bytes) -> "list[Order]":
        *lines, self._unread = (self._unread + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def _obey(self, order: Order) -> "tuple[Order, socket.socket] | None":
        if order["op"] == "fork":
            return self._fork(order)
        child = self._children.get(order["id"])
        if child is not None:
            send = os.killpg if order["signal"] == signal.SIGKILL else os.kill
            try:
                send(child.pid, order["signal"])
            except ProcessLookupError:
                os.kill(child.pid, order["signal"])  # its own group is not made yet
        return None

    def _fork(self, order: Order) -> "tuple[Order, socket.socket] | None":
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(order["socket"])
            listener.listen(128)
            pid = os.fork()
        except OSError as error:
            self._report({"event": "refused", "id": order["id"], "reason": str(error)})
            return None
        if pid == 0:
            self._leave_to_parent()
            return order, listener
        listener.close()
        child = Child(order["id"], pid, os.pidfd_open(pid))
        self._children[child.id] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, child.id)
        self._report({"event": "forked", "id": child.id, "pid": pid})
        return None

    def _leave_to_parent(self) -> None:
        self._selector.close()
        self._control.close()
        for child in self._children.values():
            os.close(child.pidfd)
        self._children.clear()

    def _reap(self, child: Child) -> None:
        # The group first: until the leader is reaped its number cannot belong to anybody else.
        _kill_group(child.pid)
        _, status = os.waitpid(child.pid, 0)
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        del self._children[child.id]
        self._report({"event": "exited", "id": child.id, "status": os.waitstatus_to_exitcode(status)})

    def _report(self, event: "dict[str, object]") -> None:
        self._control.sendall(json.dumps(event).encode() + b"\n")

    def _kill_all(self) -> None:
        for child in self._children.values():
            _kill_group(child.pid)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was made
        os._exit(1)


def _preload() -> None:
    for name in _PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:  # an agent without it is none of this file's business
            continue
    gc.collect()
    gc.freeze()


def _serve_on(listener: socket.socket) -> None:
    """Make every uvicorn server of this process listen on the inherited socket."""
    try:
        config = importlib.import_module("uvicorn.config").Config
    except ImportError:
        return
    make = config.__init__

    def make_on_socket(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003 - uvicorn's own, whatever it is
        make(self, *args, **kwargs | {"reload": False, "workers": 1})
        self.fd, self.uds = listener.fileno(), None

    config.__init__ = make_on_socket


def _become(order: Order, listener: socket.socket, parent: int) -> None:
    """Be the agent: its folder, environment, log and code, until it ends."""
    os.setsid()
    _die_with(parent)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    environment = os.environ  # noqa: TID251 - written, not read: this is where an agent gets its own
    environment.clear()
    environment.update(order["env"])
    os.chdir(order["folder"])
    sys.path.insert(0, order["folder"])
    sys.argv = [order["entry"]]
    _serve_on(listener)
    runpy.run_path(order["entry"], run_name="__main__")


def main() -> None:
    """Serve the runtime that started this process; arguments: the socket's descriptor and the runtime's pid."""
    descriptor, runtime = int(sys.argv[1]), int(sys.argv[2])
    _die_with(runtime)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runtime's to handle
    control = socket.socket(fileno=descriptor)
    zygote = os.getpid()
    _preload()
    become = Zygote(control).serve()
    if become is not None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _become(*become, zygote)


if __name__ == "__main__":
    main()
