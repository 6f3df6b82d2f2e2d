"""The product's first impression: a tenant asks the reference agent in its three modes, over the real HTTP API.

How the job ended a webhook tells, too. What is printed is what came over the wire, chunk by chunk as it came.
"""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from rich.console import Console
from rich.text import Text

from tenancy.clock import Clock
from tenancy.errors import LockgateError

AGENT: Final = "echo-agent"
_PROMPT: Final = "One vessel passes at a time"
_LOOK_S: Final = 0.2
_DEADLINE_S: Final = 60.0
_DELIVERY_S: Final = 20.0


class ShowFailedError(LockgateError):
    """The agent did not answer as it should; says in which mode and what came instead."""

    code = "show_failed"

    def __init__(self, mode: str, what: str) -> None:
        super().__init__(f"{AGENT} did not answer ({mode}): {what}")


class _Progress(BaseModel):
    model_config = ConfigDict(extra="ignore")

    percent: int


class _Job(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    progress: _Progress | None = None
    result: JsonValue = None
    error: JsonValue = None

    def stage(self) -> str:
        running = self.status == "running" and self.progress is not None and self.progress.percent > 0
        return f"running {self.progress.percent} %" if running and self.progress else self.status


class _Delivery(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    type: str | None
    verified: bool
    body: str


class _Deliveries(BaseModel):
    model_config = ConfigDict(extra="ignore")

    items: tuple[_Delivery, ...]


class Show:
    """Runs the three invocations as one tenant and prints them; `receiver` is where its webhook leads."""

    def __init__(self, gateway: str, token: str, receiver: str, *, console: Console, clock: Clock) -> None:
        self._url: Final = f"{gateway}/v1/agents/{AGENT}/invocations"
        self._gateway: Final = gateway
        self._receiver: Final = receiver
        self._token: Final = token
        self._console: Final = console
        self._clock: Final = clock

    async def run(self) -> None:
        """Show sync, stream and async in turn; raises ShowFailedError."""
        body = orjson.dumps({"input": {"prompt": _PROMPT}}).decode()
        self._console.print(Text(f"  POST {self._url} {body}", "dim"), soft_wrap=True)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with ClientSession(headers=headers, timeout=ClientTimeout(total=_DEADLINE_S)) as session:
            for mode, invoke in (("sync", self._sync), ("stream", self._stream), ("async", self._async)):
                try:
                    await invoke(session)
                except (ClientError, OSError, TimeoutError, ValidationError, orjson.JSONDecodeError) as error:
                    raise ShowFailedError(mode, f"{type(error).__name__}: {error}") from error

    async def _sync(self, session: ClientSession) -> None:
        began = self._clock.monotonic()
        async with session.post(self._url, json={"input": {"prompt": _PROMPT}}) as answer:
            await _expect(answer, HTTPStatus.OK, "sync")
            self._head("sync", "by default: one JSON answer")
            self._line(began, (await answer.read()).decode())

    async def _stream(self, session: ClientSession) -> None:
        began = self._clock.monotonic()
        body = {"input": {"prompt": _PROMPT, "delayMs": 120}}
        async with session.post(self._url, json=body, headers={"Accept": "text/event-stream"}) as answer:
            await _expect(answer, HTTPStatus.OK, "stream")
            self._head("stream", "by Accept: text/event-stream: each chunk as the agent makes it")
            last = ""
            async for last, data in _events(answer):
                if last == "agent.chunk":
                    self._line(began, data)
            if last != "invocation.completed":
                raise ShowFailedError("stream", f"the last event was {last or 'none'}")

    async def _async(self, session: ClientSession) -> None:
        began = self._clock.monotonic()
        body = {"input": {"prompt": _PROMPT, "durationS": 1.2}}
        async with session.post(self._url, json=body, headers={"Prefer": "respond-async"}) as answer:
            await _expect(answer, HTTPStatus.ACCEPTED, "async")
            location = answer.headers["Location"]
        self._head("async", f"by Prefer: respond-async: 202, then GET {location}")
        job = await self._until_ended(session, location, began)
        if job.status != "succeeded":
            raise ShowFailedError("async", f"the job {job.status}: {orjson.dumps(job.error).decode()}")
        self._line(began, f"succeeded  {orjson.dumps(job.result).decode()}")
        delivery = await self._delivery(location.rpartition("/")[2])
        self._line(began, f"delivered  {delivery.type} by webhook, signature verified: {self._receiver}")

    async def _until_ended(self, session: ClientSession, location: str, began: float) -> _Job:
        seen: list[str] = []
        while self._clock.monotonic() - began < _DEADLINE_S:
            async with session.get(f"{self._gateway}{location}") as answer:
                await _expect(answer, HTTPStatus.OK, "async")
                job = _Job.model_validate_json(await answer.read())
            if job.status not in ("queued", "running"):
                return job
            if job.stage() not in seen:
                seen.append(job.stage())
                self._line(began, job.stage())
            await self._clock.sleep(_LOOK_S)
        raise ShowFailedError("async", f"the job was still {seen[-1]} after {_DEADLINE_S:.0f} s")

    async def _delivery(self, job_id: str) -> _Delivery:
        until_s = self._clock.monotonic() + _DELIVERY_S
        # A session of its own: the receiver has no use for the tenant's token.
        async with ClientSession(timeout=ClientTimeout(total=_DELIVERY_S)) as session:
            while self._clock.monotonic() < until_s:
                async with session.get(f"{self._receiver}/deliveries") as answer:
                    await _expect(answer, HTTPStatus.OK, "async")
                    came = _Deliveries.model_validate_json(await answer.read()).items
                for delivery in came:
                    if delivery.verified and job_id in delivery.body:
                        return delivery
                await self._clock.sleep(_LOOK_S)
        raise ShowFailedError("async", f"no verified webhook told of the job within {_DELIVERY_S:.0f} s")

    def _head(self, mode: str, how: str) -> None:
        self._console.print(Text.assemble("\n  ", (f"{mode:<8}", "bold cyan"), (how, "dim")), soft_wrap=True)

    def _line(self, began: float, text: str) -> None:
        elapsed_ms = (self._clock.monotonic() - began) * 1000
        self._console.print(
            Text.assemble("  ", (f"{elapsed_ms:>6.0f} ms  ", "dim"), text), soft_wrap=True, highlight=False
        )


async def _expect(answer: ClientResponse, status: HTTPStatus, mode: str) -> None:
    if answer.status != status:
        raise ShowFailedError(mode, f"HTTP {answer.status} {(await answer.text())[:400]}")


async def _events(answer: ClientResponse) -> AsyncIterator[tuple[str, str]]:
    name = ""
    async for raw in answer.content:
        field, _, value = raw.decode().rstrip("\r\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, value
