"""The loopback ports of one stack: the documented ones, shifted as a whole, or any that are free.

A stack never takes a port that something else holds: it says which one and how to go on.
"""

import socket
from dataclasses import asdict, dataclass
from typing import Self

from ops.devstack.process import free_port
from tenancy.errors import LockgateError

HOST = "127.0.0.1"


class PortTakenError(LockgateError):
    """A part's port is in use by something that is not this stack."""

    code = "port_taken"

    def __init__(self, part: str, port: int) -> None:
        super().__init__(
            f"port {port} (for {part}) is already in use.\n"
            f"  who holds it:  ss -ltnp 'sport = :{port}'   or   lsof -nP -iTCP:{port} -sTCP:LISTEN\n"
            "  or shift every port of this stack:  PORT_OFFSET=100 make dev"
        )
        self.part = part
        self.port = port


@dataclass(frozen=True, slots=True)
class Ports:
    """One port per listening part; the fields' names are what messages call them."""

    gateway: int
    private: int
    worker_private: int
    runtime: int
    runtime_control: int
    issuer: int
    receiver: int
    tools: int
    store: int
    redis: int
    runtime_failover: int
    runtime_failover_control: int

    @classmethod
    def documented(cls, offset: int = 0) -> Self:
        """Return the ports of the documentation, each raised by `offset`."""
        return cls(
            gateway=8080 + offset,
            private=8081 + offset,
            worker_private=8082 + offset,
            runtime=8090 + offset,
            runtime_control=8091 + offset,
            issuer=8092 + offset,
            receiver=8093 + offset,
            tools=8094 + offset,
            store=8095 + offset,
            redis=8096 + offset,
            runtime_failover=8097 + offset,
            runtime_failover_control=8098 + offset,
        )

    @classmethod
    def free(cls) -> Self:
        """Return distinct ports that nothing listens on now."""
        found: set[int] = set()
        while len(found) < len(cls.__dataclass_fields__):
            found.add(free_port())
        return cls(*found)

    def check_free(self) -> None:
        """Raise PortTakenError for the first port that cannot be listened on."""
        for part, port in asdict(self).items():
            if not _can_listen(port):
                raise PortTakenError(part.replace("_", " "), port)

    def url(self, part: str) -> str:
        """Return the base URL of a part, without a trailing slash."""
        return f"http://{HOST}:{getattr(self, part)}"


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        # A port in TIME_WAIT after the last stack is free; one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
