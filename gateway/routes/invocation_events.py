"""A streamed invocation's events, readable again and followed from any process."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import orjson
from aiohttp import web

from gateway.cancel import Cancellations
from gateway.errors import EventUnknownError, NotFoundError, ReplayExpiredError
from gateway.invoke import LAST_WORD_S, RequestPath
from gateway.live import EndedEarlyError
from gateway.operations import INVOCATION, Answer, Content, Operation, Schema
from gateway.problems import problem_of
from gateway.record import Verdict
from gateway.replay import Replays
from gateway.routes.invocations import EVENT_GRAMMAR, EXAMPLE_EVENTS
from gateway.routes.job_events import LAST_EVENT_ID, STARTING_AFTER
from gateway.sse import HEADERS, RETRY, EventStream, frame
from tenancy.context import TenantContext
from tenancy.data_models import InvocationRecord, Mode
from tenancy.errors import ConcurrencyLimitError
from tenancy.ids import InvocationId, new_invocation_id, parse_invocation_id

_NUMBER_DIGITS: Final = 9
_GRAMMAR: Final[Schema] = dict(EVENT_GRAMMAR) | {
    "description": f"{EVENT_GRAMMAR['description']} Here they are the very bytes that the invocation's own caller was "
    "sent. A connection that this gateway has to end sooner says so with `stream.interrupted`, which has the `id` of "
    "the last event, a `code` and a `detail`: connect again, or where the code is `replay_expired` look at the record, "
    "for what followed is lost."
}
EVENTS: Final = Operation(
    "GET",
    "/v1/invocations/{invocation}/events",
    "followInvocation",
    "Invocations",
    "Read or follow a stream's events",
    "The events of a streamed invocation from where the caller left off, then all that come until the terminal one, "
    "whichever gateway serves it. They are kept for the tier's replay time after the end. An open stream counts among "
    "the invocations a tenant may run at once.",
    (
        Answer(200, "The stream of events.", (Content({"stream": EXAMPLE_EVENTS}, _GRAMMAR, "text/event-stream"),)),
        Answer(204, "The event named was the terminal one. Do not connect again."),
    ),
    parameters=(INVOCATION, LAST_EVENT_ID, STARTING_AFTER),
    problems=(
        NotFoundError(),
        EventUnknownError(),
        ReplayExpiredError(),
        ConcurrencyLimitError(),
    ),
)


@dataclass(frozen=True, slots=True)
class InvocationEvents:
    """`/v1/invocations/{invocation}/events`."""

    cancellations: Cancellations
    replays: Replays
    path: RequestPath

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Stream the events from where the caller left off."""
        invocation_id, after = parse_invocation_id(request.match_info["invocation"]), _position_of(request)
        record = await self.cancellations.find(ctx.tenant_id, invocation_id)
        if record.mode is not Mode.STREAM:
            raise NotFoundError
        kept = timedelta(seconds=ctx.limits.replay_s)
        if record.ended_at is not None and record.ended_at + kept < self.path.clock.now():
            raise ReplayExpiredError
        # The slot and the order to end need an id; there is no invocation of that name.
        place = new_invocation_id(self.path.clock.now())
        async with self.path.admission.slots.held(ctx.tenant_id, ctx.limits.concurrent_streams, place):
            newest = await self.replays.reached(record, after)
            if newest.id == 0 and record.status.terminal and record.chunks == 0:
                return _never_began(record)
            if newest.ends and newest.id == after:
                # Any other answer would have a browser connect again and again.
                return web.Response(status=204, headers={"Cache-Control": "no-store"})
            return await self._stream(request, record, after, place)

    async def _stream(
        self, request: web.Request, record: InvocationRecord, after: int, place: InvocationId
    ) -> web.StreamResponse:
        path, response, last_word = self.path, web.StreamResponse(headers=HEADERS), b""
        events = EventStream(response, path.clock)
        following = self.replays.follow((record.tenant_id, record.invocation_id), after)
        try:
            async with path.live.serving(record.tenant_id, place, path.durations.stream_s), aclosing(following):
                # Who is suspended from here on is ended; who was since the request came is refused.
                await path.tenants.require_active(record.tenant_id)
                # Where nothing is to be waited for, what is not kept is a problem document.
                first = await anext(following) if record.status.terminal else None
                await events.begin(request)
                await events.passed(RETRY if first is None else RETRY + first.data)
                after = after if first is None else first.last
                async with events.heartbeat(path.durations.heartbeat_s):
                    async for frames in following:
                        await events.passed(frames.data)
                        after = frames.last
        except (EndedEarlyError, ReplayExpiredError) as ended:
            if not response.prepared:
                raise
            problem = problem_of(ended)
            last_word = frame(
                after, b"stream.interrupted", orjson.dumps({"code": problem.code, "detail": problem.detail})
            )
        try:
            async with asyncio.timeout(LAST_WORD_S):
                if last_word:
                    await events.passed(last_word)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


def _never_began(record: InvocationRecord) -> web.Response:
    """Return the stream of an invocation that ended before its first byte: its record says all there is."""
    ids = {"invocationId": record.invocation_id, "sessionId": record.session_id}
    end = Verdict(record.status, record.error)
    told = RETRY + frame(1, b"invocation.started", orjson.dumps(ids))
    return web.Response(body=told + frame(2, end.event.encode(), orjson.dumps(ids | end.details)), headers=HEADERS)


def _position_of(request: web.Request) -> int:
    """Return where to go on; raises EventUnknownError."""
    text = request.headers.get(LAST_EVENT_ID.name, request.query.get(STARTING_AFTER.name, "0"))
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS):
        raise EventUnknownError
    return int(text)
