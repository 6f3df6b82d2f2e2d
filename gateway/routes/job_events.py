"""A job's events as they happen, resumable from any of them."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import orjson
from aiohttp import web

from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.follow import Followers
from gateway.invoke import LAST_WORD_S, RequestPath
from gateway.live import EndedEarlyError
from gateway.operations import JOB, Answer, Content, Operation, Parameter, Schema
from gateway.problems import problem_of
from gateway.sse import HEADERS, RETRY_MS, EventStream, frame
from jobs.store import JobStore
from tenancy.context import TenantContext
from tenancy.data_models import JobEvent, JobRecord
from tenancy.errors import ConcurrencyLimitError
from tenancy.ids import InvocationId, new_invocation_id, parse_job_id

# A job's own deadline ends it long before; this is for one that nobody works for any more.
BEYOND_DEADLINE_S: Final = 3600.0
_NUMBER_DIGITS: Final = 9
NO_POSITION: Final = "must be the id of one of the job's events, or 0"
_POSITION: Final[Schema] = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 999_999_999}
LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    "header",
    "The last event that came, as browsers send it when they connect again. It goes before `startingAfter`.",
    {"type": "string", "pattern": "^[0-9]{1,9}$", "minLength": 1, "maxLength": 9},
    "0",
)
STARTING_AFTER: Final = Parameter(
    "startingAfter", "query", "Only events after this one; left out, all of them.", _POSITION, 0
)
_JOB: Final = b'{"jobId":"job_01jd3k5m7p9q1r3s5t7v9w1x3y","at":"2025-06-01T12:00:0%d.000Z",%b}'
_EVENTS: Final = (
    b"retry: %d\n\n" % RETRY_MS
    + frame(1, b"job.queued", _JOB % (0, b'"status":"queued"'))
    + frame(2, b"job.started", _JOB % (1, b'"run":1'))
    + frame(3, b"job.progress", _JOB % (2, b'"percent":40,"message":"two of five"'))
    + frame(4, b"job.succeeded", _JOB % (3, b'"status":"succeeded"'))
).decode()
_GRAMMAR: Final[Schema] = {
    # Some read it as the whole text, some as one event of it: so no type is named.
    "description": "Server-sent events (WHATWG HTML, 9.2). Each has an `id`, counting from 1 without a gap over the "
    "whole job, an `event` and JSON as `data` with `jobId` and `at`: `job.queued`, `job.started` with `run`, "
    "`job.progress` with `percent` and `message`, and last one of `job.succeeded`, `job.failed`, `job.cancelled` and "
    "`job.expired` with `status`, where it failed also `error`. A stream that this gateway has to end before its job "
    "has ended says so with `stream.interrupted`, which has the `id` of the last event, a `code` and a `detail`: "
    "connect again. `retry` comes first; comments keep a silent connection open.",
}
EVENTS: Final = Operation(
    "GET",
    "/v1/jobs/{job}/events",
    "followJob",
    "Jobs",
    "Follow a job's events",
    "All that has happened to the job and then all that happens, until it has ended. An open stream counts among the "
    "invocations a tenant may run at once.",
    (
        Answer(200, "The stream of events.", (Content({"stream": _EVENTS}, _GRAMMAR, "text/event-stream"),)),
        Answer(204, "The job has ended, and nothing came after the event named. Do not connect again."),
    ),
    parameters=(JOB, LAST_EVENT_ID, STARTING_AFTER),
    problems=(
        NotFoundError(),
        ConcurrencyLimitError(),
        FieldsInvalidError([FieldFault("startingAfter", NO_POSITION)]),
    ),
)


@dataclass(frozen=True, slots=True)
class JobEvents:
    """`/v1/jobs/{job}/events`."""

    jobs: JobStore
    followers: Followers
    path: RequestPath

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Stream the job's events from where the caller left off."""
        job_id, (field, after) = parse_job_id(request.match_info["job"]), _position_of(request)
        job = await self.jobs.get(ctx.tenant_id, job_id, consistent=True)
        if job is None:
            raise NotFoundError
        if after > job.events:
            raise FieldsInvalidError([FieldFault(field, NO_POSITION)])
        if job.status.terminal and after == job.events:
            # Any other answer would have a browser connect again and again.
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
        # The slot and the order to end need an id; there is no invocation of that name.
        place = new_invocation_id(self.path.clock.now())
        async with self.path.admission.slots.held(ctx.tenant_id, ctx.limits.concurrent_streams, place):
            return await self._stream(request, job, after, place)

    async def _stream(
        self, request: web.Request, job: JobRecord, after: int, place: InvocationId
    ) -> web.StreamResponse:
        path, response = self.path, web.StreamResponse(headers=HEADERS)
        events, last_word = EventStream(response, path.clock), b""
        limit_s = max(0.0, (job.deadline_at - path.clock.now()).total_seconds()) + BEYOND_DEADLINE_S
        try:
            async with path.live.serving(job.tenant_id, place, limit_s):
                # Who is suspended from here on is ended; who was since the request came is refused.
                await path.tenants.require_active(job.tenant_id)
                await response.prepare(request)
                await events.passed(b"retry: %d\n\n" % RETRY_MS)
                following = self.followers.follow(job.tenant_id, job.job_id, after)
                async with events.heartbeat(path.durations.heartbeat_s), aclosing(following) as batches:
                    async for batch in batches:
                        await events.passed(b"".join(map(framed, batch)))
                        after = batch[-1].seq
        except EndedEarlyError as ended:
            if not response.prepared:
                raise
            problem = problem_of(ended)
            said = orjson.dumps({"code": problem.code, "detail": problem.detail})
            last_word = frame(after, b"stream.interrupted", said)
        try:
            async with asyncio.timeout(LAST_WORD_S):
                if last_word:
                    await events.passed(last_word)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


def framed(event: JobEvent) -> bytes:
    """Return an event as it is streamed."""
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = orjson.dumps({"jobId": event.job_id, "at": at})
    rest = event.data_json.encode()
    return frame(event.seq, event.type.encode(), head if rest == b"{}" else head[:-1] + b"," + rest[1:])


def _position_of(request: web.Request) -> tuple[str, int]:
    """Return where to go on, and the name of what said so; raises FieldsInvalidError, also for the one not heeded."""
    asked = (STARTING_AFTER.name, _number(STARTING_AFTER.name, request.query.get(STARTING_AFTER.name, "0")))
    header = request.headers.get(LAST_EVENT_ID.name)
    return asked if header is None else (LAST_EVENT_ID.name, _number(LAST_EVENT_ID.name, header))


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS):
        raise FieldsInvalidError([FieldFault(name, NO_POSITION)])
    return int(text)
