"""AgentCore's regions as one process reaches them: a way to each, and which of them serves now.

An agent runs in the serving region where it has a runtime there, else where it has always been. Whoever has begun
something in one region goes on there by the version `pinned` to it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from agents.authorize import Authorizer
from agents.upstream import Upstream
from tenancy.data_models import AgentVersion

_log = structlog.get_logger("agents.regions")


@dataclass(frozen=True, slots=True)
class Way:
    """How AgentCore is reached in one region."""

    region: str
    upstream: Upstream
    authorizer: Authorizer


class Regions:
    """The regions of one process; the first way is home's, and `serving` until told otherwise."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways: Final = {way.region: way for way in ways}
        self.home: Final = ways[0]
        self.serving = self.home.region
        self._listeners: list[Callable[[str], None]] = []
        self._switched = asyncio.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """The regions there are, home first."""
        return tuple(self._ways)

    def on_switch(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the region that serves from now on, whenever it is another."""
        self._listeners.append(listener)

    def switch(self, region: str) -> None:
        """Have a region serve; one that this process has no way to is left alone."""
        if region not in self._ways:
            _log.error("region_unknown", region=region)
            return
        if region != self.serving:
            _log.warning("region_switched", before=self.serving, after=region)
            self.serving = region
            self._switched.set()
            self._switched = asyncio.Event()
            for listener in self._listeners:
                listener(region)

    async def left(self, region: str) -> None:
        """Return once another region serves."""
        while self.serving == region:
            await self._switched.wait()

    def place(self, agent: AgentVersion) -> AgentVersion:
        """Return a version pinned to where it runs when it is begun now."""
        return agent.pinned(self.serving)

    def way(self, agent: AgentVersion) -> Way:
        """Return the way to a version's runtime; home's where its ARN names no region there is."""
        return self._ways.get(agent.region, self.home)
