"""Callers who do not give up: each streams turn after turn in one session, others submit jobs, and all note the ends.

Whatever is refused or broken off is asked for again under its Idempotency-Key, as ERRORS.md says, until it completes.
"""

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientConnectionError, ClientResponse

from tests.flows.conftest import Caller
from tests.flows.events import events_of

ASKED: Final = 400
_AGAIN_S: Final = 0.5
_STREAM: Final = {"prompt": "one two three four five six", "chunks": 6, "delayMs": 250}


@dataclass(slots=True)
class Noted:
    """What callers were told."""

    turns: int = 0
    completed: int = 0
    # How passes over the runtime ended, by the code of the last event or of the problem; once for each.
    streams: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    invocations: set[str] = field(default_factory=set)
    # The agent of each job that was accepted.
    jobs: dict[str, str] = field(default_factory=dict)
    unsubmitted: Counter[str] = field(default_factory=Counter)


class Load:
    """Runs callers until it is told to stop; what has begun is then finished."""

    def __init__(self, callers: Sequence[Caller], agent: str, jobs_of: Sequence[str], pace_s: float) -> None:
        self.noted = Noted()
        self.stopping = asyncio.Event()
        self._callers = callers
        self._path = f"/v1/agents/{agent}/invocations"
        self._jobs_of = jobs_of
        self._pace_s = pace_s

    async def run(self, streams: int) -> None:
        """Keep so many streams open, and submit jobs."""
        async with asyncio.TaskGroup() as group:
            for caller, _ in zip(itertools.cycle(self._callers), range(streams)):
                group.create_task(self._streams(caller))
            group.create_task(self._submits())

    async def _streams(self, caller: Caller) -> None:
        session: str | None = None
        while not self.stopping.is_set():
            self.noted.turns += 1
            body = {"input": _STREAM} | ({} if session is None else {"sessionId": session})
            headers = {"Accept": "text/event-stream", "Idempotency-Key": uuid.uuid4().hex}
            for _ in range(ASKED):
                async with caller.session.post(caller.gateway + self._path, json=body, headers=headers) as answer:
                    end = await self._end(answer)
                    session = session or answer.headers.get("X-Session-Id")
                if end == "completed":
                    self.noted.completed += 1
                    break
                await asyncio.sleep(_AGAIN_S)

    async def _end(self, answer: ClientResponse) -> str:
        """Read an answer to its end, note and return that."""
        replayed = "Idempotency-Replayed" in answer.headers
        if not replayed and "X-Invocation-Id" in answer.headers:
            self.noted.invocations.add(answer.headers["X-Invocation-Id"])
        if answer.status != 200:
            code = str((await answer.json(content_type=None))["code"])
            self.noted.refused[code] += 1
            return code
        last = [event async for event in events_of(answer.content)][-1]
        end = "completed" if last.name == "invocation.completed" else str(last.json.get("code", last.name))
        self.noted.streams[f"{end} again" if replayed else end] += 1
        return end

    async def _submits(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, agent in enumerate(itertools.cycle(self._jobs_of)):
                if self.stopping.is_set():
                    return
                group.create_task(self._submit(self._callers[number % len(self._callers)], agent, number % 5))
                await asyncio.sleep(self._pace_s)

    async def _submit(self, caller: Caller, agent: str, lasts_s: int) -> None:
        headers = {"Prefer": "respond-async", "Idempotency-Key": uuid.uuid4().hex}
        for _ in range(ASKED):
            try:
                answer, told = await caller.post(
                    f"/v1/agents/{agent}/invocations", caller.echo(durationS=lasts_s), headers
                )
            except ClientConnectionError as error:
                self.noted.unsubmitted[type(error).__name__] += 1
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status == 202:
                self.noted.jobs[str(told["jobId"])] = agent
                return
            self.noted.unsubmitted[str(told["code"])] += 1
            await asyncio.sleep(_AGAIN_S)
