"""How the platform is, figure by figure, each with its age: what its parts answer now and what its processes tell.

Nothing here is counted by the process that answers alone. Alarms are not among it: they are evaluated outside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from agents.census import Census
from agents.region_health import Lately
from gateway.admin.quota import MARKS
from gateway.operations import Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import Count, Timestamp, WireModel, prose, shaped
from jobs import election
from jobs.errors import QueueUnavailableError
from jobs.queue import JobQueue
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import ProcessLease
from tenancy.errors import StoreUnavailableError
from tenancy.failover_lock import OperatorLocks
from tenancy.platform_store import PlatformStore
from tenancy.region_flag import RegionSwitch
from tenancy.trips import RedisAwayError

TAG: Final = "Platform health"
# What takes longer is not known: operators look here while parts fail.
BOUND_S: Final = 3.0
# A queue keeps up while the oldest of what is due waits no longer.
LATE_S: Final = 60
_COUNTED: Final = 100
_SHOWN: Final = 50
# Returns by name what each part of this process's own readiness says: `ok`, or what is wrong.
Checks = Callable[[], Awaitable[Mapping[str, str]]]


class FigureView(WireModel):
    """One figure; what it is of is its `limit`, where there is one."""

    name: Annotated[str, shaped("^[a-z0-9.-]+$", 64, "queue.jobs")]
    ok: bool
    value: Count | None = None
    limit: Count | None = None
    age_seconds: Count = Field(description="How old it is at most.")
    says: Annotated[str, prose(256)]


class PlatformHealthView(WireModel):
    """The platform at one moment; `ok` where every figure is."""

    at: Timestamp
    ok: bool
    figures: Annotated[tuple[FigureView, ...], Field(json_schema_extra={"maxItems": _SHOWN})]


GET: Final = Operation(
    "GET",
    "/v1/admin/health",
    "getPlatformHealth",
    TAG,
    "Look how the platform is",
    "Stores, Redis and the identity provider as they answer now; gateway processes, and AgentCore's region as they "
    "find it; queues, dead letters, open invocations, runtime sessions, and whether anybody sweeps. A figure that "
    "cannot be had says so, and is not `ok`.",
    (
        answer(
            200,
            "Every figure.",
            PlatformHealthView(
                at=datetime(2025, 6, 1, 12, tzinfo=UTC),
                ok=True,
                figures=(
                    FigureView(name="dynamodb", ok=True, age_seconds=0, says="ok"),
                    FigureView(name="processes", ok=True, value=3, age_seconds=10, says="all serve eu-west-1"),
                    FigureView(name="queue.jobs", ok=True, value=17, age_seconds=0, says="all in time"),
                    FigureView(name="dead-letters", ok=True, value=0, age_seconds=0, says="none"),
                    FigureView(name="sessions", ok=True, value=1200, limit=2500, age_seconds=0, says="48 % in use"),
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class HealthAdmin:
    """`/v1/admin/health`."""

    checks: Checks
    platform: PlatformStore
    locks: OperatorLocks
    switch: RegionSwitch
    queue: JobQueue
    census: Census
    sessions_limit: int
    clock: Clock

    async def get(self, _request: web.Request, _actor: Principal) -> web.StreamResponse:
        """Answer with all figures, had side by side."""
        parts = await asyncio.gather(
            self._known("checks", self._checked),
            self._known("processes", self._processes),
            self._known("queues", self._queues),
            self._known("dead-letters", self._dead_letters),
            self._known("sessions", self._sessions),
            self._known("sweeper", self._sweeper),
        )
        figures = tuple(figure for part in parts for figure in part)[:_SHOWN]
        ok = all(figure.ok for figure in figures)
        view = PlatformHealthView(at=self.clock.now(), ok=ok, figures=figures)
        return json_answer(view.to_json())

    async def _known(self, name: str, part: Callable[[], Awaitable[tuple[FigureView, ...]]]) -> tuple[FigureView, ...]:
        """Return a part's figures, or one that says they are not to be had."""
        try:
            async with asyncio.timeout(BOUND_S):
                return await part()
        except (StoreUnavailableError, RedisAwayError, QueueUnavailableError, TimeoutError) as away:
            return (FigureView(name=name, ok=False, age_seconds=0, says=f"not known: {type(away).__name__}"),)

    async def _checked(self) -> tuple[FigureView, ...]:
        found = await self.checks()
        return tuple(
            FigureView(name=name, ok=said == "ok", age_seconds=0, says=said) for name, said in sorted(found.items())
        )

    async def _processes(self) -> tuple[FigureView, ...]:
        leases, flag = await asyncio.gather(self.platform.processes(), self.switch.read())
        living = [lease for lease in leases if not lease.taken]
        region = self.switch.home if flag is None else flag.region
        serving = [lease for lease in living if lease.region == region]
        age_s = max((lease.lease_s for lease in living), default=0)
        all_serve = f"all serve {region}" if len(serving) == len(living) else f"{len(serving)} of them serve {region}"
        opened = await asyncio.gather(*map(self._open, living))
        return (
            FigureView(
                name="processes",
                ok=bool(living) and len(serving) == len(living),
                value=len(living),
                age_seconds=age_s,
                says=all_serve if living else "none lives",
            ),
            _region_figure(region, serving, age_s),
            FigureView(
                name="open-invocations",
                ok=True,
                value=sum(opened),
                age_seconds=0,
                says="of the living processes" if max(opened, default=0) < _COUNTED else f"{sum(opened)} or more",
            ),
        )

    async def _open(self, lease: ProcessLease) -> int:
        return len(await self.platform.open_invocations(lease.process, limit=_COUNTED))

    async def _queues(self) -> tuple[FigureView, ...]:
        return tuple(
            FigureView(
                name=f"queue.{name}",
                ok=queue.late_s < LATE_S,
                value=queue.ticks,
                age_seconds=0,
                says=f"the oldest is {queue.late_s} s late" if queue.late_s else "all in time",
            )
            for name, queue in (await self.queue.waiting()).items()
        )

    async def _dead_letters(self) -> tuple[FigureView, ...]:
        found = await self.platform.dead_letters(limit=_COUNTED)
        count = len(found.items)
        says = "none" if not count else f"{count} or more given up on" if found.after else "given up on"
        return (FigureView(name="dead-letters", ok=not count, value=count, age_seconds=0, says=says),)

    async def _sessions(self) -> tuple[FigureView, ...]:
        count = await self.census.count()
        percent = 100 * count.total // self.sessions_limit
        return (
            FigureView(
                name="sessions",
                ok=percent < MARKS[-1],
                value=count.total,
                limit=self.sessions_limit,
                age_seconds=0,
                says=f"{percent} % in use",
            ),
        )

    async def _sweeper(self) -> tuple[FigureView, ...]:
        lock, left_s = await self.locks.read(election.LOCK)
        held = lock is not None and left_s > 0
        says = "a worker sweeps" if held else "nobody sweeps: is a worker up?"
        return (FigureView(name="sweeper", ok=held, age_seconds=election.LEASE_S if held else 0, says=says),)


def _region_figure(region: str, serving: list[ProcessLease], age_s: int) -> FigureView:
    """Return how AgentCore answers in the region that serves, as all processes found within the last minute."""
    lately = Lately.of(serving)
    return FigureView(
        name=f"agentcore.{region}",
        ok=not lately.failing,
        value=lately.faults,
        limit=lately.calls,
        age_seconds=age_s,
        says="calls within a minute that the region failed",
    )
