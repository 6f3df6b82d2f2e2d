"""What is kept of operators' sign-ins: for each gateway one, in a file that its owner alone can read.

Two commands at once do not both renew a token: the file is locked from the look at it to its replacement.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError, field_serializer

from ops.devstack.layout import write_private
from tenancy.errors import LockgateError


class LoginsUnreadableError(LockgateError):
    """The file does not hold what was written there."""

    code = "logins_unreadable"


class Application(BaseModel):
    """The application people sign in with, in which directory of which authority, for which API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authority: str
    directory: str
    client_id: str
    audience: str

    @property
    def scope(self) -> str:
        """What is asked for: the roles somebody was given, and to go on without asking again."""
        return f"{self.audience}/.default offline_access"

    def endpoint(self, name: str) -> str:
        """Return an endpoint's URL, as Entra's are."""
        return f"{self.authority}/{self.directory}/oauth2/v2.0/{name}"


class Login(BaseModel):
    """A sign-in to one gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    application: Application
    access_token: SecretStr
    refresh_token: SecretStr | None
    expires_at: datetime
    signed_in_at: datetime

    @field_serializer("access_token", "refresh_token")
    def _kept(self, secret: SecretStr | None) -> str | None:
        return None if secret is None else secret.get_secret_value()


_LOGINS = TypeAdapter(dict[str, Login])


@dataclass(frozen=True, slots=True)
class Logins:
    """The file, below XDG_STATE_HOME; made at the first sign-in."""

    path: Path

    @classmethod
    def below(cls, state_home: Path) -> "Logins":
        """Return the file below a state directory."""
        return cls(state_home.expanduser() / "lockgate" / "logins.json")

    def find(self, gateway: str) -> Login | None:
        """Return the sign-in to a gateway; raises LoginsUnreadableError."""
        return self._read().get(gateway)

    @contextmanager
    def changing(self) -> Iterator[dict[str, Login]]:
        """Hold the file for the block; what the block leaves in the mapping is kept. Raises LoginsUnreadableError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            logins = self._read()
            before = dict(logins)
            yield logins
            if logins != before:
                write_private(self.path, _LOGINS.dump_json(logins, indent=2))
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Login]:
        try:
            return _LOGINS.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise LoginsUnreadableError(f"{self.path} is damaged; delete it and sign in again") from error
