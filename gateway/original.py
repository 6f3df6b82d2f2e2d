"""The original of a request with an Idempotency-Key: the one that works while its repeats are given its answer.

It begins once its body is known and ends with an answer that is kept before the caller has the last of it, or with
its key given back. What is told a route through ORIGINAL is all that it has to know of keys.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from enum import Enum, auto
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import orjson
import structlog
from aiohttp import web

from tenancy.clock import Clock
from tenancy.data_models import IdempotencyRecord
from tenancy.errors import (
    AnswerNotKeptError,
    ConditionFailedError,
    IdempotencyKeyReusedError,
    IdempotencyRunningError,
    StoreUnavailableError,
)
from tenancy.idempotency import RENEW_S, Answered, Asked, Idempotency
from tenancy.ids import TenantId
from tenancy.steps import PutStep

REPLAYED: Final = "Idempotency-Replayed"
EVENT_STREAM: Final = "text/event-stream"
# A store that hangs may hold up an answer for no longer than this.
KEEP_TIMEOUT_S: Final = 2.0
# How often, and for how long, a repeat looks for the answer of an original that takes no time to speak of.
LOOK_EVERY_S: Final = 0.2
PATIENCE_S: Final = 10.0
_KEPT_HEADERS: Final = (
    "Content-Type",
    "Cache-Control",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Accel-Buffering",
)
# Ends of a stream after which its caller is meant to invoke again.
_TRY_AGAIN: Final = frozenset({"draining", "region_failover", "tenant_suspended", "tenant_deleted"})

# Whose turn it is, by tenant, operation and key, while anybody waits for it.
Line: TypeAlias = WeakValueDictionary[tuple[TenantId, str, str], asyncio.Lock]

_log = structlog.get_logger("gateway.original")


class Way(Enum):
    """How repeats that come while the original works are treated."""

    # Its answer is stored together with what it creates: until then they all work, and one of them is heard.
    STORED_TOGETHER = auto()
    # It may run for long: they are told so.
    LASTING = auto()
    # It is done in a moment: they wait.
    BRIEF = auto()


class Replay(Exception):
    """Not an error: ends a repeat, for its answer is known."""

    def __init__(self, answer: Answered) -> None:
        self.answer = answer
        super().__init__("replay")


class Original:
    """One request with a key."""

    def __init__(
        self,
        book: Idempotency,
        clock: Clock,
        ask: Callable[[bytes], Asked],
        way: Way,
        *,
        line: Line,
        ids: Callable[[], Mapping[str, str]],
        shown_once: tuple[str, ...],
    ) -> None:
        self._book = book
        self._clock = clock
        self._ask = ask
        self._way = way
        self._line = line
        self._ids = ids
        self._shown_once = shown_once
        self._asked: Asked | None = None
        self._held: IdempotencyRecord | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._racing = False
        # Something outlasts the handler and closes this when it ends (`gateway.detach`).
        self.carried = False
        self._turn = AsyncExitStack()

    async def begin(self, body: bytes) -> None:
        """Become the one that works for this body.

        Raises Replay, IdempotencyKeyReusedError, IdempotencyRunningError, StoreUnavailableError.
        """
        asked = self._asked = self._ask(body)
        if self._way is Way.STORED_TOGETHER:
            # Those of one process would but get in each other's way: they come one by one.
            turn = self._line.setdefault((asked.tenant_id, asked.operation, asked.key), asyncio.Lock())
            await self._turn.enter_async_context(turn)
        patient_until_s = self._clock.monotonic() + PATIENCE_S
        while not await self._begun(asked):
            if self._way is Way.LASTING or self._clock.monotonic() >= patient_until_s:
                raise IdempotencyRunningError
            await self._clock.sleep(LOOK_EVERY_S)

    def beside(self, response: web.Response) -> PutStep:
        """Return the step that keeps this answer in the transaction that creates what it tells of.

        Of several transactions with one key all but one fail with ConditionFailedError: let that pass.
        """
        if self._asked is None:
            raise RuntimeError("the body has not been read")
        self._racing = True
        return self._book.beside(self._asked, self._answered(response))

    async def lost(self, error: Exception) -> Answered:
        """Return the answer of whoever was heard instead; raises `error` where nobody was."""
        record = await self._book.find(self._asked) if self._racing and self._asked is not None else None
        if record is None or self._asked is None:
            raise error
        return await self._known(record, self._asked)

    async def keep(self, response: web.Response) -> None:
        """Keep an answer, once; a store that is away does not hold it up."""
        await self._settle(self._answered(response))

    async def settle(self, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """Keep an answer given by its parts; None is a body that is too large."""
        await self._settle(Answered(status, self._kept(headers), body))

    async def free(self) -> None:
        """Give the key back: nothing ran, or its caller is meant to ask again."""
        held, self._held = self._held, None
        if held is not None:
            await self._bounded(self._book.free(held))

    async def aclose(self) -> None:
        """Renew no more, and let the next one in."""
        self._renew_no_more()
        await self._turn.aclose()

    async def _begun(self, asked: Asked) -> bool:
        """Tell whether this one is to work; raises Replay where another one has."""
        if self._way is not Way.STORED_TOGETHER:
            self._held = await self._book.claim(asked)
            if self._held is not None:
                self._renewing = asyncio.get_running_loop().create_task(self._renew(self._held))
                return True
        record = await self._book.find(asked)
        if record is None:
            return self._way is Way.STORED_TOGETHER
        if record.request_sha256 == asked.request_sha256 and record.status == "running":
            return False
        raise Replay(await self._known(record, asked))

    async def _known(self, record: IdempotencyRecord, asked: Asked) -> Answered:
        if record.request_sha256 != asked.request_sha256:
            raise IdempotencyKeyReusedError
        answer = await self._book.answer(record)
        if answer.body is None and not answer.headers.get("Content-Type", "").startswith(EVENT_STREAM):
            invocation = answer.headers.get("X-Invocation-Id")
            raise AnswerNotKeptError(None if invocation is None else f"/v1/invocations/{invocation}")
        return answer

    async def _renew(self, held: IdempotencyRecord) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self._book.renew(held)
            except ConditionFailedError:
                return
            except StoreUnavailableError:
                # Asked again at the next turn: two may fail.
                continue

    def _renew_no_more(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()

    async def _settle(self, answer: Answered) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._bounded(self._book.settle(held, answer))

    async def _bounded(self, work: Coroutine[None, None, None]) -> None:
        self._renew_no_more()
        try:
            async with asyncio.timeout(KEEP_TIMEOUT_S):
                await work
        except (TimeoutError, StoreUnavailableError):
            # The lease runs out, and the key is free again.
            _log.warning("key left to run out", operation=None if self._asked is None else self._asked.operation)

    def _answered(self, response: web.Response) -> Answered:
        body = b"" if response.body is None else response.body
        if not isinstance(body, bytes):
            raise TypeError("an answer that is kept has its body whole")
        if self._shown_once and body:
            body = orjson.dumps(
                {name: value for name, value in orjson.loads(body).items() if name not in self._shown_once}
            )
        return Answered(response.status, self._kept(response.headers), body)

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: headers[name] for name in _KEPT_HEADERS if name in headers} | dict(self._ids())


ORIGINAL: Final = web.RequestKey("original", Original)


async def kept(request: web.Request, response: web.Response) -> web.Response:
    """Return the answer, which is kept from now on where its request has a key."""
    original = request.get(ORIGINAL)
    if original is not None:
        await original.keep(response)
    return response


async def stream_kept(request: web.Request, headers: Mapping[str, str], code: str) -> None:
    """Keep a stream as the answer where its request has a key: its events stand in its log.

    One that ended with a `code` after which its caller is meant to invoke again gives the key back.
    """
    original = request.get(ORIGINAL)
    if original is not None and code in _TRY_AGAIN:
        await original.free()
    elif original is not None:
        await original.settle(200, headers, None)
