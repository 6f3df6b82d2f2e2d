"""Which agent versions can be invoked, without asking the store: copies that a change elsewhere drops.

A new conversation gets the newest promoted version. One that began with a version keeps it for as long as that
version was ever promoted and is not disabled, even when newer ones are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agents.errors import AgentUnknownError
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.data_models import AgentVersion, ReleaseState
from tenancy.ids import AgentName
from tenancy.platform_store import PlatformStore
from tenancy.snapshots import Snapshots

KIND: Final = "agent"
FRESH_S: Final = 30.0
STALE_S: Final = 3600.0
_VERSIONS_KEPT: Final = 1024
_ALL: Final = "promoted"
_INVOKABLE: Final = frozenset({ReleaseState.PROMOTED, ReleaseState.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class _Promoted:
    newest: dict[AgentName, AgentVersion]
    exact: dict[tuple[AgentName, str], AgentVersion]


class Catalog:
    """The invokable agents; one for a process."""

    def __init__(self, store: PlatformStore, changes: ChangeFeed, *, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._promoted: Snapshots[str, _Promoted] = Snapshots(
            self._load_promoted,
            clock=clock,
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            size=1,
            sighted=lambda: changes.current,
        )
        self._others: Snapshots[tuple[AgentName, str], AgentVersion] = Snapshots(
            self._load_other,
            clock=clock,
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            size=_VERSIONS_KEPT,
            sighted=lambda: changes.current,
        )
        changes.on(KIND, lambda _: self.clear())
        changes.on_gap(self.clear)

    @property
    def copies(self) -> tuple[Snapshots[str, _Promoted], Snapshots[tuple[AgentName, str], AgentVersion]]:
        """Its copies of what is promoted and of other versions, for metrics."""
        return self._promoted, self._others

    async def register(self, version: AgentVersion) -> None:
        """Store a version, in place of the one it had, and tell every process."""
        await self._store.put_agent_version(version)
        await self.announce(version.name)

    async def announce(self, name: AgentName) -> None:
        """Tell every process, this one first, that something about an agent has changed."""
        self.clear()
        await self._changes.publish(KIND, name)

    async def get(self, name: AgentName, version: str | None = None) -> AgentVersion:
        """Return the newest promoted version, or the one asked for; raises AgentUnknownError."""
        promoted = await self._all()
        if version is None:
            found = promoted.newest.get(name)
        else:
            found = promoted.exact.get((name, version)) or await self._others.get((name, version))
        if found is None:
            raise AgentUnknownError
        return found

    async def list(self) -> tuple[AgentVersion, ...]:
        """Return the newest promoted version of each agent, by name."""
        promoted = await self._all()
        return tuple(promoted.newest[name] for name in sorted(promoted.newest))

    def clear(self) -> None:
        """Forget every copy: something about agents has changed."""
        self._promoted.clear()
        self._others.clear()

    async def aclose(self) -> None:
        """End the loads under way."""
        await self._promoted.aclose()
        await self._others.aclose()

    async def _all(self) -> _Promoted:
        return await self._promoted.get(_ALL) or _index(())

    async def _load_promoted(self, _: str) -> _Promoted:
        return _index(await self._store.promoted_agents())

    async def _load_other(self, key: tuple[AgentName, str]) -> AgentVersion | None:
        version = await self._store.agent_version(*key)
        return version if version is not None and version.state in _INVOKABLE else None


def _index(versions: Iterable[AgentVersion]) -> _Promoted:
    by_age = sorted(versions, key=precedence)
    return _Promoted(
        newest={version.name: version for version in by_age},
        exact={(version.name, version.version): version for version in by_age},
    )


def precedence(version: AgentVersion) -> tuple[int, ...]:
    """Return what sorts versions by their numbers."""
    return tuple(map(int, version.version.split(".")))
