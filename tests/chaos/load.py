"""What the tenants do while the stack suffers: submit under keys, ask how jobs stand, cancel some. All of it is kept.

A client never gives up: what is not answered is asked again, under the same key, of either gateway.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict

from tenancy.clock import Clock
from tenancy.data_models import Status

AGENT: Final = "effect-agent"
_PATH: Final = f"/v1/agents/{AGENT}/invocations"
# An answer that takes longer is taken for lost.
_ANSWER_S: Final = 6.0
_LARGE_BYTES: Final = 40_000
# One key for all of these.
BURST: Final = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """One job of the load: when it is submitted, by whom, and what is to become of it."""

    at_s: float
    tenant: str
    token: str
    duration_s: float
    fails: bool
    input_bytes: int
    result_bytes: int
    twice: bool
    cancel_after_s: float | None

    def body(self, effects: str) -> bytes:
        """Return the request's body; equal for every try."""
        wanted = {
            "effects": effects,
            "token": self.token,
            "durationS": self.duration_s,
            "fails": self.fails,
            "pad": "x" * self.input_bytes,
            "resultBytes": self.result_bytes,
        }
        return orjson.dumps({"input": wanted})


def wishes(seed: int, jobs: int, seconds: float, tenants: Mapping[str, int]) -> list[Wish]:
    """Return a seed's load, spread over most of the time; `tenants` is how much of it each one gets."""
    rng = random.Random(f"{seed} load")  # noqa: S311 - repeatable on purpose
    names, weights = list(tenants), list(tenants.values())
    made = [_wish(rng, seconds, rng.choices(names, weights)[0], f"{seed}-{number}") for number in range(jobs)]
    return sorted(made, key=lambda wish: wish.at_s)


def _wish(rng: random.Random, seconds: float, tenant: str, token: str) -> Wish:
    large_in, large_out, cancelled = (rng.random() < share for share in (0.05, 0.05, 0.15))
    return Wish(
        at_s=rng.uniform(0, 0.8 * seconds),
        tenant=tenant,
        token=token,
        duration_s=round(rng.choice([0.0, rng.uniform(0, 2), rng.uniform(0, min(10.0, seconds / 4))]), 2),
        fails=rng.random() < 0.06,
        input_bytes=_LARGE_BYTES if large_in else 0,
        result_bytes=_LARGE_BYTES if large_out else 0,
        twice=rng.random() < 0.25,
        cancel_after_s=rng.uniform(0, 4) if cancelled else None,
    )


class Seen(BaseModel):
    """A job as one answer showed it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Status
    run: int = 0
    result: dict[str, str] | None = None


@dataclass(slots=True)
class History:
    """What the client of one wish saw, in order."""

    wish: Wish
    accepted: list[str] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    # The status that an acknowledged cancel was answered with: 202, or 200 for a job that was over.
    cancel: int | None = None
    unanswered: int = 0
    # An answer that nothing explains; the client stops at it.
    refused: str | None = None

    @property
    def over(self) -> bool:
        """Tell whether the job's end was seen, or no end will be."""
        return self.refused is not None or (bool(self.seen) and self.seen[-1].status.terminal)

    def refuse(self, answer: tuple[int, bytes]) -> None:
        """Keep an answer that nothing explains."""
        self.refused = f"{answer[0]} {answer[1].decode(errors='replace')}"


@dataclass(slots=True)
class Tenant:
    """A tenant's session with either gateway."""

    session: ClientSession
    gateways: tuple[str, ...]
    rng: random.Random
    clock: Clock
    # What was answered with 500: a part that is away is told with another status.
    crashes: list[str]

    async def ask(
        self, method: str, path: str, body: bytes | None = None, key: str | None = None
    ) -> tuple[int, bytes] | None:
        """Ask one of the gateways; None where no answer that says anything came."""
        headers = {} if key is None else {"Idempotency-Key": key, "Prefer": "respond-async"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = self.rng.choice(self.gateways) + path
        try:
            async with self.session.request(method, url, data=body, headers=headers) as answer:
                said = await answer.read()
        except (ClientError, TimeoutError):
            return None
        if answer.status == 500:
            self.crashes.append(f"{method} {path} {said.decode(errors='replace')}")
        # 429 and 409 are "not now" as 5xx are: of an original that still runs, of a limit.
        return None if answer.status in {409, 429} or answer.status >= 500 else (answer.status, said)

    async def pause(self, shortest_s: float, longest_s: float) -> None:
        """Wait a random while."""
        await self.clock.sleep(self.rng.uniform(shortest_s, longest_s))


def session(token: str) -> ClientSession:
    """Return a tenant's HTTP session."""
    return ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=ClientTimeout(total=_ANSWER_S))


async def live(tenant: Tenant, history: History, effects: str) -> None:
    """Do what one wish says until its job's end was seen."""
    wish = history.wish
    await tenant.clock.sleep(wish.at_s)
    submits = [_submit(tenant, history, effects) for _ in range(2 if wish.twice else 1)]
    await asyncio.gather(*submits)
    async with asyncio.TaskGroup() as tasks:
        if wish.cancel_after_s is not None:
            tasks.create_task(_cancel(tenant, history, wish.cancel_after_s))
        tasks.create_task(follow(tenant, history))


async def burst(tenant: Tenant, history: History, effects: str) -> None:
    """Submit one wish a hundred times at once."""
    await asyncio.gather(*(_submit(tenant, history, effects) for _ in range(BURST)))


async def _submit(tenant: Tenant, history: History, effects: str) -> None:
    body, key = history.wish.body(effects), f"key-{history.wish.token}"
    while (answer := await tenant.ask("POST", _PATH, body, key)) is None:
        history.unanswered += 1
        await tenant.pause(0.1, 1.0)
    status, said = answer
    if status != 202:
        history.refuse(answer)
        return
    history.accepted.append(orjson.loads(said)["jobId"])
    history.answers.append(said)


async def follow(tenant: Tenant, history: History) -> None:
    """Ask how an accepted job stands until its end was seen."""
    while not history.over:
        await tenant.pause(0.5, 1.0) if not history.seen else await tenant.pause(1.5, 3.0)
        answer = await tenant.ask("GET", f"/v1/jobs/{history.accepted[0]}")
        if answer is None:
            history.unanswered += 1
        elif answer[0] == 200:
            history.seen.append(Seen.model_validate_json(answer[1]))
        else:
            history.refuse(answer)


async def _cancel(tenant: Tenant, history: History, after_s: float) -> None:
    await tenant.clock.sleep(after_s)
    while history.cancel is None and history.refused is None:
        answer = await tenant.ask("POST", f"/v1/jobs/{history.accepted[0]}/cancel")
        if answer is None:
            history.unanswered += 1
            await tenant.pause(0.1, 1.0)
        elif answer[0] in {200, 202}:
            history.cancel = answer[0]
        else:
            history.refuse(answer)
