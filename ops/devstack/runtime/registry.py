"""Runtimes, their versions and endpoints: the control plane's state, kept in one JSON file.

A version never changes once made; DEFAULT follows the newest version, every other endpoint stays where it was put.
The file is replaced whole, so a reader finds either the old state or the new one.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from ops.devstack.runtime.arn import Place, RuntimeArn
from ops.devstack.runtime.errors import NotFoundError
from ops.devstack.runtime.spec import RuntimeSpec

Status = Literal["CREATING", "CREATE_FAILED", "UPDATING", "UPDATE_FAILED", "READY", "DELETING"]
DEFAULT = "DEFAULT"


class Version(BaseModel):
    """One immutable version of a runtime."""

    number: int
    spec: RuntimeSpec
    created_at: datetime


class Endpoint(BaseModel):
    """A name callers use; `live` answers now, `target` will."""

    name: str
    id: str
    live: int | None
    target: int
    status: Status
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    failure: str | None = None


class Runtime(BaseModel):
    """An agent runtime with all its versions and endpoints."""

    id: str
    name: str
    account: str
    region: str
    status: Status
    created_at: datetime
    updated_at: datetime
    versions: dict[int, Version]
    endpoints: dict[str, Endpoint]
    failure: str | None = None

    @property
    def place(self) -> Place:
        """The account and region it was made in."""
        return Place(self.account, self.region)

    @property
    def arn(self) -> RuntimeArn:
        """Its full name."""
        return RuntimeArn(self.place, self.id)

    @property
    def newest(self) -> Version:
        """The version made last."""
        return self.versions[max(self.versions)]

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint; raises NotFoundError."""
        found = self.endpoints.get(name)
        if found is None:
            raise NotFoundError(f"No endpoint or agent found with qualifier '{name}' for agent '{self.arn}'")
        return found

    def version(self, number: int) -> Version:
        """Return a version; raises NotFoundError."""
        found = self.versions.get(number)
        if found is None:
            raise NotFoundError(f"Version {number} of agent '{self.arn}' was not found")
        return found


class Remembered(BaseModel):
    """What a client token was used for: the same call again gets the same answer."""

    digest: str
    runtime_id: str
    endpoint: str | None = None
    version: int


class _State(BaseModel):
    runtimes: dict[str, Runtime] = {}
    tokens: dict[str, Remembered] = {}


class Registry:
    """The state in memory and on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _State.model_validate_json(path.read_bytes()) if path.exists() else _State()

    def runtimes(self, place: Place | None = None) -> Iterable[Runtime]:
        """Return the runtimes of one place, or all, by name."""
        wanted = (runtime for runtime in self._state.runtimes.values() if place in (None, runtime.place))
        return sorted(wanted, key=lambda runtime: runtime.name)

    def find(self, runtime_id: str) -> Runtime | None:
        """Return a runtime by id, in whatever place."""
        return self._state.runtimes.get(runtime_id)

    def get(self, runtime_id: str, place: Place) -> Runtime:
        """Return a runtime of this place; raises NotFoundError."""
        found = self.find(runtime_id)
        if found is None or found.place != place:
            raise NotFoundError(f"Agent runtime {runtime_id} was not found")
        return found

    def add(self, runtime: Runtime) -> None:
        """Keep a new runtime."""
        self._state.runtimes[runtime.id] = runtime

    def remove(self, runtime_id: str) -> None:
        """Forget a runtime and what its client tokens answered."""
        self._state.runtimes.pop(runtime_id, None)
        self._state.tokens = {
            token: used for token, used in self._state.tokens.items() if used.runtime_id != runtime_id
        }

    def remembered(self, token: str) -> Remembered | None:
        """Return what a client token was used for."""
        return self._state.tokens.get(token)

    def remember(self, token: str, used: Remembered) -> None:
        """Keep what a client token was used for."""
        self._state.tokens[token] = used

    def save(self) -> None:
        """Write the state to disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(self._state.model_dump_json(by_alias=True, exclude_none=True))
        draft.replace(self._path)
