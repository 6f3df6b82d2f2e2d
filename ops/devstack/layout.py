"""Where one stack keeps what it knows: everything is below its state directory, readable by its owner alone."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenancy.errors import LockgateError

CHECKOUT: Final = Path(__file__).resolve().parents[2]


class StateUnreadableError(LockgateError):
    """A file of the state directory does not hold what the stack wrote there."""

    code = "state_unreadable"


class StackNotRunningError(LockgateError):
    """Nothing answers on the stack's socket."""

    code = "stack_not_running"

    def __init__(self, state: Path) -> None:
        super().__init__(f"no stack runs on {state}; `make dev` starts one")


def _new_tool_token_key() -> str:
    # Every command finds the stack by its layout; only the stack makes keys, and what makes them takes a second.
    from gateway.tooltokens import new_key  # noqa: PLC0415

    return new_key()


class DevKeys(BaseModel):
    """The stack's own keys; the local store takes a 12-digit access key as the account's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access_key: str = Field(pattern=r"^\d{12}$")
    secret_key: str = Field(min_length=32)
    # Signs tool tokens.
    tool_token_key: str = Field(default_factory=_new_tool_token_key)

    @classmethod
    def make(cls) -> Self:
        """Return new random keys."""
        return cls(access_key=str(10**11 + secrets.randbelow(9 * 10**11)), secret_key=secrets.token_hex(20))


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one stack; `state` is absolute."""

    state: Path

    @property
    def dev_json(self) -> Path:
        """What the running stack is, for programs."""
        return self.state / "dev.json"

    @property
    def dev_env(self) -> Path:
        """What one more process needs to join the stack, for shells."""
        return self.state / "dev.env"

    def header(self, tenant_id: str) -> Path:
        """Return the file with a tenant's Authorization header, for `curl -H @file`."""
        return self.state / f"{tenant_id}.header"

    @property
    def pid_file(self) -> Path:
        """Locked for as long as a stack runs on this state."""
        return self.state / "dev.pid"

    @property
    def secret_key_file(self) -> Path:
        """The AWS secret, for parts that check signatures."""
        return self.state / "secret-key"

    def log(self, part: str) -> Path:
        """Return the file a part's output goes to."""
        return self.state / "log" / f"{part}.log"

    def data(self, part: str) -> Path:
        """Return the directory of a part's own, made if need be."""
        path = self.state / part
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def make(self) -> None:
        """Make the state directory, closed to others."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state.chmod(0o700)
        self.log("x").parent.mkdir(mode=0o700, exist_ok=True)

    def keep_last_logs(self) -> None:
        """Put the last run's logs aside as `*.last.log`: a log tells of one run."""
        for path in self.log("x").parent.glob("*.log"):
            if not path.name.endswith(".last.log"):
                path.replace(path.with_suffix(".last.log"))

    def keys(self) -> DevKeys:
        """Return the stack's keys, those made that are not there yet; raises StateUnreadableError."""
        path = self.state / "keys.json"
        try:
            keys = DevKeys.model_validate_json(path.read_bytes()) if path.exists() else DevKeys.make()
        except ValidationError as error:
            raise StateUnreadableError(f"{path} is damaged; `make dev-reset` makes it anew") from error
        write_private(path, keys.model_dump_json(indent=2).encode() + b"\n")
        write_private(self.secret_key_file, keys.secret_key.encode())
        return keys


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner alone: a reader sees the old content or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(content)
    draft.replace(path)
