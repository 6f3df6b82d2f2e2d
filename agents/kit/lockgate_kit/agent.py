"""The agent as its author sees it: three decorators and `run`, on an ordinary AgentCore SDK app.

The one entry point is a plain function, so the SDK runs it in a thread of its own for each request: status and stop
are answered whatever the handlers are doing.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from bedrock_agentcore.runtime.context import RequestContext
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lockgate_kit import inband
from lockgate_kit.encoding import answer_type, to_json
from lockgate_kit.inband import Action, Wanted
from lockgate_kit.registry import Registry
from lockgate_kit.state import state_json
from lockgate_kit.streams import FIRST_READER, LINGER_S, Channel, TurnResponse, produce
from lockgate_kit.tools import door_of
from lockgate_kit.turn import Job, Turn
from lockgate_kit.work import StoppedError, Work, WorkLoop

STOP_WAIT_S = 0.8
# How long the end of a job that nobody has asked for yet keeps the session: whoever asks may be away for a while.
UNREAD_S = 3600.0
# A handler that blocks the loop holds up who attaches.
ATTACH_WAIT_S = 10.0

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Agent:
    """An agent in up to three modes. `app` is the SDK's own app, for whatever else it offers."""

    def __init__(self) -> None:
        self.app = BedrockAgentCoreApp(debug=False)
        self.app.entrypoint(self._entry)
        self._loop = WorkLoop()
        self._registry = Registry()
        # The SDK's tasks of jobs whose end nobody has been told of.
        self._unread: dict[str, int] = {}
        self._sync: Callable[..., Any] | None = None
        self._sync_awaits = False
        self._stream: Callable[..., AsyncGenerator[object, None]] | None = None
        self._job: Callable[..., Awaitable[Any]] | None = None

    def sync(self, handler: Handler) -> Handler:
        """Answer at once: `def` or `async def (input)` or `(input, turn)`, returning JSON."""
        if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
            raise TypeError("@agent.sync takes a function that returns; use @agent.stream for one that yields")
        self._sync, self._sync_awaits = _with_turn(handler), inspect.iscoroutinefunction(handler)
        return handler

    def stream(self, handler: Handler) -> Handler:
        """Answer as it comes: an async generator `(input)` or `(input, turn)`, yielding JSON."""
        if not inspect.isasyncgenfunction(handler):
            raise TypeError("@agent.stream takes an async generator function")
        self._stream = _with_turn(handler)
        return handler

    def job(self, handler: Handler) -> Handler:
        """Work on after the request was answered: `async def (input)` or `(input, job)`, returning JSON."""
        if not inspect.iscoroutinefunction(handler):
            raise TypeError("@agent.job takes an async function; blocking parts belong into asyncio.to_thread")
        self._job = _with_turn(handler)
        return handler

    def run(self, port: int = 8080, host: str | None = None) -> None:
        """Serve until terminated; AgentCore expects port 8080."""
        self.app.run(port=port, host=host)

    def _entry(self, payload: Any, context: RequestContext) -> Any:  # noqa: ANN401 - JSON in, JSON or a response out
        wanted = inband.read(context.request.headers if context.request is not None else Headers())
        if wanted.action is None:
            return self._turn(payload, wanted, context.session_id)
        return self._control(payload, wanted.action, wanted, context.session_id)

    def _turn(self, payload: object, wanted: Wanted, session_id: str | None) -> Response:
        stream, sync = self._stream, self._sync
        work = _work(Turn(wanted.ref, session_id, door_of(wanted.token)))
        if wanted.ref is not None and not self._registry.add_turn(wanted.ref, work):
            raise HTTPException(409, "a turn of that ref is running or was stopped before it began")
        if stream is not None and (wanted.takes_stream or (sync is None and wanted.takes_anything)):
            return self._answer_stream(stream(payload, work.turn), work, wanted.ref)
        if sync is not None:
            return self._answer_sync(sync, payload, work)
        work.run_here(lambda: None)
        raise HTTPException(406, f"this agent answers {self._modes()} only")

    def _answer_stream(self, events: AsyncGenerator[object, None], work: Work, ref: str | None) -> Response:
        loop = self._loop.get()
        channel = Channel(work, loop, lasting=ref is not None)

        def ended(outcome: Future[Any]) -> None:
            # On the handlers' loop, after the last event was put.
            channel.end(outcome.exception())
            if ref is not None:
                loop.call_later(LINGER_S, self._registry.forget_stream, ref)

        work.outcome.add_done_callback(ended)
        if ref is not None:
            self._registry.add_stream(ref, work, channel)
        response = TurnResponse(channel, FIRST_READER)
        work.start(loop, lambda: produce(events, channel))
        return response

    def _attach(self, payload: object, ref: str) -> Response:
        after, channel = inband.position_of(payload), self._registry.stream(ref)
        if channel is None:
            raise HTTPException(404, "no events of that ref are kept")
        attaching = asyncio.run_coroutine_threadsafe(channel.attach(after), channel.loop)
        try:
            reader = attaching.result(ATTACH_WAIT_S)
        except TimeoutError:
            attaching.cancel()
            raise HTTPException(503, "the handlers do not let anybody attach") from None
        if reader is None:
            raise HTTPException(410, "the events after that one are not kept")
        return TurnResponse(channel, reader)

    def _answer_sync(self, handler: Callable[..., Any], payload: object, work: Work) -> Response:
        if self._sync_awaits:
            work.start(self._loop.get(), lambda: handler(payload, work.turn))
        else:
            work.run_here(lambda: handler(payload, work.turn))
        try:
            return Response(to_json(work.outcome.result()), media_type=answer_type(work.turn))
        except StoppedError as error:
            raise HTTPException(409, str(error)) from None

    def _control(self, payload: object, action: Action, wanted: Wanted, session_id: str | None) -> Response:
        known, ref = self._registry, wanted.ref or ""
        if action is Action.ATTACH:
            return self._attach(payload, ref)
        if action is Action.START:
            work = self._start_job(payload, ref, wanted.token, session_id)
        elif action is Action.STATUS:
            work = known.find(ref)
        else:
            work = known.stop(ref)
            if work is not None:
                work.wait(STOP_WAIT_S)
        if work is not None and work.outcome.done():
            self._read(ref)
        ping = self.app.get_current_ping_status().value
        # A start that yields no work was refused: the ref had been stopped.
        text = state_json(known.boot_id, ref, work, ping, stopped_before=action is Action.START)
        return Response(text, media_type="application/json")

    def _start_job(self, payload: object, ref: str, token: str | None, session_id: str | None) -> Work | None:
        handler = self._job
        if handler is None:
            raise HTTPException(406, f"this agent answers {self._modes()} only")

        def start() -> Work:
            work = _work(Job(ref, session_id, door_of(token)))
            loop = self._loop.get()
            # AgentCore keeps the session while the SDK counts a task, and reports HealthyBusy.
            self._unread[ref] = self.app.add_async_task(ref)
            work.outcome.add_done_callback(lambda _: loop.call_later(UNREAD_S, self._read, ref))
            work.start(loop, lambda: _as_json(handler(payload, work.turn)))
            return work

        return self._registry.start_job(ref, start)

    def _read(self, ref: str) -> None:
        """Let AgentCore end the session once it is idle: the job's end was told, or waited for long enough."""
        task = self._unread.pop(ref, None)
        if task is not None:
            self.app.complete_async_task(task)

    def _modes(self) -> str:
        handlers = {"sync": self._sync, "stream": self._stream, "jobs": self._job}
        return " and ".join(name for name, handler in handlers.items() if handler is not None) or "nothing"


def _work(turn: Turn) -> Work:
    work = Work(turn)
    if turn.tools is not None:
        turn.tools.keep(work.outcome)
    return work


async def _as_json(work: Awaitable[Any]) -> str:
    # Encoded as part of the work: a result that is not JSON is a job that failed.
    return to_json(await work)


def _with_turn(handler: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(handler).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) == 1:
        return lambda payload, _turn: handler(payload)
    if len(positional) == 2:  # noqa: PLR2004 - the input, and the turn
        return handler
    raise TypeError("a handler takes (input) or (input, turn)")
