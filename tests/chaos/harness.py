"""One run of a seed: load and faults at once, then rest, then the verdict."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from tenancy.data_models import Status
from tenancy.ids import event_id_of, parse_job_id
from tests.chaos import load
from tests.chaos.fences import Write, writes_of
from tests.chaos.ground import Ground, running_ground
from tests.chaos.injector import Injector
from tests.chaos.load import History, Wish
from tests.chaos.plan import plan
from tests.chaos.proxy import Call, Loss
from tests.chaos.stored import stored
from tests.chaos.verdict import SETTLE_LIMIT_S, Account, Outside, Stored, violations

# Of the load, by tenant: the basic one may run two jobs at once, so that some wait.
_TENANTS: Final[Mapping[str, int]] = {"acme": 6, "initech": 3, "globex": 1}
# How long rest is waited for: longer than it may take, to tell late from never.
_PATIENCE_S: Final = 2 * SETTLE_LIMIT_S
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run, and the figures of it."""

    seed: int
    wrong: list[str]
    account: Account
    faults: Counter[str]
    losses: Counter[Loss]
    load_s: float
    calls: int

    @property
    def ends(self) -> Counter[Status]:
        """How the jobs ended."""
        return Counter(job.status for job in self.account.stored.jobs.values())


@dataclass(slots=True)
class _Recorder:
    """Hears every call to the store."""

    writes: list[Write] = field(default_factory=list)
    calls: int = 0

    def hear(self, call: Call) -> None:
        """Keep what it wrote of jobs."""
        self.calls += 1
        self.writes += writes_of(call)


async def run(seed: int, *, jobs: int, seconds: float, state: Path) -> Verdict:
    """Break a stack of its own for `seconds` while it does `jobs` jobs and one more; return the verdict."""
    recorder = _Recorder()
    async with running_ground(state, random.Random(f"{seed} losses"), recorder.hear) as ground:  # noqa: S311
        histories = [History(wish) for wish in load.wishes(seed, jobs, seconds, _TENANTS)]
        burst = History(Wish(0.0, "acme", f"{seed}-burst", 1.0, False, 0, 0, False, None))
        injector, began_s = Injector(ground), ground.clock.monotonic()
        account = await _suffer(ground, seed, seconds, [burst, *histories], injector, recorder)
        return Verdict(
            seed,
            violations(account),
            account,
            injector.done,
            Counter(ground.store.lost) + Counter(ground.runtime.lost),
            ground.clock.monotonic() - began_s,
            recorder.calls,
        )


async def _suffer(
    ground: Ground, seed: int, seconds: float, histories: list[History], injector: Injector, recorder: _Recorder
) -> Account:
    burst, *rest = histories
    crashes: list[str] = []
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        tenants = {
            name: load.Tenant(
                await stack.enter_async_context(load.session(token)),
                ground.gateways,
                random.Random(f"{seed} {name}"),  # noqa: S311 - repeatable on purpose
                ground.clock,
                crashes,
            )
            for name, token in ground.tokens.items()
        }
        # While nothing is broken yet: each of the hundred is answered at once.
        await load.burst(tenants["acme"], burst, ground.effects)
        clients = [tasks.create_task(load.live(tenants[each.wish.tenant], each, ground.effects)) for each in rest]
        clients.append(tasks.create_task(load.follow(tenants["acme"], burst)))
        over_s = await injector.run(plan(seed, seconds))
        settled = await _rest(ground, histories, over_s)
        for client in clients:
            client.cancel()
    return Account(histories, await _outside(ground), await stored(ground), recorder.writes, crashes, settled)


async def _rest(ground: Ground, histories: list[History], over_s: float) -> float | None:
    """Return how many seconds after the last fault all was done and told; None where it never is."""
    clock = ground.clock
    while clock.monotonic() - over_s < _PATIENCE_S:
        if all(history.over for history in histories):
            outside = await _outside(ground)
            ends = {event_id_of(parse_job_id(job_id)) for history in histories for job_id in history.accepted}
            if all(map(outside.told, ends)) and _calm(await stored(ground)):
                return clock.monotonic() - over_s
        await clock.sleep(_LOOK_S)
    return None


def _calm(found: Stored) -> bool:
    """Tell whether nothing is owed any more, in the store's own words."""
    owed = [event for event in found.outbox.values() if event.next_tick_at is not None]
    pending = [delivery for delivery in found.deliveries if delivery.status == "pending"]
    return not owed and not pending


async def _outside(ground: Ground) -> Outside:
    async with ClientSession(timeout=ClientTimeout(total=10)) as http, http.get(f"{ground.oracle}/history") as answer:
        return Outside.model_validate_json(await answer.read())
